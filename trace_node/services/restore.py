"""Restore a center from a backup: checked whole, then put in place, then held.

    1. the manifest and the digest of every file
    2. the whole log, by an audit of the backup as it lies
    3. never over a center: the database must be gone; what else survived stays
    4. the hold (``services.held``) before anything else, the database last and
       in one step: a crash leaves no center, or one that does not sign

A head that survived its database, or that somebody brings, is kept when it is
larger than the backup's: then the log was longer than the backup, entries are
lost, and no statement of the operator makes the center sign over them.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from trace_node.errors import Conflict, Misuse, StoreCorrupt
from trace_node.ledger.checkpoint import Checkpoint, open_checkpoint
from trace_node.services.audit import STRETCH, audit_center
from trace_node.services.backup_files import (
    Manifest,
    check_files,
    digest_of,
    read_manifest,
)
from trace_node.services.held import HOLD, hold, is_held, release
from trace_node.services.retile import write_tiles
from trace_node.store.engine import place_of, sqlite_driver
from trace_node.store.files import make_folder, sync_folder, write_file
from trace_node.store.heads import HeadFile, read_heads
from trace_node.store.scan import Scan
from trace_node.trust.policy import parse_policy
from trace_node.trust.vkey import VerifierKey
from trace_node.verify.report import AuditReport

Progress = Callable[[str, int, int], None]
Put = Callable[[Path], None]  # puts a checked copy of the database where it belongs
DATABASE = "center.db"
_BESIDE = ("center.db", "center.db-wal", "center.db-shm", "center.db-journal")
_INDEX = ("index.db", "index.db-wal", "index.db-shm")


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore found and did.

    ``kept`` is the size of the largest head known; ``notes`` are for a person.
    """

    manifest: Manifest
    report: AuditReport
    kept: int
    tiles: int
    notes: tuple[str, ...]


def restore(
    folder: Path,
    backup: Path,
    now: str,
    *,
    put: Put | None = None,
    progress: Progress = lambda what, done, total: None,  # noqa: ARG005 - names
    workers: int | None = None,
) -> Restored:
    """Restore the center in ``backup`` into ``folder``; it does not sign yet.

    Args:
        folder: new, or what is left of a center whose database is gone.
        backup: made by ``back_up``.
        now: the time, RFC 3339.
        put: takes the checked database elsewhere; a file in ``folder`` if left out.
        progress: told (what, done, total).
        workers: processes of the audit.

    Raises:
        Misuse: there is a center in the folder, or something of another log.
        StoreCorrupt: the backup is not as it was made, or its log does not hold.
    """
    manifest = read_manifest(backup)
    key = manifest.key()
    _check_place(folder, manifest)
    check_files(backup, manifest, lambda *at: progress("digests", *at))
    report = audit_center(
        place_of(backup),
        manifest.origin,
        key,
        workers=workers,
        progress=lambda *at: progress("audit", *at),
    )
    _check_report(manifest, report)
    make_folder(folder)
    hold(folder, manifest.size, manifest.made, now)
    notes = _files(folder, backup, manifest, progress)
    kept = _heads(folder, key, manifest.head())
    tiles = write_tiles(folder, _entries(backup / DATABASE, manifest.size))
    _database(folder, backup, manifest, put)
    if kept > manifest.size:
        notes.append(_lost(kept, manifest.size))
    return Restored(manifest, report, kept, tiles, tuple(notes))


def _check_place(folder: Path, manifest: Manifest) -> None:
    if folder.exists() and not folder.is_dir():
        raise Misuse(f"{folder} is no folder")
    there = [name for name in _BESIDE if (folder / name).exists()]
    if there:
        raise Misuse(
            f"{folder} has a database ({', '.join(there)}): a center is never restored "
            "over another; move these files away if they are beyond use"
        )
    policy = folder / "policy.txt"
    if policy.is_file():
        logs = parse_policy(policy.read_text()).logs
        if [str(log[0]) for log in logs] != [manifest.vkey]:
            raise Misuse(f"{policy} names another log than the backup")
    if folder.is_dir():  # a damaged head file is told before anything is done
        read_heads(folder, manifest.key())


