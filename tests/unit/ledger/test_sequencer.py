"""The sequencer over ports in memory: what each step leaves behind when it fails."""

from threading import Barrier, Thread

import pytest

from tests.faults.memory import (
    HEAD_KEY,
    ORIGIN,
    RECEIPT_KEY,
    Bench,
    MemoryAppending,
    MemoryKeeper,
    MemoryLog,
    PowerOff,
    candidate,
    candidates,
)
from trace_node.errors import Conflict, Malformed, ReadOnly, Refused, StoreCorrupt
from trace_node.ledger.checkpoint import Checkpoint, sign_checkpoint
from trace_node.ledger.receipt import verify_receipt
from trace_node.ledger.sequencer import Placed

BEFORE_COMMIT = ["begin", "write", "written", "seal", "sealed", "commit"]
AFTER_COMMIT = ["committed", "keep"]


def fail_at(bench, step, error):
    def hit(name):
        if name == step:
            raise error

    bench.log.between = bench.keeper.between = hit


def work_again(bench):
    bench.log.between = bench.keeper.between = lambda name: None


def indexes(commit):
    return [o.index if isinstance(o, Placed) else type(o) for o in commit.outcomes]


@pytest.fixture
def bench():
    bench = Bench()
    bench.commit("first")
    bench.commit("second", "third")
    return bench


def receipt_of(bench, commit, at):
    outcome = commit.outcomes[at]
    entry = bench.log.entries[outcome.index][1]
    return verify_receipt(outcome.receipt, entry, RECEIPT_KEY.public)


def test_a_group_gets_consecutive_indexes_one_head_and_receipts_that_hold(bench):
    commit = bench.commit("a", "b", "c")
    assert indexes(commit) == [3, 4, 5]
    assert (commit.head.size, commit.appended) == (6, 3)
    assert [receipt_of(bench, commit, k).index for k in range(3)] == [3, 4, 5]
    assert {receipt_of(bench, commit, k).size for k in range(3)} == {6}
    assert bench.faults() == []


def test_duplicates_inside_one_group_share_index_and_receipt(bench):
    one, two, three = bench.commit("a", "b", "a").outcomes
    assert (one.index, two.index) == (3, 4)
    assert (three.index, three.receipt) == (one.index, one.receipt)
    assert len(bench.log.entries) == 5


def test_a_known_statement_keeps_its_index_and_gets_no_second_receipt(bench):
    commit = bench.commit("second", "new", "second")
    assert indexes(commit) == [1, 3, 1]
    assert [o.receipt is None for o in commit.outcomes] == [True, False, True]


def test_only_known_statements_sign_nothing(bench):
    heads = len(bench.keeper.notes)
    commit = bench.commit("first", "third")
    assert (commit.head, commit.appended, len(bench.keeper.notes)) == (None, 0, heads)


@pytest.mark.parametrize(
    ("content", "kind"), [("refused", Refused), ("malformed", Malformed)]
)
def test_what_is_refused_takes_no_index_and_spoils_nobody_elses(bench, content, kind):
    group = [candidate("x", content), candidate("a"), candidate("y", content)]
    commit = bench.sequencer.commit(group)
    assert indexes(commit) == [kind, 3, kind]
    assert [entry for _, entry in bench.log.entries[3:]] == [b"a"]


def test_a_group_of_refused_alone_leaves_the_log_and_the_clock_alone():
    bench = Bench(clock=lambda: 7)
    commit = bench.sequencer.commit([candidate("x", "refused")])
    assert indexes(commit) == [Refused]
    assert (bench.log.entries, bench.keeper.notes, bench.admission.tick) == ([], [], 0)


def test_a_tick_comes_once_a_second_and_before_the_first_that_enters():
    now = [5]
    bench = Bench(clock=lambda: now[0])
    refused = candidate("x", "refused")
    bench.sequencer.commit([refused, *candidates("a", "b")])
    bench.commit("c")
    now[0] = 4
    bench.commit("d")
    now[0] = 6
    bench.commit("e")
    written = [entry.decode() for _, entry in bench.log.entries]
    assert written == ["tick 5", "a", "b", "c", "d", "tick 6", "e"]


