"""Tiles: made from entries, checked before they are handed on, made again."""

import errno

import pytest

from tests.faults.checks import Tree
from tests.places import FilePlace
from trace_node.errors import BadProof, BlobsDown, NotFound, StoreCorrupt
from trace_node.ledger.merkle import (
    CompactRange,
    check_consistency,
    compact_range,
    consistency_proof,
    grow,
    inclusion_proof,
)
from trace_node.ledger.tiles import TILE_WIDTH, parse_tile_path, tile_path
from trace_node.store import tiles as module
from trace_node.store.blobs import FileBlobs
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


def make(place, size):
    store = TileStore(place.blobs, FakeLog(size))
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
def test_loading_at_an_edge_gives_the_head_and_its_proofs(place, size):
    store = make(place, size)
    assert root(store, size) == range_of(size).root()
    check_proofs(
        store, size, {k for k in (0, 254, 255, 256, size - 1) if 0 <= k < size}
    )


@pytest.mark.parametrize("step", [1, 2, 3, 7, 100, 255, 256, 257, 600])
def test_growing_across_tiles_gives_what_loading_gives(new_place, step):
    first, second = new_place(), new_place()
    store = make(first, 0)
    for size in range(step, 1300, step):
        advance(store, size)
        assert root(store, size) == range_of(size).root()
    store.flush()
    assert make(first, store.size)._edge == store._edge
    assert make(second, store.size)._edge == store._edge


@pytest.mark.parametrize("first", [LEVEL1 - 300, LEVEL1 - 1, LEVEL1])
def test_growing_across_a_level(place, first):
    store = make(place, first)
    for size in (LEVEL1 + 1, LEVEL1 + 200, LEVEL1 + 300):
        advance(store, size)
        assert root(store, size) == range_of(size).root()
    store.flush()
    assert len(place.get(tile_path(1, 0))) == FULL
    check_proofs(store, store.size, (0, 65_535, 65_536, store.size - 1))


