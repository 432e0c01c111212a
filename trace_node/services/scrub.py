"""Scrub a center's disk: hash every byte again and say what changed at rest.

    audit   for outsiders: who holds the policy learns whether the log is sound,
            every signature included. Believes nothing, repairs nothing.
    scrub   for the operator: finds what a disk has damaged, also in what no
            outsider sees (indexes, keys, settings), at a rate that a running
            center does not feel. Leaves out signatures of entries, whose bytes
            the tree covers. ``services.repair`` mends what it finds.

Both walk over the entries, heads, tiles and records by the same code
(``services.audit``). Works beside a running center.
"""

import time
from dataclasses import dataclass
from pathlib import Path

from trace_node.errors import Misuse, StoreCorrupt, TraceNodeError
from trace_node.services.audit import STRETCH, Pace, Progress, audit_center
from trace_node.services.audit_pool import Pool, cores, result
from trace_node.services.audit_worker import Job
from trace_node.services.own_keys import USES
from trace_node.store import keys
from trace_node.store.blobs import BlobStore
from trace_node.store.heads import read_slots
from trace_node.store.migrate import fresh_schema
from trace_node.store.place import Place, read_record
from trace_node.store.scan import Scan
from trace_node.trust.governance import Governance
from trace_node.trust.statement import decode_statement
from trace_node.trust.vkey import VerifierKey
from trace_node.verify.report import AuditReport

LOOKS = 5  # at the head files before a slot is called torn
ROW = 50  # bytes of a row of the index, about


@dataclass(frozen=True, slots=True)
class Subject:
    """The center that is scrubbed.

    Args:
        place: where its bytes are.
        origin: of its log, by the policy.
        vkey: of its log, by the policy.
        name: by its settings; None when these cannot be read.
        passphrase: by its settings or environment, if any.
    """

    place: Place
    origin: str
    vkey: VerifierKey
    name: str | None = None
    passphrase: str | None = None

    @property
    def folder(self) -> Path:
        """The center's folder."""
        return self.place.folder


def scrub_center(
    subject: Subject,
    *,
    workers: int | None = None,
    progress: Progress = lambda done, total: None,  # noqa: ARG005 - names for callers
    pace: Pace | None = None,
) -> AuditReport:
    """Scrub a center; what changed at rest is in the report.

    Args:
        subject: the center.
        workers: processes; one a core if not given, this one only with a pace.
        progress: told (done, total) entries and records now and then.
        pace: told how many bytes were read; waits as long as it likes.

    Raises:
        Misuse: there is no center.
        StoreCorrupt: the database cannot be read at all.
        BlobsDown: the blobs are on S3, and it does not answer.
    """
    report = audit_center(
        subject.place,
        subject.origin,
        subject.vkey,
        workers=workers,
        progress=progress,
        signatures=False,
        pace=pace,
    )
    scan, blobs = subject.place.scan(), subject.place.open_blobs(subject.origin)
    try:
        _database(subject.place, scan, "center", report)
        state = _state(subject, scan, blobs, report.size)
    finally:
        scan.close()
        blobs.close()
    _slots(subject, report)
    _names(subject, state, report)
    _keys(subject, state, report)
    _index(subject, report, workers, pace)
    return report


def _database(place: Place, scan: Scan, branch: str, report: AuditReport) -> None:
    name = f"{branch}.db"
    if place.server is not None:
        report.notes.append(f"{branch}: the server checks its own pages")
        return
    try:
        for message in scan.integrity():
            report.findings.add("database", name, message)
        (version, there), (newest, fresh) = scan.schema(branch), fresh_schema(branch)
        if version != newest:
            report.notes.append(f"{name} is of version {version}, not {newest}")
        elif there != fresh:
            wrong = sorted({part[1] for part in there ^ fresh})
            message = f"not the schema of version {newest}: {', '.join(wrong)}"
            report.findings.add("database", name, message)
    except StoreCorrupt as error:
        report.findings.error("database", name, error)


def _state(subject: Subject, scan: Scan, blobs: BlobStore, size: int) -> Governance:
    """Return what the governance entries say, as far as they can be read."""
    state = Governance(subject.origin)
    for index, raw in scan.governance(size):
        try:
            statement = decode_statement(raw)
            data = read_record(scan, blobs, statement.payload)
            state.apply(index, statement, data)
        except TraceNodeError:
            break  # the audit has named it
    return state


def _slots(subject: Subject, report: AuditReport) -> None:
    for _ in range(LOOKS):  # a slot that is being written is not torn for long
        if None not in read_slots(subject.folder, subject.vkey):
            return
        time.sleep(0.01)
    message = "a slot proves nothing: a crash or a flipped bit; a commit renews it"
    report.findings.add("kept-head", "head", message)


def _names(subject: Subject, state: Governance, report: AuditReport) -> None:
    if subject.name is None:
        report.findings.add("settings", "node.toml", "the settings cannot be read")
    elif state.name and subject.name != state.name:
        message = f"the log calls the center {state.name!r}, the settings do not"
        report.findings.add("settings", "node.toml", message)


def _keys(subject: Subject, state: Governance, report: AuditReport) -> None:
    """Open every key file and compare it with the key that the log names."""
    place = subject.folder / "keys"
    try:
        secret = keys.passphrase(place, subject.passphrase)
    except Misuse:
        report.notes.append("the key files were not opened: no passphrase is here")
        return
    for use in USES:
        path = place / f"{use}.pem"
        if use == "root" and not path.exists():
            continue
        report.counts["key files"] += 1
        try:
            public = keys.load_signer(path, secret).public
        except Misuse as error:
            report.findings.error("key", f"keys/{use}.pem", error)
            continue
        known = state.keys.get(public.thumbprint)
        if use == "log":
            good = public.x == subject.vkey.public
        else:
            good = known is not None and known.use == use
        if state.keys and not good:
            message = f"not the {use} key that the log names"
            report.findings.add("key", f"keys/{use}.pem", message)


def _index(
    subject: Subject, report: AuditReport, workers: int | None, pace: Pace | None
) -> None:
    """Compare the index; what is missing is looked for twice.

    Content that comes after its entry is in the log a moment before it is in the
    index, so what a running center adds in between is there the second time.
    """
    try:
        end = _read_until(subject.place, report)
    except StoreCorrupt as error:
        report.findings.error("index", "index.db", error)
        return
    if end is None:
        report.notes.append("there is no index.db: the next start makes it")
        return
    job = Job(subject.place, subject.origin, "", {}, signatures=False)
    small = end <= STRETCH or pace is not None
    pool = Pool(job, 1 if small else workers or cores())
    spans = [(at, min(end, at + STRETCH)) for at in range(0, end, STRETCH)]
    parts = (pool.submit("indexed", *span) for span in spans)
    try:
        for span, part in zip(spans, parts if small else list(parts), strict=True):
            rows, missing = result(part)
            if missing:
                rows, missing = result(pool.submit("indexed", *span))
            report.counts["index rows"] += rows
            report.findings.merge(missing)
            if pace:
                pace(rows * ROW)
    finally:
        pool.close()


def _read_until(place: Place, report: AuditReport) -> int | None:
    """Check the index as such; return how far it has read the log, None without."""
    index = place.index()
    if index is None:
        return None
    try:
        _database(place, index, "index", report)
        cursor = index.cursor()
    finally:
        index.close()
    scan = place.scan()
    try:
        size = scan.ends().size  # asked last: a running center only grows
    finally:
        scan.close()
    if cursor > size:
        message = f"it has read {cursor} entries, the log has {size}"
        report.findings.add("index", "index.db", message)
    return min(cursor, size)
