"""Hash tiles: full ones as files, the growing right edge in memory.

Tiles are made from entries that are already durable, so nothing here can be
lost: what a crash leaves unwritten is made again from the database, and so is a
tile whose file was damaged. A full tile is never handed on before its root was
compared with the hash one level up, which ends at the edge: memory that was
checked against the signed head at the start.
"""

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from threading import RLock

from trace_node.errors import BadProof, NotFound, StoreCorrupt
from trace_node.ledger.merkle import CompactRange, Growth, compact_range, grow
from trace_node.ledger.tiles import (
    TILE_HEIGHT,
    TILE_WIDTH,
    TileNodes,
    tile_path,
    tile_root,
    tile_width,
)
from trace_node.store.files import write_files
from trace_node.store.log import SqlLog
from trace_node.trust.merkle import HASH_SIZE, leaf_hash

FULL = TILE_WIDTH * HASH_SIZE
KEPT = 1024  # full tiles kept in memory: 8 MiB


class TileStore:
    """Tiles of one log; safe to use from several threads."""

    def __init__(self, folder: Path, log: SqlLog) -> None:
        self._folder = folder
        self._log = log
        self._lock = RLock()
        self._edge: list[bytearray] = [bytearray()]
        self._unwritten: dict[tuple[int, int], bytes] = {}
        self._kept: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self.size = 0

    def load(self, range_: CompactRange) -> None:
        """Make the right edge of the tree that ends at ``range_``.

        Raises:
            StoreCorrupt: entries and head do not belong together.
        """
        with self._lock:
            self.size = 0
            self._unwritten.clear()
            self._kept.clear()
            if not self._try_load(range_, self._made_if_missing):
                # A file is damaged, or the entries are: the entries alone decide.
                self._unwritten.clear()
                if not self._try_load(range_, self._made_if_wrong):
                    self._unwritten.clear()
                    raise StoreCorrupt("the entries do not lead to the signed head")

    def _try_load(
        self, range_: CompactRange, tile: Callable[[int, int], bytes]
    ) -> bool:
        """Make the edge from the tiles below it; say whether it leads to the head."""
        self.size = 0
        size, edge, level = range_.size, [], 0
        while level == 0 or size >> TILE_HEIGHT * level:
            edge.append(self._load_edge(level, size, tile))
            level += 1
        self._edge, self.size = edge, size
        return compact_range(size, TileNodes(self._read_edge, size)) == range_

    def _load_edge(
        self, level: int, size: int, tile: Callable[[int, int], bytes]
    ) -> bytearray:
        index = (size >> TILE_HEIGHT * level) // TILE_WIDTH
        width = tile_width(level, index, size)
        begin = index * TILE_WIDTH
        if level == 0:
            return bytearray(self._leaves(begin, begin + width))
        below = (tile(level - 1, begin + k) for k in range(width))
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
            self._unwritten[level, index] = bytes(edge[:FULL])
            del edge[:FULL]
            index += 1
            completed = True
        return completed

    def flush(self) -> int:
        """Write completed tiles durably; return how many.

        Called before a checkpoint is published, so that everything it promises
        can be read by path; never on the way of a receipt.
        """
        with self._lock:
            waiting = dict(self._unwritten)
        write_files(
            (self._folder / tile_path(level, index), tile)
            for (level, index), tile in waiting.items()
        )
        with self._lock:
            for name, tile in waiting.items():
                self._unwritten.pop(name, None)
                self._keep(name, tile)
        return len(waiting)

    def read(self, level: int, index: int, width: int = TILE_WIDTH) -> bytes:
        """Return the first ``width`` hashes of a tile, checked up to the edge.

        Raises:
            NotFound: the tree has no such tile yet.
            StoreCorrupt: the tile is damaged and cannot be made again.
        """
        with self._lock:
            have = tile_width(level, index, self.size)
            if have < width:
                raise NotFound("the log has no such tile yet")
            if have < TILE_WIDTH:
                return bytes(self._edge[level][: width * HASH_SIZE])
            found = self._unwritten.get((level, index)) or self._kept.get(
                (level, index)
            )
            if found is not None:
                if (level, index) in self._kept:
                    self._kept.move_to_end((level, index))
                return found[: width * HASH_SIZE]
        tile = self._checked(level, index)
        with self._lock:
            self._keep((level, index), tile)
        return tile[: width * HASH_SIZE]

    def nodes(self, size: int) -> TileNodes:
        """Return the nodes of the tree as it was at ``size``, for proofs."""
        if size > self.size:
            raise BadProof(f"the log has {self.size} entries, not {size}")
        return TileNodes(self.read, size)

    def _keep(self, name: tuple[int, int], tile: bytes) -> None:
        self._kept[name] = tile
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)

    def _checked(self, level: int, index: int) -> bytes:
        parent = self.read(level + 1, index // TILE_WIDTH, index % TILE_WIDTH + 1)
        expected = parent[-HASH_SIZE:]
        for source in (self._file, self._made_from_files, self._made):
            tile = source(level, index)
            if tile is not None and tile_root(tile) == expected:
                if source != self._file:
                    write_files([(self._folder / tile_path(level, index), tile)])
                return tile
        raise StoreCorrupt(f"tile {level}/{index} and its entries are damaged")

    def _file(self, level: int, index: int) -> bytes | None:
        """Return what the tile's file holds, unchecked; None if it is not whole."""
        try:
            tile = (self._folder / tile_path(level, index)).read_bytes()
        except FileNotFoundError:
            return None
        return tile if len(tile) == FULL else None

    def _made_if_missing(self, level: int, index: int) -> bytes:
        tile = self._file(level, index)
        if tile is None:
            below = range(index * TILE_WIDTH, (index + 1) * TILE_WIDTH)
            tile = (
                b"".join(tile_root(self._made_if_missing(level - 1, k)) for k in below)
                if level
                else self._made(level, index)
            )
            self._unwritten[level, index] = tile
        return tile

    def _made_if_wrong(self, level: int, index: int) -> bytes:
        tile = self._made(level, index)
        if tile != self._file(level, index):
            self._unwritten[level, index] = tile
        return tile

    def _made_from_files(self, level: int, index: int) -> bytes:
        """Make a tile, trusting the files below it where they are whole."""
        if level == 0:
            return self._made(level, index)
        below = range(index * TILE_WIDTH, (index + 1) * TILE_WIDTH)
        return b"".join(
            tile_root(self._file(level - 1, k) or self._made_from_files(level - 1, k))
            for k in below
        )

    def _made(self, level: int, index: int) -> bytes:
        """Make a tile from the entries alone."""
        begin = index * TILE_WIDTH
        if level == 0:
            return self._leaves(begin, begin + TILE_WIDTH)
        below = range(begin, begin + TILE_WIDTH)
        return b"".join(tile_root(self._made(level - 1, k)) for k in below)

    def _leaves(self, begin: int, end: int) -> bytes:
        found = self._log.statements(begin, end)
        if len(found) != end - begin:
            raise StoreCorrupt(f"entries {begin} to {end} are not all there")
        return b"".join(leaf_hash(statement) for statement in found)

    def _read_edge(self, level: int, index: int, width: int) -> bytes:
        """Read without the check against the level above, which it would use."""
        if tile_width(level, index, self.size) < TILE_WIDTH:
            return bytes(self._edge[level][: width * HASH_SIZE])
        return self.read(level, index, width)
