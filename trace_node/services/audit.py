"""Audit a center's folder: rebuild the root, re-check every signature and byte.

Nothing that is stored is believed: columns, heads, tiles and vault files are
compared with what the entries' bytes say. Works beside a running center, for a
log only grows: what is there when the audit begins is what it covers.

    this process     governance fold → keys and when they were in force
    one a core       stretches: leaf hashes, signatures, manifests, tiles
    this process     roots of the stretches → compact range, ticks, identities
    one a core       every signed head and its receipt signature; every record
"""

from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

from trace_node.errors import Misuse, NotVerified, TraceNodeError
from trace_node.ledger.checkpoint import Checkpoint
from trace_node.ledger.merkle import CompactRange, Growth, grow
from trace_node.ledger.tiles import TILE_WIDTH, tile_root
from trace_node.services.audit_pool import Pool, cores, result
from trace_node.services.audit_stretch import Stretch, compare_tiles
from trace_node.services.audit_worker import Job
from trace_node.store.blobs import BlobStore
from trace_node.store.heads import head_files, read_heads
from trace_node.store.place import Place, read_record
from trace_node.store.scan import Ends, Scan
from trace_node.trust.merkle import HASH_SIZE
from trace_node.trust.vkey import VerifierKey
from trace_node.verify.identities import Identities
from trace_node.verify.replay import Replay
from trace_node.verify.report import AuditReport, Findings

STRETCH = 4096  # entries that one call checks; a power of two, and whole tiles
PARTS = 64  # ranges of digests that the records are checked in, at least
PART = 256  # records in a range, about
_NO_DIGEST = b"\xff" * (HASH_SIZE + 1)  # greater than any

Progress = Callable[[int, int], None]
Pace = Callable[[int], None]


def audit_center(
    place: Place,
    origin: str,
    vkey: VerifierKey,
    *,
    workers: int | None = None,
    progress: Progress = lambda done, total: None,  # noqa: ARG005 - names for callers
    signatures: bool = True,
    pace: Pace | None = None,
) -> AuditReport:
    """Audit a center; what does not hold is in the report.

    Args:
        place: where its bytes are.
        origin: of its log.
        vkey: the key that its heads must be signed with.
        workers: processes; one a core if not given, this one only if 1.
        progress: told (done, total) entries and records now and then.
        signatures: verify those of content and ticks, too; a scrub does not.
        pace: told how many bytes were read; waits as long as it likes. With it
            the work is done in this process.

    Raises:
        Misuse: there is no center.
        StoreCorrupt: the database cannot be read at all.
        BlobsDown: the blobs are on S3, and it does not answer.
    """
    scan = place.scan()
    store = place.open_blobs(origin)
    try:
        audit = _Audit(place, origin, vkey, scan, store, progress)
        return audit.run(1 if pace else workers, signatures=signatures, pace=pace)
    finally:
        scan.close()
        store.close()


