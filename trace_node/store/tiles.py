"""Hash tiles: full ones as blobs, the growing right edge in memory.

Tiles are made from entries that are already durable, so nothing here can be
lost: what a crash leaves unwritten is made again from the database, and so is a
tile whose blob was damaged. A full tile is never handed on before its root was
compared with the hash one level up, which ends at the edge: memory that was
checked against the signed head at the start.

A tile is written after those below it. So a start that finds a tile need not look
below it, and after a crash finds all that is missing from the edge alone. Blobs
that cannot be reached (S3 down) stop neither start nor reading: tiles are made
from the entries, and wait to be written.
"""

from collections import OrderedDict
from collections.abc import Callable
from itertools import groupby
from operator import itemgetter
from threading import RLock

from trace_node.errors import BadProof, BlobsDown, NotFound, StoreCorrupt
from trace_node.ledger.merkle import CompactRange, Growth, compact_range, grow
from trace_node.ledger.tiles import (
    TILE_HEIGHT,
    TILE_WIDTH,
    TileNodes,
    tile_path,
    tile_root,
    tile_width,
)
from trace_node.store.blobs import BlobStore, write_sound
from trace_node.store.log import SqlLog
from trace_node.store.tilemaking import FULL, TileMaker, Tiles
from trace_node.trust.merkle import HASH_SIZE, leaf_hash

KEPT = 1024  # full tiles kept in memory: 8 MiB
HELD = 4096  # tiles that wait to be written, in memory: 32 MiB; others by name
PART = 256  # tiles written at once

Name = tuple[int, int]  # level, index