def test_a_tick_that_is_refused_is_the_centers_fault_and_nobody_elses(monkeypatch):
    now = [5]
    bench = Bench(clock=lambda: now[0])
    bench.commit("a")
    now[0] = 6
    tick = candidate("tick 6", "refused")
    monkeypatch.setattr(bench.admission, "clock_entry", lambda: tick)
    before = list(bench.log.entries)
    with pytest.raises(ReadOnly, match="tick"):
        bench.commit("b")
    assert bench.log.entries == before
    assert bench.admission.forgotten == 1
    monkeypatch.undo()
    assert indexes(bench.commit("b")) == [3]


def test_a_revocation_binds_what_stands_behind_it_in_the_group():
    bench = Bench()
    revoke = candidate("revoke", "revoke")
    commit = bench.sequencer.commit([candidate("a"), revoke, candidate("b")])
    assert indexes(commit) == [0, 1, Refused]
    assert indexes(bench.commit("c")) == [Refused]


@pytest.mark.parametrize("error", [PowerOff(), OSError("disk")])
@pytest.mark.parametrize("step", BEFORE_COMMIT)
def test_a_failure_before_the_commit_leaves_nothing(bench, step, error):
    before, heads = list(bench.log.entries), list(bench.keeper.notes)
    fail_at(bench, step, error)
    with pytest.raises(type(error)):
        bench.commit("a", "b")
    assert (bench.log.entries, bench.keeper.notes) == (before, heads)
    assert bench.admission.forgotten == 1
    work_again(bench)
    assert indexes(bench.commit("b", "a")) == [3, 4]
    assert bench.faults() == []


@pytest.mark.parametrize("error", [PowerOff(), OSError("disk")])
@pytest.mark.parametrize("step", AFTER_COMMIT)
def test_a_failure_after_the_commit_leaves_entries_without_receipts(bench, step, error):
    fail_at(bench, step, error)
    with pytest.raises(type(error)):
        bench.commit("a", "b")
    assert len(bench.log.entries) == 5
    assert bench.keeper.last().size == 3
    work_again(bench)
    again = bench.commit("a", "b")
    assert indexes(again) == [3, 4]
    # The head that was not kept is kept before anything else, and no new one made.
    assert (bench.keeper.last().size, again.head) == (5, None)
    assert bench.faults() == []


def test_a_failure_after_the_head_was_kept_leaves_nothing_to_repair(bench):
    fail_at(bench, "kept", PowerOff())
    with pytest.raises(PowerOff):
        bench.commit("a")
    assert (len(bench.log.entries), bench.keeper.last().size) == (4, 4)
    work_again(bench)
    assert indexes(bench.commit("a")) == [3]
    assert bench.faults() == []


def test_receipts_wait_for_the_kept_head_and_the_tiles(bench):
    steps = []
    bench.log.between = bench.keeper.between = steps.append
    bench.sequencer._on_commit = lambda growth: steps.append("tiles")
    bench.commit("a")
    assert steps == [*BEFORE_COMMIT, "committed", "keep", "kept", "tiles"]


@pytest.mark.parametrize("how", ["commit", "known", "settle"])
def test_a_head_that_was_found_is_signed_only_after_a_commit_that_waited(bench, how):
    # A restarted server shows commits that no standby has yet.
    fail_at(bench, "keep", PowerOff())
    with pytest.raises(PowerOff):
        bench.commit("a")
    look = {
        "commit": bench.commit,
        "known": lambda: bench.commit("a"),
        "settle": bench.sequencer.settle,
    }[how]
    fail_at(bench, "commit", ReadOnly("the standby does not answer"))
    with pytest.raises(ReadOnly, match="standby"):
        look()
    assert bench.keeper.last().size == 3
    steps = []
    bench.log.between = bench.keeper.between = steps.append
    look()
    assert steps == ["begin", "vouch", "commit", "committed", "keep", "kept"]
    assert bench.keeper.last().size == 4


def test_a_head_that_was_found_is_not_signed_where_new_entries_fail(bench):
    fail_at(bench, "keep", PowerOff())
    with pytest.raises(PowerOff):
        bench.commit("a")
    fail_at(bench, "commit", ReadOnly("the standby does not answer"))
    with pytest.raises(ReadOnly, match="standby"):
        bench.commit("b")
    assert bench.keeper.last().size == 3


