"""Tiles: made from entries, checked before they are handed on, made again."""

import pytest

from tests.faults.checks import Tree
from trace_node.errors import BadProof, NotFound, StoreCorrupt
from trace_node.ledger.merkle import (
    CompactRange,
    check_consistency,
    compact_range,
    consistency_proof,
    grow,
    inclusion_proof,
)
from trace_node.ledger.tiles import TILE_WIDTH, tile_path
from trace_node.store import tiles as module
from trace_node.store.tiles import FULL, TileStore
from trace_node.trust.merkle import check_inclusion, leaf_hash

EMPTY = CompactRange(0, ())
LEVEL1 = TILE_WIDTH * TILE_WIDTH  # 65,536


class FakeLog:
    """``SqlLog.statements`` over entries that cost nothing."""

    def __init__(self, size):
        self.size = size
        self.damaged = {}
        self.read = 0

    def statements(self, begin, end):
        end = min(end, self.size)
        self.read += max(0, end - begin)
        return [self.damaged.get(k, b"%d" % k) for k in range(begin, end)]


_ranges = {0: EMPTY}


def range_of(size):
    """The compact range of the undamaged log."""
    if size not in _ranges:
        start = max(known for known in _ranges if known <= size)
        leaves = [leaf_hash(b"%d" % k) for k in range(start, size)]
        _ranges[size] = grow(_ranges[start], leaves).frontier
    return _ranges[size]


def make(folder, size):
    store = TileStore(folder, FakeLog(size))
    store.load(range_of(size))
    return store


def advance(store, size):
    """Let another commit come in, as the sequencer tells it."""
    store._log.size = size
    leaves = [leaf_hash(b"%d" % k) for k in range(store.size, size)]
    store.grow(grow(range_of(store.size), leaves))


def root(store, size):
    return compact_range(size, store.nodes(size)).root()


def check_proofs(store, size, indexes):
    expected = range_of(size).root()
    for index in indexes:
        path = inclusion_proof(index, size, store.nodes(size))
        check_inclusion(leaf_hash(b"%d" % index), index, size, path, expected)


def test_a_range_made_here_is_that_of_an_independent_tree():
    tree = Tree()
    for k in range(700):
        tree.append(b"%d" % k)
    assert all(range_of(n).root() == tree.roots[n] for n in (1, 2, 255, 256, 257, 700))


EDGES = [0, 1, 2, 255, 256, 257, 511, 512, 513]
LARGE_EDGES = [LEVEL1 - 1, LEVEL1, LEVEL1 + 1, LEVEL1 + 255, LEVEL1 + 256, LEVEL1 + 257]


@pytest.mark.parametrize("size", EDGES + LARGE_EDGES)
def test_loading_at_an_edge_gives_the_head_and_its_proofs(tmp_path, size):
    store = make(tmp_path, size)
    assert root(store, size) == range_of(size).root()
    check_proofs(
        store, size, {k for k in (0, 254, 255, 256, size - 1) if 0 <= k < size}
    )


@pytest.mark.parametrize("step", [1, 2, 3, 7, 100, 255, 256, 257, 600])
def test_growing_across_tiles_gives_what_loading_gives(tmp_path, step):
    store = make(tmp_path / "a", 0)
    for size in range(step, 1300, step):
        advance(store, size)
        assert root(store, size) == range_of(size).root()
    store.flush()
    assert make(tmp_path / "a", store.size)._edge == store._edge
    assert make(tmp_path / "b", store.size)._edge == store._edge


@pytest.mark.parametrize("first", [LEVEL1 - 300, LEVEL1 - 1, LEVEL1])
def test_growing_across_a_level(tmp_path, first):
    store = make(tmp_path, first)
    for size in (LEVEL1 + 1, LEVEL1 + 200, LEVEL1 + 300):
        advance(store, size)
        assert root(store, size) == range_of(size).root()
    store.flush()
    assert (tmp_path / tile_path(1, 0)).stat().st_size == FULL
    check_proofs(store, store.size, (0, 65_535, 65_536, store.size - 1))


