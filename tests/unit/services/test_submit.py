"""The line before the log: who is answered what, and what one does to another."""

import math
from hashlib import sha256
from threading import Event

import pytest

from tests.faults import story
from tests.faults.story import Story
from trace_node.errors import (
    BadSignature,
    Malformed,
    NotFound,
    Overloaded,
    ReadOnly,
    Refused,
    TraceNodeError,
)
from trace_node.ledger.sequencer import Placed
from trace_node.services.line import Room
from trace_node.store import vault as vault_module
from trace_node.store.blobs import vault_name
from trace_node.store.log import ROW_LIMIT
from trace_node.store.vault import MINUTE
from trace_node.trust.base64url import encode as base64url


@pytest.fixture(scope="module", autouse=True)
def _templates():
    yield
    story.drop_templates()


@pytest.fixture(params=story.ENGINES)
def told(tmp_path, request):
    told = Story(tmp_path / "c", request.param)
    yield told
    assert told.faults() == []
    told.node.close()
    story.remove_center(told.folder)


def prepare(told, raw, *records):
    return told.node.preparer.prepare(raw, records)


def process(told, *candidates):
    return told.node.intake._process(list(candidates))


def digest(data):
    return sha256(data).digest()


def key_record(told, number, **changes):
    """A key record that the party signs for itself."""
    public = story.signer(number).public
    body = story.add_body(told.did, public) | changes
    return story.governance(told.signer, told.did, "key", body, number)


def test_a_bad_signature_in_a_group_spoils_nobody_elses(told):
    good, forged = told.single(1), told.single(2)
    forged = forged[:-64] + good[-64:]
    one, two, three = process(
        told, *(prepare(told, raw) for raw in (good, forged, told.single(3)))
    )
    assert isinstance(two, BadSignature)
    assert three.index == one.index + 1


def test_a_governance_record_that_is_none_spoils_nobody_elses(told):
    # The schema lets it pass; only the fold under the lock finds it Malformed.
    raw, record = key_record(told, 50, kid=base64url(bytes(32)))
    odd, good = process(told, prepare(told, raw, record), prepare(told, told.single(1)))
    assert isinstance(odd, (Malformed, Refused))
    assert isinstance(good, Placed)
    assert told.node.health.reason() == ""


def test_a_governance_record_is_no_content(told):
    sanction, plain = story.record("out", "sanction"), story.record("in")
    raws = {
        "records[0] type": (story.content(told.signer, sanction), [sanction]),
        "records[1] type": (
            story.manifest(told.signer, [plain, sanction]),
            [plain, sanction],
        ),
    }
    for where, (raw, records) in raws.items():
        with pytest.raises(Refused, match="no content") as caught:
            prepare(told, raw, *records)
        assert caught.value.where == where


def test_a_key_added_by_another_process_signs_at_once(told):
    told.register(told.single(0))
    first = told.node
    told.open()  # a second node on the same folder
    try:
        raw, record = key_record(told, 51)
        told.register(raw, records=[record], node=first)
        body = story.record("by the new key")
        by = story.signer(51)
        raw = story.sign_statement(
            by, iss=told.did, aud=story.ORIGIN, media=story.RECORD_MEDIA, preimage=body
        )
        assert isinstance(process(told, prepare(told, raw))[0], Placed)
    finally:
        first.close()


@pytest.mark.parametrize("first_bare", [True, False])
def test_content_that_comes_with_the_second_of_a_group_is_kept(told, first_bare):
    record = story.record("record 1")
    group = [prepare(told, told.single(1)), prepare(told, told.single(1), record)]
    one, two = process(told, *(group if first_bare else group[::-1]))
    assert (one.index, one.receipt) == (two.index, two.receipt)
    assert told.node.vault.read(digest(record)) == record


def test_a_manifest_is_completed_by_its_repetition_and_indexed(told):
    records = [story.record(f"part {k}") for k in range(3)]
    raw = story.manifest(told.signer, records)
    (placed,) = process(told, prepare(told, raw))
    while told.node.follower.step():
        pass
    assert told.node.index.mentions(digest(records[1])) == []
    (again,) = process(told, prepare(told, raw, *records))
    assert (again.index, again.receipt) == (placed.index, placed.receipt)
    assert told.node.log.manifest(placed.index) == [digest(r) for r in records]
    (mention,) = told.node.index.mentions(digest(records[1]))
    assert (mention.index, mention.position) == (placed.index, 1)


def test_the_other_signature_of_the_same_statement_gets_the_first_receipt(told):
    by = story.signer(52, "P-256")
    body = story.add_body(told.did, by.public)
    raw, record = story.governance(told.signer, told.did, "key", body, 52)
    told.register(raw, records=[record])
    raw = story.sign_statement(
        by, iss=told.did, aud=story.ORIGIN, media=story.RECORD_MEDIA, payload=bytes(32)
    )
    other = story.twin(raw)
    assert raw != other
    one, two = process(told, prepare(told, raw), prepare(told, other))
    (three,) = process(told, prepare(told, other))
    assert len({(each.index, each.receipt) for each in (one, two, three)}) == 1
    assert told.node.log.entry(one.index).statement == raw


