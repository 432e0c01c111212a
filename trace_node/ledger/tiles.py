"""The log as static files (C2SP tlog-tiles): paths, tile contents, nodes.

A tile holds up to 256 consecutive hashes of one tile level (8 tree levels).
Level 0 holds leaf hashes; each hash above is the root of a full tile below.
An entry bundle holds the entries beside the level-0 tile of the same index.

    tile/0/x001/x234/067        full, 256 hashes, 8,192 bytes
    tile/0/273.p/112            partial, the first 112 hashes
    tile/entries/273.p/112      the entries they are made of

Tiles are authenticated by nothing here: a proof made from them leads to the
signed root or it does not.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from trace_node.errors import BadProof, LimitExceeded, Malformed
from trace_node.ledger.merkle import parents
from trace_node.trust.merkle import HASH_SIZE

TILE_WIDTH: Final = 256  # hashes or entries in a full tile
TILE_HEIGHT: Final = 8  # tree levels in a tile
MAX_LEVEL: Final = 63
MAX_ENTRY: Final = 0xFFFF  # bytes
_MAX_INDEX: Final = (1 << 63) - 1
_CACHED_TILES: Final = 64  # 1 MiB: any one proof touches fewer
_PATH = re.compile(
    r"tile/(entries|[0-9]|[1-5][0-9]|6[0-3])"
    r"/((?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?",
    re.ASCII,
)


def _index_path(index: int) -> str:
    """Return ``index`` as zero-padded groups of three, all but the last with x."""
    path = f"{index % 1000:03}"
    while index := index // 1000:
        path = f"x{index % 1000:03}/{path}"
    return path


def tile_path(level: int | None, index: int, width: int = TILE_WIDTH) -> str:
    """Return where a tile lies; ``None`` as level means the entry bundle.

    Raises:
        Malformed: no such level, index or width.
    """
    if level is not None and not 0 <= level <= MAX_LEVEL:
        raise Malformed(f"no tile level {level}")
    if not 0 <= index <= _MAX_INDEX or not 1 <= width <= TILE_WIDTH:
        raise Malformed(f"no tile {index} of width {width}")
    kind = "entries" if level is None else str(level)
    partial = "" if width == TILE_WIDTH else f".p/{width}"
    return f"tile/{kind}/{_index_path(index)}{partial}"


def entries_path(index: int, width: int = TILE_WIDTH) -> str:
    """Return where an entry bundle lies."""
    return tile_path(None, index, width)


def parse_tile_path(text: str) -> tuple[int | None, int, int]:
    """Return (level or ``None`` for entries, index, width) of a path.

    Raises:
        Malformed: not the one spelling of a tile's path.
    """
    found = _PATH.fullmatch(text)
    if not found:
        raise Malformed("not the path of a tile")
    kind, groups, partial = found.groups()
    level = None if kind == "entries" else int(kind)
    index = int(groups.replace("/", "").replace("x", ""))
    width = int(partial) if partial else TILE_WIDTH
    if (partial and width == TILE_WIDTH) or tile_path(level, index, width) != text:
        raise Malformed("not the path of a tile")
    return level, index, width


def tile_width(level: int, index: int, size: int) -> int:
    """Return how many hashes a tile has in a tree of ``size``: 0 (none) to 256."""
    here = (size >> TILE_HEIGHT * level) - index * TILE_WIDTH
    return max(0, min(TILE_WIDTH, here))


def partial_width(level: int, index: int, size: int) -> int:
    """Return the width of a partial tile; 0 when it is full or not there."""
    return tile_width(level, index, size) % TILE_WIDTH


def tiles_for_size(size: int) -> Iterator[tuple[int, int, int]]:
    """Yield (level, index, width) of every hash tile of a tree of ``size``."""
    level = 0
    while hashes := size >> TILE_HEIGHT * level:
        full, rest = divmod(hashes, TILE_WIDTH)
        for index in range(full):
            yield level, index, TILE_WIDTH
        if rest:
            yield level, full, rest
        level += 1


def tile_of_node(level: int, k: int) -> tuple[int, int, int, int]:
    """Return (tile level, tile index, level in tile, k in tile) of a tree node."""
    tile_level, inner = divmod(level, TILE_HEIGHT)
    index, k_inner = divmod(k, TILE_WIDTH >> inner)
    return tile_level, index, inner, k_inner


def _hashes(tile: bytes) -> list[bytes]:
    """Return the hashes of a tile, 1 to 256."""
    if not tile or len(tile) % HASH_SIZE or len(tile) > TILE_WIDTH * HASH_SIZE:
        raise Malformed("a tile is 1 to 256 hashes of 32 bytes")
    return [tile[i : i + HASH_SIZE] for i in range(0, len(tile), HASH_SIZE)]


def node_from_tile(tile: bytes, level_in_tile: int, k_in_tile: int) -> bytes:
    """Return a node (level 0 to 8) of a tile from its hashes.

    Raises:
        Malformed: the bytes are no tile.
        BadProof: the tile does not cover the node.
    """
    hashes = _hashes(tile)
    if not 0 <= level_in_tile <= TILE_HEIGHT:
        raise BadProof(f"no level {level_in_tile} in a tile")
    begin, end = k_in_tile << level_in_tile, (k_in_tile + 1) << level_in_tile
    if not 0 <= begin < end <= len(hashes):
        raise BadProof("the tile does not cover this node")
    level = hashes[begin:end]
    while len(level) > 1:
        level = parents(level)
    return level[0]


def tile_root(tile: bytes) -> bytes:
    """Return the root of a full tile: one hash of the tile level above."""
    return node_from_tile(tile, TILE_HEIGHT, 0)


def encode_entries(entries: Iterable[bytes]) -> bytes:
    """Return an entry bundle: (uint16be length ‖ entry), 1 to 256 times.

    Raises:
        LimitExceeded: an entry is over 65,535 bytes, or there are more than 256.
        Malformed: there is no entry.
    """
    bundle = list(entries)
    if not bundle:
        raise Malformed("an empty bundle is not served")
    if len(bundle) > TILE_WIDTH:
        raise LimitExceeded("a bundle holds at most 256 entries")
    if max(map(len, bundle)) > MAX_ENTRY:
        raise LimitExceeded("an entry has at most 65,535 bytes")
    return b"".join(len(entry).to_bytes(2) + entry for entry in bundle)


def decode_entries(data: bytes) -> list[bytes]:
    """Return the 1 to 256 entries of a bundle.

    Raises:
        Malformed: cut off, or without entries.
        LimitExceeded: more than 256 entries.
    """
    entries: list[bytes] = []
    at = 0
    while at < len(data):
        begin = at + 2
        end = begin + int.from_bytes(data[at:begin])
        if begin > len(data) or end > len(data):
            raise Malformed("the bundle is cut off", where=f"byte {at}")
        if len(entries) == TILE_WIDTH:
            raise LimitExceeded("a bundle holds at most 256 entries")
        entries.append(data[begin:end])
        at = end
    if not entries:
        raise Malformed("an empty bundle is not served")
    return entries


class TileNodes:
    """The nodes of a tree of ``size``, read from its tiles.

    Calling it with (level, k) gives a node, as ``ledger.merkle`` wants them for
    proofs. Keeps the last 64 tiles; one instance serves one request or audit.

    Args:
        read_tile: gives the bytes of tile (level, index, width); the width is
            the one that ``size`` implies, so that only tiles are asked for that
            a checkpoint of this size promises.
        size: number of leaves.
    """

    __slots__ = ("_read", "_tiles", "size")

    def __init__(self, read_tile: Callable[[int, int, int], bytes], size: int) -> None:
        self._read = read_tile
        self._tiles: dict[tuple[int, int], list[list[bytes]]] = {}
        self.size = size

    def __call__(self, level: int, k: int) -> bytes:
        """Return the hash of the perfect subtree [k·2^level, (k+1)·2^level).

        Raises:
            BadProof: the tree does not cover it.
            Malformed: the tile has another width.
        """
        if level < 0 or k < 0 or (k + 1) << level > self.size:
            raise BadProof(f"no node ({level}, {k}) in a tree of {self.size}")
        tile_level, index, inner, k_inner = tile_of_node(level, k)
        levels = self._tiles.get((tile_level, index))
        if levels is None:
            levels = self._load(tile_level, index)
        return levels[inner][k_inner]

    def _load(self, level: int, index: int) -> list[list[bytes]]:
        """Read a tile and hash all its levels at once: 255 hashes, then look-ups."""
        width = tile_width(level, index, self.size)
        hashes = _hashes(self._read(level, index, width))
        if len(hashes) != width:
            path = tile_path(level, index, width)
            raise Malformed(f"the tile has {len(hashes)} hashes", where=path)
        levels = [hashes]
        for _ in range(TILE_HEIGHT - 1):
            levels.append(parents(levels[-1]))
        if len(self._tiles) >= _CACHED_TILES:
            del self._tiles[next(iter(self._tiles))]
        self._tiles[level, index] = levels
        return levels
