"""Back up a center while it runs, into a folder that is a center itself.

The order makes it whole, whatever is written meanwhile: first one instant of the
database whose signed head is kept, then the files that its rows name. A file is
written before its row and never changed, so each is there; only what was staged
and never registered may have been tidied away since, and its row goes with it.
The manifest comes last: a backup without one is half a backup, and says so.

A second run into the same folder copies the database again, and of the files only
what is not there with the right digest. The backup before stays whole until the
new one takes its place.

Left out: tiles and the index (made again from the entries), and, unless asked
for, whatever opens the key files.
"""

import fcntl
import os
import re
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from trace_node.errors import Misuse, StoreCorrupt
from trace_node.ledger.checkpoint import Checkpoint
from trace_node.services.audit import spans
from trace_node.services.backup_files import (
    MANIFEST,
    PART,
    File,
    Manifest,
    digest_of,
    listed,
    read_manifest,
)
from trace_node.store.blobs import BlobStore, vault_name
from trace_node.store.copying import Accept, Instant, forget_staged
from trace_node.store.engine import sqlite_driver
from trace_node.store.files import make_folder, sync_folder, write_file, write_files
from trace_node.store.heads import lone_head, read_slots
from trace_node.store.keys import PASSPHRASE_FILE
from trace_node.store.scan import Scan
from trace_node.trust.vkey import VerifierKey

WAITS = 50  # milliseconds that a head may need to be kept
BATCH = 64  # vault files whose folders are synced together
SETTINGS = "node.toml"
NEW = ("center.db", "head")  # written beside those of the backup before
# Settings of the place, not of the center, and what opens its keys.
NOT_KEPT = ("passphrase", "database_url", "blobs")

Progress = Callable[[str, int, int], None]
Copy = Callable[[Path, Accept, Callable[[int, int], None]], Instant]


@dataclass(frozen=True, slots=True)
class Source:
    """The center that is backed up.

    Args:
        folder: of the center.
        vkey: of its log.
        copy: makes one instant of its database a file (``store.copying``).
        blobs: where its large records are.
    """

    folder: Path
    vkey: VerifierKey
    copy: Copy
    blobs: BlobStore


@dataclass(slots=True)
class Made:
    """What a run did, beside the manifest that it wrote."""

    manifest: Manifest
    copied: int = 0
    kept: int = 0
    dropped: int = 0


@dataclass(slots=True)
class _Notes:
    left_out: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    copied: int = 0
    kept: int = 0


def back_up(
    source: Source,
    target: Path,
    made: str,
    *,
    with_passphrase: bool = False,
    progress: Progress = lambda what, done, total: None,  # noqa: ARG005 - names
) -> Made:
    """Back up ``source`` into ``target``.

    Args:
        source: the center.
        target: a new folder, or one that an earlier run wrote to.
        made: the time, RFC 3339.
        with_passphrase: copy what opens the key files, too.
        progress: told (what, done, total).

    Raises:
        Misuse: the folder holds something else, or another run works on it.
        StoreCorrupt: the database cannot be read.
    """
    with _claimed(source, target):
        notes = _Notes()
        new = target / "center.db.new"
        kept: list[tuple[Checkpoint, bytes]] = []

        def accept(instant: Instant) -> bool:
            found = _head_at(source, instant)
            kept[:] = [found] if found else []
            return found is not None

        instant = source.copy(new, accept, lambda *at: progress("database", *at))
        _not_less(target, instant)
        names = set(_small_files(source, target, notes, with_passphrase))
        names |= _vault(source.blobs, target, new, notes, progress)
        write_file(target / "head.new", lone_head(kept[0][1]), mode=0o600)
        files = listed(target, iter(names))
        for name in NEW:
            files += (File(name, *digest_of(target / f"{name}.new")),)
        manifest = Manifest(
            source.vkey.name,
            str(source.vkey),
            made,
            instant.size,
            instant.root,
            kept[0][1].decode(),
            files,
            tuple(notes.left_out),
            tuple(notes.damaged),
        )
        # Between these lines a crash leaves the old manifest with new files: a
        # restore refuses that by their digests, and another run mends it.
        for name in NEW:
            (target / f"{name}.new").replace(target / name)
        sync_folder(target)
        write_file(target / MANIFEST, manifest.encode(), mode=0o600)
        names |= set(NEW)
        return Made(manifest, notes.copied, notes.kept, _prune(target, names))


def _not_less(target: Path, instant: Instant) -> None:
    """Refuse to put a shorter log over a longer one: that is a database set back.

    Raises:
        Misuse: the backup that is there holds more.
    """
    if (target / MANIFEST).is_file():
        before = read_manifest(target).size
        if before > instant.size:
            raise Misuse(
                f"{target} holds {before} entries and the center {instant.size}: "
                "a log never shrinks; take another folder, and audit the center"
            )


