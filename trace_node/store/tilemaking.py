"""Where a full hash tile can come from: its blob, the blobs below it, the entries."""

from collections.abc import Callable

from trace_node.errors import StoreCorrupt
from trace_node.ledger.tiles import TILE_WIDTH, tile_path, tile_root
from trace_node.store.blobs import BlobStore
from trace_node.store.log import SqlLog
from trace_node.trust.merkle import HASH_SIZE, leaf_hash

FULL = TILE_WIDTH * HASH_SIZE

Tiles = Callable[[int, range], list[bytes]]  # level, indexes → full tiles


class TileMaker:
    """Reads and makes full tiles of one log; checks nothing but their length."""

    def __init__(self, blobs: BlobStore, log: SqlLog) -> None:
        self._blobs = blobs
        self._log = log

    def blob(self, level: int, index: int) -> bytes | None:
        """Return what the tile's blob holds; None if it is not whole."""
        return _whole(self._blobs.get(tile_path(level, index)))

    def blobs(self, level: int, indexes: range) -> list[bytes | None]:
        """Return what ``blob`` returns for each index."""
        found = self._blobs.get_all([tile_path(level, index) for index in indexes])
        return [_whole(tile) for tile in found]

    def from_blobs(self, level: int, index: int) -> bytes:
        """Make a tile, trusting the blobs below it where they are whole."""
        return self.join(level, index, self._blobs_or_made)

    def _blobs_or_made(self, level: int, indexes: range) -> list[bytes]:
        found = self.blobs(level, indexes)
        return [
            tile or self.from_blobs(level, index)
            for index, tile in zip(indexes, found, strict=True)
        ]

    def from_entries(self, level: int, index: int) -> bytes:
        """Make a tile from the entries alone."""
        return self.join(level, index, self.all_from_entries)

    def all_from_entries(self, level: int, indexes: range) -> list[bytes]:
        """Make tiles from the entries alone."""
        return [self.from_entries(level, index) for index in indexes]

    def join(self, level: int, index: int, tiles: Tiles) -> bytes:
        """Make a tile from its entries at level 0, above from the ``tiles`` below."""
        begin = index * TILE_WIDTH
        if level == 0:
            return self.leaves(begin, begin + TILE_WIDTH)
        below = tiles(level - 1, range(begin, begin + TILE_WIDTH))
        return b"".join(map(tile_root, below))

    def leaves(self, begin: int, end: int) -> bytes:
        """Return the leaf hashes of the entries [begin, end), joined.

        Raises:
            StoreCorrupt: they are not all there.
        """
        found = self._log.statements(begin, end)
        if len(found) != end - begin:
            raise StoreCorrupt(f"entries {begin} to {end} are not all there")
        return b"".join(leaf_hash(statement) for statement in found)


def _whole(tile: bytes | None) -> bytes | None:
    return tile if tile is not None and len(tile) == FULL else None