def _check_report(manifest: Manifest, report: AuditReport) -> None:
    if (report.size, report.root) != (manifest.size, manifest.root):
        raise StoreCorrupt("the database does not end where the manifest says")
    lost = set(manifest.damaged)
    bad = [
        f"{finding.where}: {finding.message}"
        for finding in report.findings.kept
        # What the center had lost before the backup was made is told, not new.
        if not (
            finding.kind == "record"
            and f"record {finding.where.rpartition('/')[2]}" in lost
        )
    ]
    if bad or report.findings.dropped:
        raise StoreCorrupt(f"the log of the backup does not hold: {bad[0]}")


def _files(
    folder: Path, backup: Path, manifest: Manifest, progress: Progress
) -> list[str]:
    """Copy all files but database and head; what survived in place is kept."""
    notes = []
    files = [f for f in manifest.files if f.path not in (DATABASE, "head")]
    for number, file in enumerate(files):
        target = folder / file.path
        if target.is_file() and digest_of(target) == (file.size, file.sha256):
            continue
        if target.is_file() and not file.path.startswith("vault/"):
            notes.append(f"{file.path} was there and differs from the backup: kept")
            continue
        make_folder(target.parent, mode=0o700 if "keys" in file.path else 0o755)
        mode = 0o644 if file.path.startswith("vault/") else 0o600
        write_file(target, (backup / file.path).read_bytes(), mode=mode)
        if digest_of(target) != (file.size, file.sha256):
            raise StoreCorrupt("changed while it was copied", where=file.path)
        progress("files", number + 1, len(files))
    notes += [f"not in the backup: {what}" for what in manifest.left_out]
    notes += [f"lost before the backup was made: {what}" for what in manifest.damaged]
    return notes


def _heads(
    folder: Path, key: VerifierKey, *heads: tuple[Checkpoint, bytes] | None
) -> int:
    """Keep the largest of the heads beside the one that is there; return its size."""
    keeper = HeadFile(folder, key)
    try:
        for found in heads:
            if found is not None:
                keeper.keep(found[1], found[0])
        last = keeper.last()
    finally:
        keeper.close()
    return last.size if last else 0


def _entries(database: Path, size: int) -> Iterator[bytes]:
    scan = Scan(database, sqlite_driver().__name__)
    try:
        for begin in range(0, size, STRETCH):
            for row in scan.entries(begin, min(size, begin + STRETCH)):
                yield row[4]
    finally:
        scan.close()


def _database(folder: Path, backup: Path, manifest: Manifest, put: Put | None) -> None:
    """Put the database in place as the last thing, whole or not at all."""
    for name in _INDEX:  # of the center that was: the follower makes another
        (folder / name).unlink(missing_ok=True)
    part = folder / "center.db.restoring"
    for name in (part.name, f"{part.name}-wal", f"{part.name}-shm"):
        (folder / name).unlink(missing_ok=True)
    shutil.copyfile(backup / DATABASE, part)
    expected = next(f for f in manifest.files if f.path == DATABASE)
    if digest_of(part) != (expected.size, expected.sha256):
        raise StoreCorrupt("changed while it was copied", where=DATABASE)
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    if put:
        put(part)
        part.unlink()
    else:
        part.replace(folder / DATABASE)
    sync_folder(folder)


def _lost(kept: int, size: int) -> str:
    return (
        f"a head of {kept} entries was signed and the backup ends at {size}: "
        f"{kept - size} entries are lost, and this log can never be signed again"
    )


def learn_head(folder: Path, key: VerifierKey, note: bytes) -> int:
    """Keep a checkpoint that somebody holds; return the size of the largest.

    Raises:
        TraceNodeError: it is not signed by this log.
    """
    head, _, _ = open_checkpoint(note, [key])
    return _heads(folder, key, (head, note))


def sign_from(folder: Path, key: VerifierKey, size: int, stated: int, now: str) -> None:
    """Take the operator's word that no head larger than ``stated`` was released.

    Args:
        folder: of a restored center.
        key: of its log.
        size: of its database.
        stated: the number that was typed.
        now: the time, RFC 3339.

    Raises:
        Misuse: it is not held, or the number is not where its log ends.
        Conflict: a larger head is known.
    """
    if not is_held(folder):
        raise Misuse(f"{folder} is not held: it has no {HOLD}")
    if stated != size:
        raise Misuse(
            f"this log ends at {size}, not at {stated}: type the size that it ends at, "
            "if you know that no larger head was ever released"
        )
    kept = _heads(folder, key)
    if kept > size:
        raise Conflict(_lost(kept, size))
    release(folder, size, now)