def test_a_large_record_dropped_on_the_way_is_asked_for_again(told, monkeypatch):
    record = story.record("x" * ROW_LIMIT)
    raw = story.content(told.signer, record)
    late = prepare(told, raw, record)
    told.node.vault.drop([digest(record)])
    (outcome,) = process(told, late)
    assert isinstance(outcome, Refused)
    with pytest.raises(Overloaded, match="being dropped"):
        prepare(told, raw, record)
    now = told.node.vault._clock()
    monkeypatch.setattr(told.node.vault, "_clock", lambda: now + MINUTE + 1)
    told.node.vault.drop([])
    (outcome,) = process(told, prepare(told, raw, record))
    assert isinstance(outcome, Placed)
    assert told.node.vault.read(digest(record)) == record


def test_an_entry_whose_record_is_being_dropped_comes_without_it(told):
    """The row of a doomed record stays doomed: its blob is on the way out."""
    record = story.record("x" * ROW_LIMIT)
    told.node.vault.stage(digest(record), record, 1)
    told.node.vault.drop([digest(record)])
    (outcome,) = process(told, prepare(told, story.content(told.signer, record)))
    assert isinstance(outcome, Placed)
    with pytest.raises(NotFound):
        told.node.vault.read(digest(record))


@pytest.mark.parametrize("doomed", [False, True])
def test_a_large_governance_record_becomes_a_row(told, monkeypatch, doomed):
    """Else a center whose blobs are away could not fold its own log."""
    body = story.add_body(told.did, story.signer(7).public)
    raw, record = story.governance(told.signer, told.did, "key", body, 7)
    vault = told.node.vault
    # No schema of today lets one be so large that it is a blob.
    monkeypatch.setattr(vault_module, "ROW_LIMIT", 100)
    vault.stage(digest(record), record, 1)
    if doomed:
        vault.drop([digest(record)])
    (outcome,) = process(told, prepare(told, raw, record))
    assert isinstance(outcome, Placed)
    vault._blobs.delete([vault_name(digest(record))])
    now = vault._clock()
    monkeypatch.setattr(vault, "_clock", lambda: now + 2 * MINUTE)
    vault.drop([])
    assert vault.read(digest(record)) == record
    told.node.admission.forget()
    assert isinstance(process(told, prepare(told, told.single(1)))[0], Placed)


def test_a_large_record_with_a_bad_signature_waits_to_be_dropped(told):
    """What nobody may say fills neither disk nor bucket for ever."""
    record = story.record("x" * ROW_LIMIT)
    raw = story.content(told.signer, record)
    (outcome,) = process(told, prepare(told, raw[:-1] + bytes([raw[-1] ^ 1]), record))
    assert isinstance(outcome, BadSignature)
    now = told.node.vault._clock()
    assert told.node.vault.staged(now + 1) == [digest(record)]


def test_a_failure_is_told_and_the_next_commit_tells_that_it_is_over(told, monkeypatch):
    def fail(note, head):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(told.node.keeper, "keep", fail)
        (outcome,) = process(told, prepare(told, told.single(1)))
        assert isinstance(outcome, ReadOnly)
        assert "No space" in told.node.health.reason()
        told.node.intake.recover()
        assert "No space" in told.node.health.reason()
    told.node.intake.recover()
    assert told.node.health.reason() == ""
    # It was durable: the repetition gets the receipt that was never handed out.
    size = told.node.log.head().range.size
    (placed,) = process(told, prepare(told, told.single(1)))
    assert (placed.index, told.node.log.head().range.size) == (size - 1, size)


def test_what_is_in_line_is_answered_before_the_end(told):
    answers, done = [], Event()

    def deliver(results):
        answers.extend(results)
        if len(answers) == 20:
            done.set()

    intake = told.node.intake
    for number in range(20):
        intake.put(prepare(told, told.single(number)), number, deliver)
    assert intake.waiting == 20
    intake.start()
    intake.stop()
    assert done.is_set()
    assert sorted(token for token, _ in answers) == list(range(20))
    assert all(isinstance(outcome, Placed) for _, outcome in answers)
    with pytest.raises(Overloaded, match="stopping"):
        intake.put(prepare(told, told.single(99)), 99, deliver)


def test_a_full_line_takes_no_more(told):
    intake = told.node.intake
    intake._line.room = Room(math.inf, 2, 1 << 20)
    for number in range(2):
        intake.put(prepare(told, told.single(number)), number, lambda results: None)
    with pytest.raises(Overloaded, match="too many"):
        intake.put(prepare(told, told.single(2)), 2, lambda results: None)
    intake._line.room = Room(math.inf, 10, 1)
    with pytest.raises(Overloaded, match="too many"):
        intake.check_room()
    intake.stop()


def test_registering_one_raises_what_went_wrong(told):
    forged = told.single(1)[:-64] + bytes(64)
    with pytest.raises(TraceNodeError):
        told.node.intake.register(prepare(told, forged))
