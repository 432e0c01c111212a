"""The offline verifier: every byte of a bundle counts, and the place is named."""

import sys
from hashlib import sha256
from pathlib import Path

import orjson
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from center_story import ALICE, LAB, Center, big, event, many, single

from trace_node.cli import run
from trace_node.errors import (
    BadProof,
    BadSignature,
    Malformed,
    Refused,
    StoreCorrupt,
    TraceNodeError,
    Untrusted,
)
from trace_node.ledger.checkpoint import sign_checkpoint
from trace_node.ledger.cosignature import add_signatures
from trace_node.ledger.keyset import encode_key_set
from trace_node.ledger.note import Signature
from trace_node.ledger.receipt import attach_receipts
from trace_node.services import bundle as maker
from trace_node.trust.base64url import decode, encode
from trace_node.trust.did import did_key
from trace_node.trust.govstate import GovernanceState
from trace_node.trust.keys import MemorySigner
from trace_node.trust.merkle import EMPTY_ROOT, leaf_hash, root_of
from trace_node.trust.policy import parse_policy
from trace_node.trust.record import RECORD_MEDIA, make_record
from trace_node.trust.statement import decode_statement, sign_statement
from trace_node.trust.vkey import COSIGNATURE, ED25519, make_vkey
from trace_node.verify import bundle as checker
from trace_node.verify import verify_bundle, verify_file, verify_transparent


class Story:
    """One record said twice: alone by Alice, in a manifest by the laboratory."""

    def __init__(self, folder):
        center = self.center = Center(folder)
        center.add_party(ALICE, "Importer")
        center.add_party(LAB, "Laboratory")
        center.clock.seconds += 5
        self.record = event(1)
        self.raw = single(self.record)
        self.placed = center.put(self.raw, [self.record])
        center.clock.seconds += 5
        records = [event(2), event(3), self.record]
        self.manifest = center.put(many(records), records)
        self.absent = event(4)
        center.put(single(self.absent))
        self.policy = center.policy
        self.bundle = center.bundle(self.record)

    def changed(self, change):
        value = orjson.loads(self.bundle)
        change(value)
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    made = Story(tmp_path_factory.mktemp("verify") / "center")
    yield made
    made.center.close()


def fails(data, policy):
    with pytest.raises(TraceNodeError) as caught:
        verify_bundle(data, policy)
    assert caught.value.where
    return caught.value


def test_a_bundle_holds(story):
    verdict = verify_bundle(story.bundle, story.policy)
    assert verdict.kind == "bundle"
    assert verdict.origin == story.center.origin
    assert [m["index"] for m in verdict.facts["mentions"]] == [
        story.placed.index,
        story.manifest.index,
    ]
    assert [m["position"] for m in verdict.facts["mentions"]] == [0, 2]
    assert verdict.facts["mentions"][0]["recorded"] == "2026-11-23T08:00:05Z"
    assert verdict.facts["type"] == "document"
    assert verdict.unproven
    assert orjson.dumps(verdict.members())
    assert checker.FORMAT == maker.FORMAT


@pytest.mark.parametrize(
    ("start", "step", "mask"), [(0, 4, 1), (3, 31, 0x20), (1, 37, 0x80)]
)
def test_every_flipped_byte_is_found(story, start, step, mask):
    for position in range(start, len(story.bundle), step):
        bad = bytearray(story.bundle)
        bad[position] ^= mask
        fails(bytes(bad), story.policy)


def test_added_and_cut_bytes_are_found(story):
    for data in (
        story.bundle + b"\n",
        b" " + story.bundle,
        story.bundle[:-1],
        b"",
        b"[]",
    ):
        fails(data, story.policy)


def _flip_statement(at):
    def change(value):
        raw = bytearray(decode(value["entries"][at]["statement"]))
        raw[-1] ^= 1
        value["entries"][at]["statement"] = encode(bytes(raw))

    return change


def _set(path, new):
    def change(value):
        *ways, last = path
        for way in ways:
            value = value[way]
        value[last] = new

    return change


