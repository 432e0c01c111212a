"""Make the files of full hash tiles from entries: after a restore, in a repair."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from trace_node.ledger.tiles import TILE_WIDTH, tile_path, tile_root
from trace_node.store.files import write_files
from trace_node.trust.merkle import HASH_SIZE, leaf_hash

BATCH = 64  # tiles whose folders are synced together
FULL = TILE_WIDTH * HASH_SIZE


def write_tiles(folder: Path, entries: Iterable[bytes]) -> int:
    """Write every full tile of the log whose file is not the right one.

    Args:
        folder: the center's; tiles lie below it under their C2SP paths.
        entries: the bytes of all entries, in order; known to lead to the head.

    Returns:
        How many files were written.
    """
    written, level, hashes = 0, 0, _leaves(entries)
    while True:
        roots = bytearray()
        waiting: list[tuple[Path, bytes]] = []
        for index, tile in enumerate(_full(hashes)):
            roots += tile_root(tile)
            path = folder / tile_path(level, index)
            if not path.is_file() or path.read_bytes() != tile:
                waiting.append((path, tile))
                written += 1
            if len(waiting) == BATCH:
                write_files(waiting)
                waiting = []
        write_files(waiting)
        if not roots:
            return written
        level, hashes = level + 1, iter([bytes(roots)])


def _leaves(entries: Iterable[bytes]) -> Iterator[bytes]:
    return (leaf_hash(entry) for entry in entries)


def _full(hashes: Iterable[bytes]) -> Iterator[bytes]:
    """Yield full tiles from joined hashes that come in pieces."""
    edge = bytearray()
    for piece in hashes:
        edge += piece
        at = 0
        while len(edge) - at >= FULL:
            yield bytes(edge[at : at + FULL])
            at += FULL
        if at:
            del edge[:at]