@contextmanager
def _claimed(source: Source, target: Path) -> Iterator[None]:
    """Hold the folder for one run; what it leaves when it is killed says so."""
    part = target / PART
    used = target.exists() and any(target.iterdir())
    if used and not part.exists():
        if read_manifest(target).vkey != str(source.vkey):
            raise Misuse(f"{target} is a backup of another log")
    elif used and part.read_text().strip() not in {"", str(source.vkey)}:
        raise Misuse(f"{target} holds half a backup of another log")
    make_folder(target, mode=0o700)
    handle = os.open(part, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Misuse(f"another backup writes to {target}") from None
        os.truncate(handle, 0)
        os.pwrite(handle, f"{source.vkey}\n".encode(), 0)
        os.fsync(handle)
        sync_folder(target)
        yield
        part.unlink()
        sync_folder(target)
    finally:
        os.close(handle)


def _head_at(source: Source, instant: Instant) -> tuple[Checkpoint, bytes] | None:
    """Return the kept head of this instant, so that the copy ends where it says.

    A commit is in the database a moment before its head is kept, and two commits
    later that head is overwritten: then another instant is taken. A head that
    stays behind (a crash came between) does as well; it is of the same log.

    Raises:
        StoreCorrupt: no head is kept.
    """
    newest: tuple[Checkpoint, bytes] | None = None
    for _ in range(WAITS):
        found = [slot for slot in read_slots(source.folder, source.vkey) if slot]
        for head, note in found:
            if (head.size, head.root) == (instant.size, instant.root):
                return head, note
        newest = max(found, key=lambda slot: slot[0].size, default=None)
        if newest is None:
            raise StoreCorrupt("no signed head is kept", where="head")
        if newest[0].size >= instant.size:
            return None
        time.sleep(0.001)
    return newest


def _small_files(
    source: Source, target: Path, notes: _Notes, with_passphrase: bool
) -> Iterator[str]:
    """Copy settings, policy and keys; yield their names."""
    text, gone = without(_read(source.folder / SETTINGS).decode())
    notes.left_out += [f"{SETTINGS}: {name}" for name in gone]
    files = {SETTINGS: text.encode(), "policy.txt": _read(source.folder / "policy.txt")}
    for path in sorted((source.folder / "keys").glob("*.pem")):
        files[f"keys/{path.name}"] = _read(path)
    secret = source.folder / "keys" / PASSPHRASE_FILE
    if secret.is_file() and with_passphrase:
        files[f"keys/{PASSPHRASE_FILE}"] = _read(secret)
    elif not with_passphrase:
        notes.left_out.append("the passphrase of the key files")
    make_folder(target / "keys", mode=0o700)
    for name, data in files.items():
        write_file(target / name, data, mode=0o600)
        yield name


def without(text: str) -> tuple[str, list[str]]:
    """Return settings without those in ``NOT_KEPT``, and which were left out.

    Raises:
        Misuse: one is written in a way that would not be found.
    """
    line = re.compile(rf"(?m)^[ \t]*({'|'.join(NOT_KEPT)})[ \t]*=.*\n?")
    kept = line.sub("", text)
    try:
        left = sorted(set(NOT_KEPT) & tomllib.loads(text).keys())
        if set(NOT_KEPT) & tomllib.loads(kept).keys():
            raise Misuse(
                f"write {' and '.join(left)} in {SETTINGS} on lines of their own"
            )
    except tomllib.TOMLDecodeError as error:
        raise Misuse(f"{SETTINGS}: {error}") from None
    return kept, left


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Misuse(f"cannot read {path}: {error.strerror}") from None


def _vault(
    blobs: BlobStore, target: Path, database: Path, notes: _Notes, progress: Progress
) -> set[str]:
    """Copy the files that the copied rows name; return their names."""
    names: set[str] = set()
    gone: list[bytes] = []
    scan = Scan(database, sqlite_driver().__name__)
    try:
        wanted = [
            digest
            for span in spans(scan.ends().records)
            for digest, _, content in scan.records(*span)
            if content is None
        ]
    finally:
        scan.close()
    waiting: list[tuple[Path, bytes]] = []
    for number, digest in enumerate(wanted):
        path = target / vault_name(digest)
        if path.is_file() and sha256(path.read_bytes()).digest() == digest:
            notes.kept += 1
        else:
            data = blobs.get(vault_name(digest)) or b""  # tidied away meanwhile
            if sha256(data).digest() != digest:
                gone.append(digest)
                continue
            waiting.append((path, data))
            notes.copied += 1
        names.add(path.relative_to(target).as_posix())
        if len(waiting) == BATCH:
            write_files(waiting, mode=0o600)
            waiting = []
        progress("vault", number + 1, len(wanted))
    write_files(waiting, mode=0o600)
    if gone:
        notes.damaged += _damaged(database, gone)
    return names


def _damaged(database: Path, gone: list[bytes]) -> list[str]:
    """Drop rows that nobody registered; name the others, whose files are lost."""
    forget_staged(database, gone)
    scan = Scan(database, sqlite_driver().__name__)
    try:
        return [f"record {digest.hex()}" for digest in gone if scan.has(digest)]
    finally:
        scan.close()


def _prune(target: Path, names: set[str]) -> int:
    """Remove vault files that the backup does not name any more: erased records."""
    stray = [
        path
        for path in (target / "vault").rglob("*")
        if path.is_file() and path.relative_to(target).as_posix() not in names
    ]
    for path in stray:
        path.unlink()
    return len(stray)