class TileStore:
    """Tiles of one log; safe to use from several threads."""

    def __init__(self, blobs: BlobStore, log: SqlLog) -> None:
        self._blobs = blobs
        self._log = log
        self._make = TileMaker(blobs, log)
        self._lock = RLock()
        self._edge: list[bytearray] = [bytearray()]
        # None: made again when it is written, so that a store that is down for a
        # day costs no memory.
        self._unwritten: dict[Name, bytes | None] = {}
        self._held = 0
        self._unsure = 0  # the tiles of a tree of this size may be unwritten
        self._kept: OrderedDict[Name, bytes] = OrderedDict()
        self.size = 0

    @property
    def waiting(self) -> bool:
        """Whether there is something for ``flush`` to do."""
        return bool(self._unwritten or self._unsure)

    def load(self, range_: CompactRange) -> None:
        """Make the right edge of the tree that ends at ``range_``.

        Raises:
            StoreCorrupt: entries and head do not belong together.
        """
        with self._lock:
            self.size = self._unsure = 0
            self._kept.clear()
            self._forget()
            if not self._load(range_):
                self._forget()
                raise StoreCorrupt("the entries do not lead to the signed head")

    def _load(self, range_: CompactRange) -> bool:
        try:
            if self._try_load(range_, self._made_if_missing):
                return True
            # A blob is damaged, or the entries are: the entries alone decide.
            self._forget()
            return self._try_load(range_, self._made_if_wrong)
        except BlobsDown:
            self._forget()
            self._unsure = range_.size
            return self._try_load(range_, self._make.all_from_entries)

    def _try_load(self, range_: CompactRange, tiles: Tiles) -> bool:
        """Make the edge from the tiles below it; say whether it leads to the head."""
        self.size = 0
        size, edge, level = range_.size, [], 0
        while level == 0 or size >> TILE_HEIGHT * level:
            edge.append(self._load_edge(level, size, tiles))
            level += 1
        self._edge, self.size = edge, size
        return compact_range(size, TileNodes(self._read_edge, size)) == range_

    def _load_edge(self, level: int, size: int, tiles: Tiles) -> bytearray:
        index = (size >> TILE_HEIGHT * level) // TILE_WIDTH
        width = tile_width(level, index, size)
        begin = index * TILE_WIDTH
        if level == 0:
            return bytearray(self._make.leaves(begin, begin + width))
        below = tiles(level - 1, range(begin, begin + width))
        return bytearray(b"".join(map(tile_root, below)))

    def grow(self, growth: Growth) -> None:
        """Take in a commit; called after it is durable, in order.

        A commit that does not start where this edge ends (another process
        appended in between) is caught up from the database first.
        """
        with self._lock:
            if growth.size <= self.size:
                return
            if growth.old_size != self.size:
                self._catch_up(growth.old_size)
            level = 0
            while True:
                first, hashes = growth.new_nodes(TILE_HEIGHT * level)
                done = (self.size >> TILE_HEIGHT * level) - first
                if not self._extend(level, hashes[done:]):
                    break
                level += 1
            self.size = growth.size

    def catch_up(self, size: int) -> None:
        """Take in what another process appended, up to ``size`` entries."""
        with self._lock:
            self._catch_up(size)

    def _catch_up(self, size: int) -> None:
        range_ = compact_range(self.size, TileNodes(self._read_edge, self.size))
        while self.size < size:
            end = min(size, self.size + 4096)
            leaves = [leaf_hash(s) for s in self._log.statements(self.size, end)]
            if not leaves:
                raise StoreCorrupt(f"the log ends at {self.size}, not at {size}")
            growth = grow(range_, leaves)
            range_ = growth.frontier
            self.grow(growth)

    def _extend(self, level: int, hashes: list[bytes]) -> bool:
        """Append to the edge; say whether a tile was completed."""
        if level == len(self._edge):
            self._edge.append(bytearray())
        edge = self._edge[level]
        edge += b"".join(hashes)
        index = (self.size >> TILE_HEIGHT * level) // TILE_WIDTH
        completed = False
        while len(edge) >= FULL:
            self._wait((level, index), bytes(edge[:FULL]))
            del edge[:FULL]
            index += 1
            completed = True
        return completed

    def _wait(self, name: Name, tile: bytes) -> None:
        """Let a tile wait for the next ``flush``."""
        with self._lock:
            if self._unwritten.get(name) is None:
                held = self._held < HELD
                self._unwritten[name] = tile if held else None
                self._held += held

    def _forget(self) -> None:
        """Let nothing wait: the tree is loaded anew."""
        self._unwritten.clear()
        self._held = 0

    def flush(self) -> int:
        """Write completed tiles durably; return how many.

        Called before a checkpoint is published, so that everything it promises
        can be read by path; never on the way of a receipt. A crash, or an error,
        leaves a tile without one above it, never the other way round.

        Raises:
            BlobsDown: the blobs are out of reach; the tiles go on waiting.
        """
        if self._unsure:
            self._look()
        with self._lock:
            waiting = sorted(self._unwritten)
        for _, level in groupby(waiting, key=itemgetter(0)):
            names = list(level)
            for at in range(0, len(names), PART):
                self._write(names[at : at + PART])
        return len(waiting)

    def _write(self, names: list[Name]) -> None:
        with self._lock:
            found = {name: self._unwritten.get(name) for name in names}
        tiles = {name: tile or self._sound(*name)[0] for name, tile in found.items()}
        write_sound(
            self._blobs, [(tile_path(*name), tile) for name, tile in tiles.items()]
        )
        with self._lock:
            for name, tile in tiles.items():
                self._held -= self._unwritten.pop(name, None) is not None
                self._keep(name, tile)

    def _look(self) -> None:
        """Find out which tiles are unwritten, after a start that could not."""
        size, level = self._unsure, 1
        while size >> TILE_HEIGHT * level:
            begin = (size >> TILE_HEIGHT * level) // TILE_WIDTH * TILE_WIDTH
            end = size >> TILE_HEIGHT * level
            self._made_if_missing(level - 1, range(begin, end))
            level += 1
        self._unsure = 0

    def read(self, level: int, index: int, width: int = TILE_WIDTH) -> bytes:
        """Return the first ``width`` hashes of a tile, checked up to the edge.

        Raises:
            NotFound: the tree has no such tile yet.
            StoreCorrupt: the tile is damaged and cannot be made again.
            BlobsDown: it cannot be made again, and its blob is out of reach.
        """
        name = (level, index)
        with self._lock:
            have = tile_width(level, index, self.size)
            if have < width:
                raise NotFound("the log has no such tile yet")
            if have < TILE_WIDTH:
                return bytes(self._edge[level][: width * HASH_SIZE])
            found = self._unwritten.get(name) or self._kept.get(name)
            if found is not None:
                if name in self._kept:
                    self._kept.move_to_end(name)
                return found[: width * HASH_SIZE]
        tile, damaged = self._sound(level, index)
        with self._lock:
            self._keep(name, tile)
            waits = name in self._unwritten
        if damaged and not waits:
            self._mend(name, tile)
        return tile[: width * HASH_SIZE]

    def mend(self, level: int, index: int) -> bool:
        """Compare a full tile's blob with the tree; say whether it was replaced.

        For who found it damaged, or serves the bucket itself: a tile that is made
        from the entries, or is in memory, is read without a look at its blob.

        Raises:
            StoreCorrupt, BlobsDown: as ``read``.
        """
        tile = self.read(level, index)
        name = tile_path(level, index)
        if self._blobs.get(name) == tile:
            return False
        self._blobs.replace([(name, tile)])
        return True

    def _mend(self, name: Name, tile: bytes) -> None:
        try:
            self._blobs.replace([(tile_path(*name), tile)])
        except (BlobsDown, OSError):
            # It is right, so it is handed on; the next flush tells of the error.
            self._wait(name, tile)

    def nodes(self, size: int) -> TileNodes:
        """Return the nodes of the tree as it was at ``size``, for proofs."""
        if size > self.size:
            raise BadProof(f"the log has {self.size} entries, not {size}")
        return TileNodes(self.read, size)

    def _keep(self, name: Name, tile: bytes) -> None:
        self._kept[name] = tile
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)

    def _sound(self, level: int, index: int) -> tuple[bytes, bool]:
        """Return a tile that fits the one above it, and whether its blob does not."""
        parent = self.read(level + 1, index // TILE_WIDTH, index % TILE_WIDTH + 1)
        expected = parent[-HASH_SIZE:]
        make = self._make
        sources: list[Callable[[int, int], bytes | None]] = [
            make.blob,
            make.from_blobs,
            make.from_entries,
        ]
        if self._blobs.far and level == 0:
            sources = [make.from_entries, make.blob]  # a read beats a round trip
        unreachable, damaged = None, False
        for source in sources:
            try:
                tile = source(level, index)
            except BlobsDown as error:
                unreachable = error
                continue
            if tile is not None and tile_root(tile) == expected:
                return tile, damaged
            damaged |= source == make.blob
        raise unreachable or StoreCorrupt(
            f"tile {level}/{index} and its entries are damaged"
        )

    def _made_if_missing(self, level: int, indexes: range) -> list[bytes]:
        tiles = []
        found = self._make.blobs(level, indexes)
        for index, blob in zip(indexes, found, strict=True):
            tile = blob or self._make.join(level, index, self._made_if_missing)
            if blob is None:
                self._wait((level, index), tile)
            tiles.append(tile)
        return tiles

    def _made_if_wrong(self, level: int, indexes: range) -> list[bytes]:
        tiles = self._make.all_from_entries(level, indexes)
        found = self._make.blobs(level, indexes)
        for index, tile, blob in zip(indexes, tiles, found, strict=True):
            if tile != blob:
                self._wait((level, index), tile)
        return tiles

    def _read_edge(self, level: int, index: int, width: int) -> bytes:
        """Read without the check against the level above, which it would use."""
        if tile_width(level, index, self.size) < TILE_WIDTH:
            return bytes(self._edge[level][: width * HASH_SIZE])
        return self.read(level, index, width)