@pytest.mark.parametrize(
    ("where", "change"),
    [
        ("entries[6].statement", _flip_statement(6)),
        ("entries[0].statement", _flip_statement(0)),
        (
            "answer.mentions[0].issuer",
            _set(["answer", "mentions", 0, "issuer"], "did:web:x.example"),
        ),
        (
            "answer.mentions[0].recorded",
            _set(["answer", "mentions", 0, "recorded"], "2026-11-23T08:00:04Z"),
        ),
        ("answer.mentions[1].index", _set(["answer", "mentions", 1, "index"], 7)),
        ("answer.complete", _set(["answer", "complete"], "proven")),
        ("answer.mentions", lambda v: v["answer"]["mentions"].append({})),
        ("as_of.logs[0].root", _set(["as_of", "logs", 0, "root"], encode(bytes(32)))),
        ("as_of.logs[0].size", _set(["as_of", "logs", 0, "size"], 11)),
        ("as_of.contents", _set(["as_of", "contents"], encode(bytes(32)))),
        ("as_of.rules.x", _set(["as_of", "rules", "x"], "y")),
        ("as_of.viewer", _set(["as_of", "viewer"], "operator")),
        ("withheld", lambda v: v["withheld"].append({})),
        ("disclosures", lambda v: v["disclosures"].append("x")),
        ("bundle", _set(["bundle"], "trace-node-bundle@2")),
        ("more", _set(["more"], 1)),
        ("entries[2].more", _set(["entries", 2, "more"], 1)),
        ("entries[2].index", _set(["entries", 2, "index"], True)),
        ("entries[1].manifest", _set(["entries", 1, "manifest"], {})),
        ("records", _set(["records"], {})),
        ("question.record", _set(["question", "record"], "x")),
        ("checkpoint", _set(["checkpoint"], 1)),
        ("entries", _set(["entries"], [])),
    ],
)
def test_the_place_is_named(story, where, change):
    assert fails(story.changed(change), story.policy).where.split(",")[0] == where


def test_a_record_changed_is_named(story):
    for number, record in enumerate(orjson.loads(story.bundle)["records"]):
        data = decode(record["bytes"])
        error = fails(
            story.changed(_set(["records", number, "bytes"], encode(data + b" "))),
            story.policy,
        )
        assert error.where == f"records[{number}].bytes"


def test_entries_dropped_doubled_or_moved(story):
    count = len(orjson.loads(story.bundle)["entries"])
    for number in range(count):
        fails(story.changed(lambda v, n=number: v["entries"].pop(n)), story.policy)
        fails(
            story.changed(lambda v, n=number: v["entries"].insert(n, v["entries"][n])),
            story.policy,
        )

    def swap(value):
        value["entries"][5], value["entries"][6] = (
            value["entries"][6],
            value["entries"][5],
        )

    assert fails(story.changed(swap), story.policy).where == "entries[6].index"


def _contents(value):
    digests = [sha256(decode(r["bytes"])).digest() for r in value["records"]]
    value["as_of"]["contents"] = encode(root_of(sorted(map(leaf_hash, digests))))


def test_records_dropped_doubled_or_strange_are_found(story):
    for number in range(len(orjson.loads(story.bundle)["records"])):

        def drop(value, number=number):
            value["records"].pop(number)
            _contents(value)

        def double(value, number=number):
            value["records"].insert(number, value["records"][number])
            _contents(value)

        fails(story.changed(drop), story.policy)
        assert "records" in fails(story.changed(double), story.policy).where

    def strange(value):
        data = b"{}"
        name = f"ni:///sha-256;{encode(sha256(data).digest())}"
        value["records"].append({"bytes": encode(data), "name": name})
        value["records"].sort(
            key=lambda r: decode(r["name"].removeprefix("ni:///sha-256;"))
        )
        _contents(value)

    assert fails(story.changed(strange), story.policy).where.endswith(".name")


def test_an_entry_that_nothing_needs_is_refused(story):
    other = orjson.loads(story.center.bundle(story.absent))
    extra = next(
        e
        for e in other["entries"]
        if e["index"] not in {x["index"] for x in orjson.loads(story.bundle)["entries"]}
    )

    def change(value):
        value["entries"].append(extra)

    # Appended behind all others: the newest entry is the highest index.
    assert fails(story.changed(change), story.policy).where.startswith("entries[")