class _Audit:
    """One audit while it runs."""

    def __init__(
        self,
        place: Place,
        origin: str,
        vkey: VerifierKey,
        scan: Scan,
        blobs: BlobStore,
        progress: Progress,
    ) -> None:
        self._place = place
        self._origin = origin
        self._vkey = vkey
        self._scan = scan
        self._blobs = blobs
        self._progress = progress
        self._report = AuditReport(origin)
        self._find = self._report.findings
        self._replay = Replay(origin, self._record)
        self._folded: set[int] = set()
        self._seen: set[int] = set()
        self._tiles = bytearray()  # roots of the full level-0 tiles, joined
        self._range = CompactRange()
        self._clock: int | None = None  # the last tick so far
        self._identities = Identities()
        self._checks: list[Future[Any]] = []  # of heads
        self._pace: Pace = _at_once
        self._ahead = 2 * cores() + 2  # calls that wait for their turn
        self._done = 0

    def run(
        self, workers: int | None, *, signatures: bool, pace: Pace | None
    ) -> AuditReport:
        if pace:
            self._pace, self._ahead = pace, 0
        kept = self._kept()  # before the database: that is never behind it
        ends = self._scan.ends()
        if self._scan.origin() != self._origin:
            self._find.add("origin", "log", "the database is of another log")
        self._report.size = ends.size
        self._total = ends.size + ends.records
        self._fold(ends.size)
        state = self._replay.state
        job = Job(self._place, self._origin, state.operator, state.keys, signatures)
        small = ends.size + ends.records <= STRETCH
        pool = Pool(job, workers or (1 if small else cores()))
        try:
            self._entries(pool, ends.size)
            self._records(pool, ends.records)
            for check in self._checks:
                self._find.merge(result(check))
        finally:
            pool.close()
        self._upper_tiles()
        self._compare(ends, kept)
        return self._report

    def _kept(self) -> Checkpoint | None:
        """Return the head kept outside the database."""
        try:
            if not head_files(self._place.folder):
                self._find.add("kept-head", "head", "the file is gone")
                return None
            return read_heads(self._place.folder, self._vkey)
        except TraceNodeError as error:
            self._find.error("kept-head", "head", error)
            return None
        except OSError as error:
            raise Misuse(f"cannot read the head files: {error.strerror}") from None

    def _fold(self, size: int) -> None:
        """Replay what the column calls governance; the workers check the column."""
        for index, raw in self._scan.governance(size):
            self._folded.add(index)
            try:
                self._replay.feed(index, raw)
            except TraceNodeError as error:
                self._find.error("governance", f"entry {index}", error)
        state = self._replay.state
        if state.vkey != str(self._vkey):
            self._find.add("key", "entry 0", "it names another log key than the policy")
        self._report.counts["governance"] = len(self._folded)
        self._report.counts["keys"] = len(state.keys)
        self._report.counts["parties"] = len(state.parties)

    def _record(self, digest: bytes) -> bytes | None:
        return read_record(self._scan, self._blobs, digest)

    def _entries(self, pool: Pool, size: int) -> None:
        """Check all entries; results come in order, a few stretches ahead."""
        waiting: deque[Future[Any]] = deque()
        begins = range(0, size, STRETCH)
        for begin in begins:
            waiting.append(pool.submit("entries", begin, min(size, begin + STRETCH)))
            if len(waiting) > self._ahead:
                self._take(pool, result(waiting.popleft()))
        while waiting:
            self._take(pool, result(waiting.popleft()))
        for index in sorted(self._seen ^ self._folded):
            message = "governance by its column or by its bytes alone"
            self._find.add("kind", f"entry {index}", message)
        for identity in self._identities.repeated():
            place = f"identity {identity.hex()}…"
            self._find.add("identity", place, "the statement is there twice")

    def _take(self, pool: Pool, found: Stretch) -> None:
        """Put a stretch behind those before it."""
        leaves = bytes(found.leaves)
        self._checks.append(
            pool.submit("heads", found.begin, self._range.nodes, leaves)
        )
        self._range = _grown(self._range, found, leaves)
        self._tiles += found.tiles
        self._seen.update(found.governance)
        self._time(found)
        self._identities.add(found.identities)
        self._report.counts.update(found.counts)
        self._find.merge(found.findings)
        self._advance(len(leaves) // HASH_SIZE, "entries")
        self._pace(found.read)

    def _time(self, found: Stretch) -> None:
        """Check that record times go on across stretches, and ticks rise."""
        if found.lead is not None and found.begin and found.lead != self._clock:
            message = f"the column says {found.lead}, the last tick {self._clock}"
            self._find.add("recorded", f"entry {found.begin}", message)
        if found.ticks is None:
            return
        if self._clock is not None and found.ticks[0] <= self._clock:
            self._find.add("tick", f"entries from {found.begin}", "time goes back")
        self._clock = found.ticks[1]

    def _records(self, pool: Pool, records: int) -> None:
        waiting: deque[Future[Any]] = deque()
        for low, high in spans(records):
            waiting.append(pool.submit("records", low, high))
            if len(waiting) > self._ahead:
                self._took(*result(waiting.popleft()))
        while waiting:
            self._took(*result(waiting.popleft()))

    def _took(self, counts: Counter[str], findings: Findings, read: int) -> None:
        self._report.counts.update(counts)
        self._find.merge(findings)
        self._advance(counts["records"])
        self._pace(read)

    def _advance(self, count: int, kind: str = "") -> None:
        if kind:
            self._report.counts[kind] += count
        self._done += count
        self._progress(min(self._done, self._total), self._total)

    def _upper_tiles(self) -> None:
        """Compare the tiles above level 0 with their blobs."""
        found = Stretch(0)
        level, hashes = 1, bytes(self._tiles)
        width = TILE_WIDTH * HASH_SIZE
        while len(hashes) >= width:
            ends = range(0, len(hashes) // width * width, width)
            tiles = [hashes[at : at + width] for at in ends]
            compare_tiles(self._blobs, level, 0, tiles, found)
            level, hashes = level + 1, b"".join(map(tile_root, tiles))
        self._report.counts.update(found.counts)
        self._find.merge(found.findings)

    def _compare(self, ends: Ends, kept: Checkpoint | None) -> None:
        """Compare the end of the log with every place that speaks of it."""
        report, find = self._report, self._find
        report.root = self._range.root()
        report.counts["heads"] = ends.heads
        if ends.frontier != b"".join(self._range.nodes):
            find.add("root", "log_head", "the entries do not lead to the head row")
        if ends.last >= ends.size:
            message = f"entries up to {ends.last} stand behind the head"
            find.add("entry", f"entry {ends.size}", message)
        if ends.heads != ends.epoch or ends.top != ends.size:
            message = f"{ends.heads} heads up to {ends.top} after {ends.epoch} commits"
            find.add("head", "heads", message)
        if kept is None:
            return
        try:
            if kept.size > ends.size:
                raise NotVerified(f"a head of {kept.size} was signed, entries are gone")
            if self._scan.root_at(kept.size) != kept.root:
                raise NotVerified("a signed head has another root than the database")
        except TraceNodeError as error:
            find.error("kept-head", f"head of {kept.size}", error)


def _at_once(_read: int) -> None:
    """Wait for nothing."""


def spans(records: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield ranges of digests of about ``PART`` records; together they are all."""
    parts = min(max(PARTS, records // PART), 1 << 16)
    marks = [(at * (1 << 16) // parts).to_bytes(2) for at in range(1, parts)]
    yield from zip([b"", *marks], [*marks, _NO_DIGEST], strict=True)


def _grown(range_: CompactRange, found: Stretch, leaves: bytes) -> CompactRange:
    """Return the compact range after a stretch.

    Full tiles are perfect subtrees, so the range over them has the same nodes as
    the range over their leaves; only the leaves behind the last one are appended.
    """
    tiles = _split(found.tiles)
    upper = grow(CompactRange(range_.size // TILE_WIDTH, range_.nodes), tiles)
    size = range_.size + len(tiles) * TILE_WIDTH
    whole = CompactRange(size, upper.frontier.nodes)
    rest: Growth = grow(whole, _split(leaves[len(tiles) * TILE_WIDTH * HASH_SIZE :]))
    return rest.frontier


def _split(joined: bytes | bytearray) -> list[bytes]:
    return [
        bytes(joined[at : at + HASH_SIZE]) for at in range(0, len(joined), HASH_SIZE)
    ]
