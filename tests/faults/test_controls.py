"""Negative controls: builds broken on purpose must be caught by the same checks.

And the power cut itself, which kill -9 cannot show: an ext4 image is copied while
its writer is stopped, so the copy holds what was synced and no more.
TRACE_NODE_CUTS sets how many (3).
"""

import os
from threading import Barrier, Thread

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.faults import cutting, story
from tests.faults.broken import (
    BlindSequencer,
    ElephantAdmission,
    ForgetfulAdmission,
    HastySequencer,
    StaleAdmission,
    UnguardedSequencer,
)
from tests.faults.checks import (
    ack_faults,
    head_faults,
    kept_heads,
    log_faults,
    read_center,
    replay_faults,
)
from tests.faults.memory import (
    RECEIPT_KEY,
    Bench,
    MemoryKeeper,
    MemoryLog,
    candidate,
)
from tests.faults.serving import (
    Server,
    Work,
    Zygote,
    run_until_killed,
)
from tests.faults.story import ORIGIN, Story
from tests.faults.test_kill import center_faults, new_center
from tests.scenarios.test_ledger_model import LedgerMachine
from trace_node.errors import TraceNodeError
from trace_node.ledger.checkpoint import open_checkpoint
from trace_node.ledger.fork import make_fork_proof, to_json, verify_fork_proof
from trace_node.ledger.merkle import consistency_proof
from trace_node.ledger.sequencer import Placed, Sequencer
from trace_node.node import Node
from trace_node.services.admission import LogAdmission

CUTS = int(os.environ.get("TRACE_NODE_CUTS", "3"))


@pytest.fixture(scope="module", autouse=True)
def _templates():
    yield
    story.drop_templates()


# No fsync: the power cut.


def test_a_power_cut_loses_nothing_acknowledged(tmp_path):
    try:
        found = list(cutting.cuts(tmp_path, CUTS, pause=0.5))
    except cutting.NoMount as reason:
        pytest.skip(str(reason))
    told = found[-1][1]
    print({"cuts": CUTS, "acked": len(told.acks), "lost": 0})
    assert [faults for faults, _ in found] == [[]] * CUTS
    assert len(told.acks) > 50 * min(CUTS, cutting.LIFE)
    assert told.files
    assert told.published


@pytest.mark.parametrize("build", cutting.UNSYNCED)
def test_without_a_sync_a_power_cut_shows_what_it_was_for(tmp_path, build):
    try:
        cuts, loss = cutting.loss_without(tmp_path, build)
    except cutting.NoMount as reason:
        pytest.skip(str(reason))
    print(build, "after", cuts, "cuts:", loss)
    assert loss


# Killed before the commit that was acknowledged.


@pytest.mark.parametrize("build", ["", "late commit"])
def test_a_server_that_answers_before_the_commit_is_seen(tmp_path, build):
    zygote = Zygote(build)
    folder, work = new_center(tmp_path / "center"), Work(7)
    try:
        for _ in range(8 if build else 2):  # one kill may come just after a commit
            server = Server(folder, zygote)
            run_until_killed(server, work, 0.8)
            faults = center_faults(folder, tmp_path / "copy", work)
            if faults:
                break
    finally:
        zygote.close()
    assert bool(faults) == bool(build), faults[:3]
    if build:
        assert any("lost" in fault for fault in faults)


# No lock.