def test_a_time_can_be_too_early_and_the_verdict_says_so(story):
    """Whoever carries a bundle can drop the tick and date the entry back."""

    def change(value):
        first, second = value["answer"]["mentions"]
        early = next(
            e
            for e in value["entries"]
            if decode_statement(decode(e["statement"])).is_tick
            and first["index"] < e["index"] < second["index"]
        )
        value["entries"].remove(early)
        second["recorded"] = first["recorded"]

    verdict = verify_bundle(story.changed(change), story.policy)
    said = verdict.facts["mentions"]
    assert said[1]["recorded"] == said[0]["recorded"] == "2026-11-23T08:00:05Z"
    assert any("tick" in line and "earliest" in line for line in verdict.unproven)
    assert any("not before 2026-11-23T08:00:05Z" in line for line in verdict.checks)


def test_a_record_that_is_not_here_is_withheld_as_such(story):
    verdict = verify_bundle(story.center.bundle(story.absent), story.policy)
    assert verdict.withheld == (verdict.facts["record"],)
    assert "type" not in verdict.facts


def test_other_keys_under_the_same_origin_are_not_believed(story, tmp_path):
    other = Center(tmp_path / "other")
    other.add_party(ALICE)
    other.put(story.raw, [story.record])
    error = fails(other.bundle(story.record), story.policy)
    assert isinstance(error, Untrusted)
    assert error.where == "checkpoint"
    assert verify_bundle(other.bundle(story.record), other.policy)
    # The forger's log key cannot lend his head to this log's entry 0 either.
    mixed = orjson.loads(story.bundle)
    mixed["checkpoint"] = orjson.loads(other.bundle(story.record))["checkpoint"]
    both = parse_policy(
        "".join(f"log {p.logs[0][0]}\n" for p in (story.policy, other.policy))
        + "quorum none\n"
    )
    fails(orjson.dumps(mixed, option=orjson.OPT_SORT_KEYS), both)
    other.close()


def test_another_log_and_a_missing_quorum_are_untrusted(story):
    witness = "witness.example/w"
    key = make_vkey(witness, COSIGNATURE, LAB.public.x)
    text = f"log {story.policy.logs[0][0]}\nwitness w {key}\nquorum w\n"
    assert isinstance(fails(story.bundle, parse_policy(text)), Untrusted)
    stranger = make_vkey("x.example/log", 1, LAB.public.x)
    assert isinstance(
        fails(story.bundle, parse_policy(f"log {stranger}\nquorum none\n")), Untrusted
    )


def test_a_key_revoked_before_use_is_found(tmp_path, monkeypatch):
    center = Center(tmp_path / "c")
    center.add_party(ALICE)
    center.revoke(ALICE)
    record = event(1)
    # A center that looks away: it registers what its own records forbid.
    original = GovernanceState.active_key
    monkeypatch.setattr(GovernanceState, "active_key", lambda self, s: self.keys[s.kid])
    center.put(single(record), [record])
    monkeypatch.setattr(GovernanceState, "active_key", original)
    with pytest.raises(StoreCorrupt, match="the key ended"):
        center.bundle(record)
    monkeypatch.setattr(maker, "verify_bundle", lambda *_: None)  # looks away again
    error = fails(center.bundle(record), center.policy)
    assert isinstance(error, Refused)
    assert error.type == "refused-revoked-key"
    assert error.where.startswith("entries[")
    center.close()


def test_a_governance_record_as_the_question(story):
    entry0 = orjson.loads(story.bundle)["entries"][0]
    payload = decode_statement(decode(entry0["statement"])).payload
    data = maker.record_bundle(story.center.node.library, payload)
    verdict = verify_bundle(data, story.policy)
    assert verdict.facts["type"] == "registration-policy"
    assert verdict.facts["mentions"][0]["index"] == 0