def test_proofs_hold_for_every_older_size(tmp_path):
    store = make(tmp_path, 0)
    advance(store, 600)
    for size in (1, 2, 100, 255, 256, 257, 512, 513, 599, 600):
        check_proofs(store, size, {0, size // 2, size - 1})
        path = consistency_proof(size, 600, store.nodes(600))
        roots = range_of(size).root(), range_of(600).root()
        check_consistency(size, roots[0], 600, roots[1], path)


def test_a_size_that_is_not_there_yet_has_no_proofs(tmp_path):
    store = make(tmp_path, 10)
    with pytest.raises(BadProof):
        store.nodes(11)
    for level, index, width in ((0, 0, 11), (0, 0, 256), (0, 1, 1), (1, 0, 1)):
        with pytest.raises(NotFound):
            store.read(level, index, width)


def test_the_edge_is_read_in_any_width(tmp_path):
    store = make(tmp_path, 300)
    leaves = b"".join(leaf_hash(b"%d" % k) for k in range(300))
    assert store.read(0, 0) == leaves[:FULL]
    assert store.read(0, 1, 44) == leaves[FULL:]
    assert store.read(0, 1, 7) == leaves[FULL : FULL + 7 * 32]
    assert store.read(0, 0, 3) == leaves[: 3 * 32]


def test_only_full_tiles_become_files_and_only_when_flushed(tmp_path):
    store = make(tmp_path, 0)
    advance(store, 600)
    assert list(tmp_path.rglob("*")) == []
    assert store.flush() == 2
    files = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {tmp_path / tile_path(0, k) for k in (0, 1)}
    assert store.flush() == 0


def test_a_start_without_files_writes_them_at_the_next_flush(tmp_path):
    store = make(tmp_path, 1000)
    assert store.flush() == 3
    assert make(tmp_path, 1000).flush() == 0


def test_a_start_reads_tiles_and_not_the_log(tmp_path):
    make(tmp_path, LEVEL1 + 300).flush()
    again = make(tmp_path, LEVEL1 + 300)
    assert again._log.read < 2 * TILE_WIDTH


def damage(path, kind):
    if kind == "gone":
        path.unlink()
    elif kind == "short":
        path.write_bytes(path.read_bytes()[:-1])
    elif kind == "empty":
        path.write_bytes(b"")
    else:
        data = bytearray(path.read_bytes())
        data[4242 % len(data)] ^= 1
        path.write_bytes(bytes(data))


DAMAGES = pytest.mark.parametrize("kind", ["gone", "short", "empty", "flipped"])


@DAMAGES
@pytest.mark.parametrize("name", [(0, 0), (0, 1)])
def test_a_damaged_tile_is_made_again_when_it_is_read(tmp_path, name, kind):
    make(tmp_path, 600).flush()
    path = tmp_path / tile_path(*name)
    good = path.read_bytes()
    store = make(tmp_path, 600)
    damage(path, kind)
    assert store.read(*name) == good
    assert path.read_bytes() == good


@DAMAGES
@pytest.mark.parametrize("name", [(0, 1), (1, 0)])
def test_a_damaged_tile_is_made_again_when_the_center_starts(tmp_path, name, kind):
    size = LEVEL1 + 300
    make(tmp_path, size).flush()
    path = tmp_path / tile_path(*name)
    good = path.read_bytes()
    damage(path, kind)
    store = make(tmp_path, size)
    assert root(store, size) == range_of(size).root()
    assert store.read(*name) == good
    store.flush()
    assert path.read_bytes() == good


def test_a_tile_gone_with_a_damaged_one_below_is_made_from_the_entries(tmp_path):
    size = LEVEL1 + 300
    make(tmp_path, size).flush()
    good = (tmp_path / tile_path(1, 0)).read_bytes()
    store = make(tmp_path, size)
    damage(tmp_path / tile_path(1, 0), "gone")
    damage(tmp_path / tile_path(0, 7), "flipped")
    assert store.read(1, 0) == good
    check_proofs(store, size, (7 * 256 + 3,))


@pytest.mark.parametrize("kind", ["gone", "flipped"])
def test_tile_and_entries_damaged_is_told_every_time(tmp_path, kind):
    make(tmp_path, 600).flush()
    store = make(tmp_path, 600)
    path = tmp_path / tile_path(0, 1)
    damage(path, kind)
    store._log.damaged[300] = b"other"
    for _ in range(2):  # what failed once must not be served from memory later
        with pytest.raises(StoreCorrupt, match="tile 0/1 and its entries"):
            store.read(0, 1)
    store.flush()
    assert path.exists() == (kind == "flipped")
    assert store.read(0, 0)


def test_damaged_entries_do_not_hide_behind_sound_tiles_at_the_edge(tmp_path):
    make(tmp_path, 600).flush()
    log = FakeLog(600)
    log.damaged[550] = b"other"
    store = TileStore(tmp_path, log)
    with pytest.raises(StoreCorrupt, match="do not lead to the signed head"):
        store.load(range_of(600))
    assert store.flush() == 0


def test_entries_that_are_missing_are_told(tmp_path):
    store = TileStore(tmp_path, FakeLog(590))
    with pytest.raises(StoreCorrupt, match="not all there"):
        store.load(range_of(600))


def test_what_another_process_appended_is_caught_up(tmp_path):
    store = make(tmp_path, 100)
    store._log.size = 700
    store.catch_up(650)
    assert (store.size, root(store, 650)) == (650, range_of(650).root())
    store.catch_up(10)
    assert store.size == 650


def test_a_commit_that_does_not_follow_is_caught_up_first(tmp_path):
    store = make(tmp_path, 100)
    store._log.size = 705
    leaves = [leaf_hash(b"%d" % k) for k in range(700, 705)]
    store.grow(grow(range_of(700), leaves))
    assert root(store, 705) == range_of(705).root()


def test_a_commit_that_is_known_already_changes_nothing(tmp_path):
    store = make(tmp_path, 100)
    store._log.size = 200
    store.catch_up(200)
    store.grow(grow(range_of(100), [leaf_hash(b"%d" % k) for k in range(100, 150)]))
    assert (store.size, root(store, 200)) == (200, range_of(200).root())


def test_catching_up_beyond_the_log_is_an_error_and_ends(tmp_path):
    # A restored database: the kept head is ahead of it.
    store = make(tmp_path, 100)
    with pytest.raises(StoreCorrupt, match="ends at 100, not at 120"):
        store.catch_up(120)
    assert root(store, 100) == range_of(100).root()


def test_memory_holds_a_bounded_number_of_tiles(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "KEPT", 4)
    store = make(tmp_path, 256 * 10)
    store.flush()
    for index in range(10):
        store.read(0, index)
        store.read(0, 0)
    assert len(store._kept) == 4
    assert (0, 0) in store._kept