def test_proofs_hold_for_every_older_size(place):
    store = make(place, 0)
    advance(store, 600)
    for size in (1, 2, 100, 255, 256, 257, 512, 513, 599, 600):
        check_proofs(store, size, {0, size // 2, size - 1})
        path = consistency_proof(size, 600, store.nodes(600))
        roots = range_of(size).root(), range_of(600).root()
        check_consistency(size, roots[0], 600, roots[1], path)


def test_a_size_that_is_not_there_yet_has_no_proofs(place):
    store = make(place, 10)
    with pytest.raises(BadProof):
        store.nodes(11)
    for level, index, width in ((0, 0, 11), (0, 0, 256), (0, 1, 1), (1, 0, 1)):
        with pytest.raises(NotFound):
            store.read(level, index, width)


def test_the_edge_is_read_in_any_width(place):
    store = make(place, 300)
    leaves = b"".join(leaf_hash(b"%d" % k) for k in range(300))
    assert store.read(0, 0) == leaves[:FULL]
    assert store.read(0, 1, 44) == leaves[FULL:]
    assert store.read(0, 1, 7) == leaves[FULL : FULL + 7 * 32]
    assert store.read(0, 0, 3) == leaves[: 3 * 32]


def test_only_full_tiles_become_files_and_only_when_flushed(place):
    store = make(place, 0)
    advance(store, 600)
    assert place.all() == set()
    assert store.flush() == 2
    assert place.all() == {tile_path(0, k) for k in (0, 1)}
    assert store.flush() == 0


def test_a_start_without_files_writes_them_at_the_next_flush(place):
    store = make(place, 1000)
    assert store.flush() == 3
    assert make(place, 1000).flush() == 0


def test_a_start_reads_tiles_and_not_the_log(place):
    make(place, LEVEL1 + 300).flush()
    again = make(place, LEVEL1 + 300)
    assert again._log.read < 2 * TILE_WIDTH


def damage(place, name, kind):
    data = bytearray(place.get(name))
    if kind == "gone":
        place.delete(name)
        return
    if kind == "short":
        del data[-1:]
    elif kind == "empty":
        data.clear()
    elif kind == "long":
        data += b"x"
    else:
        data[4242 % len(data)] ^= 1
    place.put(name, bytes(data))


DAMAGES = pytest.mark.parametrize("kind", ["gone", "short", "empty", "long", "flipped"])


SMALL_TILES = pytest.mark.parametrize(("name", "size"), [((0, 0), 600), ((0, 1), 600)])
TILES = pytest.mark.parametrize(
    ("name", "size"), [((0, 0), 600), ((0, 1), 600), ((1, 0), LEVEL1 + 300)]
)


@DAMAGES
@TILES
def test_a_damaged_tile_is_never_served(place, name, size, kind):
    make(place, size).flush()
    path = tile_path(*name)
    good = place.get(path)
    store = make(place, size)
    damage(place, path, kind)
    assert store.read(*name) == good
    if not (place.blobs.far and name[0] == 0):  # else made from the entries
        assert place.get(path) == good


@DAMAGES
@TILES
def test_a_damaged_tile_is_made_again_when_the_center_starts(place, name, size, kind):
    make(place, size).flush()
    path = tile_path(*name)
    good = place.get(path)
    damage(place, path, kind)
    store = make(place, size)
    assert root(store, size) == range_of(size).root()
    assert store.read(*name) == good
    store.flush()
    assert place.get(path) == good


@DAMAGES
@SMALL_TILES
def test_a_damaged_tile_is_mended_when_somebody_asks(place, name, size, kind):
    store = make(place, size)
    store.flush()
    path = tile_path(*name)
    good = place.get(path)
    assert not store.mend(*name)
    damage(place, path, kind)
    assert store.mend(*name)
    assert place.get(path) == good


def test_a_tile_gone_with_a_damaged_one_below_is_made_from_the_entries(place):
    size = LEVEL1 + 300
    make(place, size).flush()
    good = place.get(tile_path(1, 0))
    store = make(place, size)
    damage(place, tile_path(1, 0), "gone")
    damage(place, tile_path(0, 7), "flipped")
    assert store.read(1, 0) == good
    check_proofs(store, size, (7 * 256 + 3,))


@pytest.mark.parametrize("kind", ["gone", "flipped"])
def test_tile_and_entries_damaged_is_told_every_time(place, kind):
    make(place, 600).flush()
    store = make(place, 600)
    path = tile_path(0, 1)
    damage(place, path, kind)
    store._log.damaged[300] = b"other"
    for _ in range(2):  # what failed once must not be served from memory later
        with pytest.raises(StoreCorrupt, match="tile 0/1 and its entries"):
            store.read(0, 1)
    store.flush()
    assert (place.get(path) is None) == (kind == "gone")
    assert store.read(0, 0)


def test_damaged_entries_do_not_spoil_a_sound_tile(place):
    make(place, 600).flush()
    good = place.get(tile_path(0, 1))
    store = make(place, 600)
    store._log.damaged[300] = b"other"
    assert store.read(0, 1) == good
    assert place.get(tile_path(0, 1)) == good


def test_damaged_entries_do_not_hide_behind_sound_tiles_at_the_edge(place):
    make(place, 600).flush()
    log = FakeLog(600)
    log.damaged[550] = b"other"
    store = TileStore(place.blobs, log)
    with pytest.raises(StoreCorrupt, match="do not lead to the signed head"):
        store.load(range_of(600))
    assert store.flush() == 0


def test_entries_that_are_missing_are_told(place):
    store = TileStore(place.blobs, FakeLog(590))
    with pytest.raises(StoreCorrupt, match="not all there"):
        store.load(range_of(600))


def test_what_another_process_appended_is_caught_up(place):
    store = make(place, 100)
    store._log.size = 700
    store.catch_up(650)
    assert (store.size, root(store, 650)) == (650, range_of(650).root())
    store.catch_up(10)
    assert store.size == 650


def test_a_commit_that_does_not_follow_is_caught_up_first(place):
    store = make(place, 100)
    store._log.size = 705
    leaves = [leaf_hash(b"%d" % k) for k in range(700, 705)]
    store.grow(grow(range_of(700), leaves))
    assert root(store, 705) == range_of(705).root()


def test_a_commit_that_is_known_already_changes_nothing(place):
    store = make(place, 100)
    store._log.size = 200
    store.catch_up(200)
    store.grow(grow(range_of(100), [leaf_hash(b"%d" % k) for k in range(100, 150)]))
    assert (store.size, root(store, 200)) == (200, range_of(200).root())


def test_catching_up_beyond_the_log_is_an_error_and_ends(place):
    # A restored database: the kept head is ahead of it.
    store = make(place, 100)
    with pytest.raises(StoreCorrupt, match="ends at 100, not at 120"):
        store.catch_up(120)
    assert root(store, 100) == range_of(100).root()


def test_memory_holds_a_bounded_number_of_tiles(place, monkeypatch):
    monkeypatch.setattr(module, "KEPT", 4)
    store = make(place, 256 * 10)
    store.flush()
    for index in range(10):
        store.read(0, index)
        store.read(0, 0)
    assert len(store._kept) == 4
    assert (0, 0) in store._kept


class Flaky:
    """A place that can be out of reach, and counts what reaches it."""

    far = True

    def __init__(self, blobs):
        self.blobs, self.down, self.written = blobs, False, []

    def __getattr__(self, name):
        if self.down:
            raise BlobsDown("gone")
        return getattr(self.blobs, name)

    def create(self, blobs):
        if self.down:
            raise BlobsDown("gone")
        blobs = list(blobs)
        for name, data in blobs:
            if self.written is not None and len(self.written) == self.limit:
                raise BlobsDown("gone in the middle")
            self.written.append(name)
            assert self.blobs.create([(name, data)]) == []
        return []

    limit = -1


@pytest.fixture
def flaky(tmp_path):
    return Flaky(FileBlobs(tmp_path))


def flaky_store(flaky, size):
    store = TileStore(flaky, FakeLog(size))
    store.load(range_of(size))
    return store


def test_tiles_wait_while_their_place_does_not_answer(flaky, tmp_path):
    store = flaky_store(flaky, 0)
    flaky.down = True
    advance(store, 600)
    with pytest.raises(BlobsDown):
        store.flush()
    assert store.waiting
    check_proofs(store, 600, (0, 300, 599))
    flaky.down = False
    assert store.flush() == 2
    assert not store.waiting
    assert FilePlace(tmp_path).all() == {tile_path(0, 0), tile_path(0, 1)}


def test_a_day_without_the_place_costs_no_memory(flaky, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "HELD", 3)
    store = flaky_store(flaky, 0)
    flaky.down = True
    advance(store, 256 * 20 + 7)
    held = [tile for tile in store._unwritten.values() if tile is not None]
    assert (len(store._unwritten), len(held)) == (20, 3)
    check_proofs(store, store.size, (0, 256 * 10, store.size - 1))
    flaky.down = False
    assert store.flush() == 20
    assert store._held == 0
    whole = make(FilePlace(tmp_path), store.size)
    assert whole._log.read < 256
    assert not whole.waiting


def test_a_start_without_the_place_makes_all_from_the_entries(flaky):
    flaky_store(flaky, LEVEL1 + 300).flush()
    flaky.down = True
    store = flaky_store(flaky, LEVEL1 + 300)
    assert root(store, store.size) == range_of(store.size).root()
    check_proofs(store, store.size, (0, 65_535, store.size - 1))
    assert store.waiting
    with pytest.raises(BlobsDown):
        store.flush()
    flaky.down = False
    flaky.written.clear()
    assert store.flush() == 0
    assert flaky.written == []
    assert not store.waiting


@pytest.mark.parametrize("there", [0, 1, 100, 256, 257])
def test_what_a_crash_left_unwritten_is_found_after_such_a_start(
    flaky, tmp_path, there
):
    """The order of writing is what makes a look at the edge enough."""
    size = LEVEL1 + 300  # 257 tiles of level 0, one of level 1
    store = flaky_store(flaky, size)
    flaky.limit = there
    with pytest.raises(BlobsDown):
        store.flush()
    assert len(flaky.written) == there
    assert not any(name.startswith("tile/1") for name in flaky.written[:257])
    flaky.limit, flaky.down = -1, True
    store = flaky_store(flaky, size)
    advance(store, size + 500)
    flaky.down = False
    store.flush()
    names = {tile_path(0, k) for k in range(store.size // 256)} | {tile_path(1, 0)}
    assert FilePlace(tmp_path).all() == names
    for name in names:  # and each holds what the tree says
        level, index = parse_tile_path(name)[:2]
        assert not store.mend(level, index)


def test_a_tile_that_cannot_be_mended_now_is_mended_later(tmp_path):
    make(FilePlace(tmp_path), LEVEL1 + 300).flush()
    store = make(FilePlace(tmp_path), LEVEL1 + 300)
    good = store.read(1, 0)
    store._kept.clear()
    damage(FilePlace(tmp_path), tile_path(1, 0), "flipped")
    replace = store._blobs.replace
    store._blobs.replace = full_disk
    assert store.read(1, 0) == good
    assert store.waiting
    store._blobs.replace = replace
    store.flush()
    assert FilePlace(tmp_path).get(tile_path(1, 0)) == good


def full_disk(_blobs):
    raise OSError(errno.ENOSPC, "no space left on device")


def test_entries_damaged_and_the_place_gone_is_no_verdict(flaky):
    flaky_store(flaky, 600).flush()
    store = flaky_store(flaky, 600)
    store._log.damaged[300] = b"other"
    flaky.down = True
    with pytest.raises(BlobsDown):
        store.read(0, 1)
    flaky.down = False
    assert store.read(0, 1)


def test_a_build_that_writes_the_upper_tile_first_would_lose_tiles(
    flaky, tmp_path, monkeypatch
):
    """The control: with the order turned round the look at the edge misses tiles."""
    monkeypatch.setattr(
        module, "sorted", lambda names: sorted(names, reverse=True), raising=False
    )
    size = LEVEL1 + 300
    store = flaky_store(flaky, size)
    flaky.limit = 1
    with pytest.raises(BlobsDown):
        store.flush()
    flaky.limit = -1
    flaky_store(flaky, size).flush()
    names = {tile_path(0, k) for k in range(size // 256)} | {tile_path(1, 0)}
    assert FilePlace(tmp_path).all() < names