def test_a_custodians_party_record_comes_along(tmp_path):
    """The fold takes a key only if the custodian is a party; so does the verifier."""
    holder, held = (MemorySigner.from_seed("Ed25519", bytes([n]) * 32) for n in (7, 8))
    center = Center(tmp_path / "c")
    try:
        center.add_party(ALICE)
        center.add_party(holder)
        did = did_key(ALICE.public)
        key = {"did": did, "action": "add", "kid": held.public.kid_text}
        custodian = did_key(holder.public)
        center.say("key", key | {"jwk": held.public.jwk(), "custodian": custodian})
        record = event(1)
        raw = sign_statement(
            held, iss=did, aud=center.origin, media=RECORD_MEDIA, preimage=record
        )
        index = center.put(raw, [record]).index
        verdict = verify_bundle(center.bundle(record), center.policy)
        assert [m["index"] for m in verdict.facts["mentions"]] == [index]
        # The holder's party record and not its keys: policy, 2 parties, 2 keys.
        records = orjson.loads(center.bundle(record))["records"]
        assert len(records) == 1 + 5
    finally:
        center.close()


def test_a_governance_record_stated_as_content_is_named(story):
    """Alice may sign content, and a sanction stated as content is none."""
    body = {"did": did_key(LAB.public), "action": "expulsion"}
    sanction = make_record(
        "sanction", "1-participants@1", "2026-11-23T08:00:00Z", bytes(16), body
    )
    index = story.center.put(single(sanction)).index
    digest = sha256(sanction).digest()
    story.center.node.vault.stage(digest, sanction, story.center.clock())
    verdict = verify_bundle(story.center.bundle(sanction), story.policy)
    assert verdict.facts["type"] == "sanction"
    assert any(
        line.startswith(f"entry {index} states this sanction record as content")
        for line in verdict.unproven
    )
    plain = verify_bundle(story.bundle, story.policy)
    assert not any("as content" in line for line in plain.unproven)


def test_proofs(story):
    proof = story.center.proof(story.placed.index)
    verdict = verify_file(proof, story.policy, statement=story.raw, record=story.record)
    assert (verdict.kind, verdict.facts["index"]) == ("proof", story.placed.index)
    with pytest.raises(Untrusted):
        verify_file(proof, story.policy)
    with pytest.raises(BadProof):
        verify_file(proof, story.policy, statement=single(story.absent))
    with pytest.raises(BadProof) as caught:
        verify_file(proof, story.policy, statement=story.raw, record=b"{}")
    assert caught.value.where == "record"
    with pytest.raises(Malformed):
        verify_file(proof[:40], story.policy, statement=story.raw)
    more = proof.replace(b"\n", b"\nextra YWRkZWQ=\n", 1)
    loose = verify_file(more, story.policy, statement=story.raw).unproven
    assert set(loose) - set(verdict.unproven) == {
        "the extra data of the proof are authenticated by nothing"
    }


def test_receipts_and_transparent_statements(story):
    key = story.center.node.keys.receipt.public
    transparent = attach_receipts(story.raw, [story.placed.receipt])
    verdict = verify_transparent(transparent, [key])
    assert verdict.kind == "transparent-statement"
    assert verify_file(transparent, story.policy, keys=[key], record=story.record)
    assert (
        verify_file(
            story.placed.receipt, story.policy, keys=[key], statement=transparent
        ).kind
        == "receipt"
    )
    for data, statement in ((transparent, None), (story.placed.receipt, story.raw)):
        with pytest.raises(Untrusted) as caught:
            verify_file(data, story.policy, statement=statement)
        assert "--keys" in caught.value.help
    with pytest.raises(Untrusted):
        verify_transparent(transparent, [LAB.public])
    with pytest.raises(Malformed):
        verify_transparent(story.raw, [key])
    bad = attach_receipts(single(story.absent), [story.placed.receipt])
    with pytest.raises(BadSignature) as caught:
        verify_transparent(bad, [key])
    assert caught.value.where == "receipts[0]"


