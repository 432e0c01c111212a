"""A stretch of entries as one process of an audit saw it, and how it is filled."""

from collections import Counter
from dataclasses import dataclass, field
from hashlib import sha256

from trace_node.ledger.tiles import tile_path
from trace_node.store.blobs import BlobStore
from trace_node.trust.merkle import leaf_hash
from trace_node.trust.statement import Statement
from trace_node.verify.report import Findings

RECORD, MANIFEST, TICK, GOVERNANCE = range(4)  # the values of the column `kind`


@dataclass(slots=True)
class Stretch:
    """What a process found in the entries [begin, end).

    ``leaves`` and ``identities`` are 32 bytes an entry, ``tiles`` the roots of
    the full hash tiles. ``lead`` is the record time of the entries before the
    first tick, ``ticks`` the first and the last time told; None where there is none.
    ``read`` counts bytes.
    """

    begin: int
    leaves: bytearray = field(default_factory=bytearray)
    identities: bytearray = field(default_factory=bytearray)
    tiles: bytearray = field(default_factory=bytearray)
    governance: list[int] = field(default_factory=list)
    lead: int | None = None
    ticks: tuple[int, int] | None = None
    read: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    findings: Findings = field(default_factory=Findings)


def kind_of(statement: Statement) -> int:
    """Return what the bytes say about the kind of an entry."""
    if statement.is_content:
        return MANIFEST if statement.is_manifest else RECORD
    return TICK if statement.is_tick else GOVERNANCE


def gap(found: Stretch, index: int) -> None:
    """Take in an entry that is not there; a hash of nothing keeps the places."""
    found.findings.add("entry", f"entry {index}", "the entry is missing")
    found.leaves += leaf_hash(b"")
    found.identities += sha256(index.to_bytes(8)).digest()


def clock(found: Stretch, index: int, seconds: int) -> None:
    """Take in what a tick, or entry 0, tells."""
    if found.ticks is None:
        found.ticks = (seconds, seconds)
        return
    if seconds <= found.ticks[1]:
        found.findings.add("tick", f"entry {index}", "time goes back")
    found.ticks = (found.ticks[0], seconds)


def dated(found: Stretch, index: int, recorded: int) -> None:
    """Compare the column with the last tick, or among entries before the first."""
    if found.ticks is None and found.lead is None:
        found.lead = recorded
    told = found.lead if found.ticks is None else found.ticks[1]
    if recorded != told:
        message = f"the column says {recorded}, the last tick {told}"
        found.findings.add("recorded", f"entry {index}", message)


def compare_tiles(
    blobs: BlobStore, level: int, first: int, tiles: list[bytes], found: Stretch
) -> None:
    """Compare full tiles from index ``first`` with their blobs, where written.

    Raises:
        BlobsDown: nobody can say what the blobs hold.
    """
    names = [tile_path(level, index) for index in range(first, first + len(tiles))]
    for name, tile, data in zip(names, tiles, blobs.get_all(names), strict=True):
        if data is None:
            found.counts["tiles not written"] += 1
            continue
        found.counts["tiles"] += 1
        found.read += len(data)
        if data != tile:
            found.findings.add("tile", name, "the file is not what the entries make")