def test_a_database_behind_the_kept_head_signs_nothing(bench):
    old = list(bench.log.entries), dict(bench.log.heads), bench.log.head
    bench.commit("a")
    bench.log.entries, bench.log.heads, bench.log.head = old
    heads = len(bench.keeper.notes)
    for group in (["b"], []):
        with pytest.raises(ReadOnly, match="ends at 3, but a head of 4 was signed"):
            bench.commit(*group)
    assert len(bench.keeper.notes) == heads
    assert len(bench.log.entries) == 3


@pytest.mark.parametrize("more", [0, 2])
def test_another_root_at_the_kept_size_signs_nothing(bench, more):
    other = Bench()
    other.commit("first")
    other.commit("second", "fourth")
    if more:
        other.commit("fifth", "sixth")
    other.sequencer._keeper = bench.keeper
    heads = len(bench.keeper.notes)
    with pytest.raises(ReadOnly, match="another root at 3"):
        other.commit("a")
    assert len(bench.keeper.notes) == heads


def test_a_kept_head_between_two_commits_signs_nothing(bench):
    # No commit ended at size 2, so no root there can vouch for the kept head.
    head = Checkpoint(ORIGIN, 2, bench.log.tree().roots[2])
    bench.keeper.head = head
    with pytest.raises(ReadOnly, match="another root at 2"):
        bench.commit("a")


def test_entries_without_a_kept_head_sign_nothing(bench):
    bench.sequencer._keeper = keeper = MemoryKeeper()
    with pytest.raises(ReadOnly, match="kept head is gone"):
        bench.commit("a")
    assert keeper.notes == []


def test_the_first_entry_may_have_been_committed_without_its_head():
    bench = Bench()
    fail_at(bench, "keep", PowerOff())
    with pytest.raises(PowerOff):
        bench.commit("first")
    work_again(bench)
    assert bench.commit().head is None
    assert bench.keeper.last().size == 1


@pytest.mark.parametrize("position", [0, 1])
def test_a_bit_that_flips_between_write_and_read_is_never_signed(bench, position):
    before, heads = list(bench.log.entries), list(bench.keeper.notes)
    bench.log.flip = position
    with pytest.raises(StoreCorrupt, match="not those written"):
        bench.commit("a", "b")
    assert (bench.log.entries, bench.keeper.notes) == (before, heads)
    assert bench.log.heads.keys() == {1, 3}


def test_an_entry_missing_when_read_back_is_never_signed(bench, monkeypatch):
    monkeypatch.setattr(MemoryAppending, "read_back", lambda self, first, count: [])
    with pytest.raises(StoreCorrupt):
        bench.commit("a")
    assert len(bench.log.entries) == 3


def test_of_two_sequencers_that_read_the_same_head_one_meets_a_conflict():
    # Without the lock, the compare-and-swap alone must hold.
    log = MemoryLog(locked=False)
    keeper = MemoryKeeper()
    Bench(log, keeper).commit("first")
    both_read = Barrier(2)
    log.between = lambda step: both_read.wait(5) if step == "write" else None
    results = {}

    def run(name):
        try:
            results[name] = Bench(log, keeper).commit(name)
        except Conflict as error:
            results[name] = error

    threads = [Thread(target=run, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(isinstance(r, Conflict) for r in results.values()) == [False, True]
    assert len(log.entries) == 2
    assert Bench(log, keeper).faults() == []


def test_many_sequencers_on_one_locked_log_share_the_indexes():
    log, keeper = MemoryLog(), MemoryKeeper()
    Bench(log, keeper).commit("first")
    places = []

    def run(name):
        bench = Bench(log, keeper)
        for k in range(20):
            places.extend(indexes(bench.commit(f"{name} {k}", f"both {k}")))

    threads = [Thread(target=run, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(set(places)) == list(range(1, 101))
    assert Bench(log, keeper).faults() == []


def test_the_head_is_signed_by_the_heads_key_and_kept_as_a_note(bench):
    head = bench.keeper.last()
    assert bench.keeper.notes[-1] == sign_checkpoint(ORIGIN, 3, head.root, HEAD_KEY)