def test_checkpoints_and_strangers(story):
    note = story.center.node.keeper.note()
    assert verify_file(note, story.policy).size == story.center.node.keeper.last().size
    name = "evil\x9b2J\u202egol"
    line = Signature(name, b"\1\2\3\4", bytes(64))
    loose = verify_file(add_signatures(note, [line]), story.policy).unproven
    assert loose == (r"ignored: signatures by 'evil\x9b2J\u202egol'",)
    with pytest.raises(TraceNodeError) as caught:
        verify_file(note.replace(b"log\n", b"lag\n", 1), story.policy)
    assert caught.value.where == "checkpoint"
    for data in (b"", b"hello", b"\xd2\x84", b"{}", b"c2sp.org/tlog-proof@v1\n"):
        with pytest.raises(TraceNodeError) as caught:
            verify_file(data, story.policy, statement=story.raw)
        assert caught.value.where


def test_a_bundle_about_another_record(story):
    assert verify_file(story.bundle, story.policy, record=story.record)
    with pytest.raises(BadProof):
        verify_file(story.bundle, story.policy, record=story.absent)


def test_a_signed_head_of_an_empty_tree_has_its_root():
    policy = parse_policy(
        f"log {make_vkey('e.example', ED25519, LAB.public.x)}\nquorum none\n"
    )
    good = sign_checkpoint("e.example", 0, EMPTY_ROOT, LAB)
    assert verify_file(good, policy).root == EMPTY_ROOT
    with pytest.raises(BadProof) as caught:
        verify_file(sign_checkpoint("e.example", 0, bytes(32), LAB), policy)
    assert caught.value.where == "checkpoint"


def test_what_the_reader_gives_beside_a_file_is_never_passed_over(story):
    """`verify head --record r` said "holds" for any r."""
    node = story.center.node
    note, key = node.keeper.note(), node.keys.receipt.public
    for given in ({"record": story.record}, {"statement": story.raw}):
        with pytest.raises(Untrusted):
            verify_file(note, story.policy, **given)
    entry0 = decode(orjson.loads(story.bundle)["entries"][0]["statement"])
    transparent = attach_receipts(story.raw, [story.placed.receipt])
    assert verify_file(story.bundle, story.policy, statement=story.raw)
    assert verify_file(story.bundle, story.policy, statement=transparent)
    assert verify_file(transparent, story.policy, keys=[key], statement=story.raw)
    for file in (story.bundle, transparent):
        for other in (single(story.absent), entry0):
            with pytest.raises(BadProof) as caught:
                verify_file(file, story.policy, keys=[key], statement=other)
            assert caught.value.where == "statement"
        with pytest.raises(Malformed):
            verify_file(file, story.policy, keys=[key], statement=b"no statement")


def test_a_large_record_travels_in_a_bundle(story):
    record = big(1)
    story.center.put(single(record), [record])
    assert (
        verify_bundle(story.center.bundle(record), story.policy).facts["type"]
        == "document"
    )


def test_the_command(story, tmp_path, capsys):
    policy = story.center.folder / "policy.txt"
    file, proof, raw = tmp_path / "b.json", tmp_path / "p", tmp_path / "s"
    keys, receipt = tmp_path / "keys", tmp_path / "r"
    file.write_bytes(story.bundle)
    proof.write_bytes(story.center.proof(story.placed.index))
    raw.write_bytes(story.raw)
    keys.write_bytes(encode_key_set([story.center.node.keys.receipt.public]))
    receipt.write_bytes(story.placed.receipt)
    given = ["--policy", str(policy)]
    assert run(["verify", str(file), *given]) == 0
    assert "holds" in capsys.readouterr().out
    assert run(["verify", str(proof), *given, "--statement", str(raw), "--json"]) == 0
    assert orjson.loads(capsys.readouterr().out)["holds"] is True
    more = ["--statement", str(raw), "--keys", str(keys)]
    assert run(["verify", str(receipt), *given, *more]) == 0
    capsys.readouterr()
    file.write_bytes(story.bundle.replace(b"unproven", b"unprovem"))
    assert run(["verify", str(file), *given, "--json"]) == 1
    assert orjson.loads(capsys.readouterr().out)["where"] == "answer.complete"
    assert run(["verify", str(tmp_path / "none"), *given]) == 2
    assert run(["verify", str(file), "--policy", str(tmp_path / "none")]) == 2