def race_faults(log):
    """Two sequencers append at once, each after the other has read."""
    keeper, acks = MemoryKeeper(), []
    Bench(log, keeper).commit("first")
    if not log.locked:
        both_read = Barrier(2)
        log.between = lambda step: both_read.wait(5) if step == "write" else None

    def run(name):
        try:
            (outcome,) = Bench(log, keeper).commit(name).outcomes
        except TraceNodeError:
            return
        acks.append((name, outcome.index, outcome.receipt))

    threads = [Thread(target=run, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    bench = Bench(log, keeper)
    told = [(candidate(name).identity, index, receipt) for name, index, receipt in acks]
    return bench.faults() + ack_faults(bench.stored(), told, RECEIPT_KEY.public)


@pytest.mark.parametrize(
    ("locked", "compared"), [(True, True), (True, False), (False, True)]
)
def test_with_lock_or_compare_two_writers_share_one_log(locked, compared):
    assert race_faults(MemoryLog(locked=locked, compared=compared)) == []


def test_without_lock_and_compare_two_writers_are_seen():
    faults = race_faults(MemoryLog(locked=False, compared=False))
    assert any("lost or replaced" in fault for fault in faults)
    assert any("no prefix" in fault for fault in faults)


# Skipped re-checks.


def flip_faults(make):
    """Flip a bit between write and sign; return what is wrong afterwards."""
    bench = Bench(make=make)
    bench.commit("first")
    bench.log.flip = 1
    try:
        bench.commit("a", "b")
    except TraceNodeError:
        bench.log.flip = None
    return bench.faults()


def test_a_flipped_bit_is_signed_only_by_a_build_that_does_not_read_back():
    assert flip_faults(Sequencer) == []
    assert any("no prefix" in fault for fault in flip_faults(BlindSequencer))


def node_with(admission):
    """A node class whose admission is of another class."""

    class Broken(Node):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            self.admission.forget()  # opening it folded once, honestly
            self.admission.__class__ = admission

    return Broken


def revocation_faults(folder, make):
    """Revoke a key in one process, register with it in another and in one group."""
    told = Story(folder)
    told.node.close()
    first, second = told.open(make), make(folder, story.settings(), clock=told.clock)
    try:
        told.register(told.single(1), node=first)
        told.register(told.single(2), node=second)  # it has folded the key as active
        body = story.revoke_body(told.did, told.signer.public)
        raw, record = story.governance(told.signer, told.did, "key", body, 1)
        group = [
            first.preparer.prepare(raw, [record]),
            first.preparer.prepare(told.single(3)),
        ]
        first.intake._process(group)
        told.register(told.single(4), node=second)
        return told.faults()
    finally:
        first.close()
        second.close()


@pytest.mark.parametrize(
    ("admission", "sound"),
    [(LogAdmission, True), (ForgetfulAdmission, False), (StaleAdmission, False)],
)
def test_a_revoked_key_registers_only_where_the_check_under_the_lock_is_skipped(
    tmp_path, admission, sound
):
    faults = revocation_faults(tmp_path / "c", node_with(admission))
    assert (faults == []) == sound, faults
    if not sound:
        assert "the key ended" in faults[0]


def rollback(folder, make):
    """Restore an older database, go on; return (node, story, notes, faults)."""
    told = Story(folder)
    told.register(told.single(1))
    told.node.close()
    old = (folder / "center.db").read_bytes()
    told.open()
    told.register(told.single(2), told.single(3))
    notes = [told.node.keeper.note()]
    told.node.close()
    assert not (folder / "center.db-wal").exists()
    (folder / "center.db").write_bytes(old)
    node = told.open(make)
    node.sequencer.__class__ = Sequencer if make is Node else UnguardedSequencer
    outcomes = told.register(told.single(4), told.single(5), told.single(6))
    notes += [note for _, note in kept_heads(folder / "head", node.vkey)]
    stored = told.stored()
    heads = [node_head(note, node) for note in notes]
    faults = head_faults(stored.tree, [(head.size, head.root) for head in heads])
    return node, outcomes, notes, faults


def node_head(note, node):
    return open_checkpoint(note, [node.vkey])[0]


def test_a_restored_database_signs_nothing(tmp_path):
    node, outcomes, notes, faults = rollback(tmp_path / "c", Node)
    assert [type(outcome).__name__ for outcome in outcomes] == ["ReadOnly"] * 3
    # The head that was signed is there, the database behind it: nothing else.
    newest = max(node_head(note, node).size for note in notes)
    assert newest == node.keeper.last().size > node.log.head().range.size
    assert all("is no prefix" in fault and str(newest) in fault for fault in faults)
    node.close()


def test_a_center_on_a_restored_database_starts_and_reads_but_takes_nothing(tmp_path):
    node, _, _, _ = rollback(tmp_path / "c", Node)
    node.start()  # must not hang, must not stop
    try:
        assert "a head of" in node.health.reason()
        assert node.log.entry(0).index == 0
    finally:
        node.stop()


def test_a_build_without_the_guard_forks_and_is_convicted(tmp_path):
    class Unguarded(Node):
        pass

    node, outcomes, notes, faults = rollback(tmp_path / "c", Unguarded)
    try:
        assert all(isinstance(outcome, Placed) for outcome in outcomes)
        assert any("is no prefix" in fault for fault in faults)
        first, last = notes[0], node.keeper.note()
        size = node_head(first, node).size
        head = node_head(last, node)
        path = consistency_proof(size, head.size, node.tiles.nodes(head.size))
        root = read_center(tmp_path / "c", node.vkey).tree.roots[size]
        proof = make_fork_proof(first, last, [node.vkey], path, root)
        assert proof is not None
        assert verify_fork_proof(to_json(proof), [node.vkey]).origin == ORIGIN
    finally:
        node.close()


# The model test itself.


def broken_machine(change):
    """The model test over nodes that ``change`` breaks."""

    class Machine(LedgerMachine):
        def open(self):
            super().open()
            change(self.nodes[0])

        def node(self, where):
            made = len(self.nodes) == 1 and where
            node = super().node(where)
            if made:
                change(node)
            return node

    return Machine


def becomes(part, cls):
    def change(node):
        getattr(node, part).__class__ = cls

    return change


def answers_at_random(node):
    """Receipts of known entries are made under the newest head, not the first."""
    covering = node.log.head_covering
    node.receipts._log = type(
        "Log",
        (),
        {
            "head_covering": lambda _, index: covering(node.log.head().range.size - 1),
            "has_manifest": node.log.has_manifest,
            "complete": node.log.complete,
        },
    )()


BREAKAGES = {
    "no check under the lock": becomes("admission", ForgetfulAdmission),
    "other processes unseen": becomes("admission", StaleAdmission),
    "the fold of a failed commit": becomes("admission", ElephantAdmission),
    "the head kept before the commit": becomes("sequencer", HastySequencer),
    "no first receipt": answers_at_random,
}


@pytest.mark.parametrize("name", BREAKAGES)
def test_the_model_test_goes_red_on(name):
    quick = settings(
        LedgerMachine.TestCase.settings,
        max_examples=60,
        stateful_step_count=20,
        phases=[Phase.generate],
        report_multiple_bugs=False,
        print_blob=False,
    )
    with pytest.raises(AssertionError) as caught:
        run_state_machine_as_test(broken_machine(BREAKAGES[name]), settings=quick)
    print(name, "->", type(caught.value).__name__, str(caught.value)[:80])


def test_log_faults_sees_what_it_names(tmp_path):
    told = Story(tmp_path / "c")
    told.register(*[told.single(k) for k in range(6)])
    told.node.close()
    sound = told.stored()
    assert log_faults(sound) == []
    for at, (change, word) in enumerate(
        [
            (lambda s: s.entries.pop(2), "skipped"),
            (lambda s: s.entries.insert(3, s.entries[3]), "used twice"),
            (lambda s: s.heads.update({2: bytes(32)}), "no prefix"),
            (lambda s: s.heads.popitem(), "epoch"),
            (lambda s: s.kept.append(type(s.kept[0])(ORIGIN, 99, bytes(32))), "ahead"),
        ]
    ):
        stored = told.stored()
        change(stored)
        assert any(word in fault for fault in log_faults(stored)), at
    assert replay_faults(sound, ORIGIN) == []
    sound.entries[5] = (*sound.entries[5][:4], sound.entries[5][4][:-1] + b"\0")
    assert replay_faults(sound, ORIGIN) != []
