"""The head signed last, kept outside the database.

A restored backup, a lost volume or a database moved aside must never make the
center sign a second history: the sequencer compares with these files first.

Every process that signs owns a file for as long as it lives (``head``, or
``head.1`` and so on while others run), and reads those of all the others: so no
process ever waits for one that is stopped, and what one has signed binds all.

A file has two slots of 4 KiB that are written in turn, each in place and
followed by one fdatasync; a power cut can tear at most the slot being written,
and the other still holds the head before it. What a slot holds proves itself:
it is a signed checkpoint.
"""

import fcntl
import os
import re
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from trace_node.errors import Misuse, StoreCorrupt, TraceNodeError
from trace_node.ledger.checkpoint import Checkpoint, open_checkpoint
from trace_node.store.files import sync_folder
from trace_node.trust.vkey import VerifierKey

SLOT = 4096
PROCESSES = 64  # that may sign in one folder at once
_NAME = re.compile(r"head(\.[1-9][0-9]?)?")


@dataclass(frozen=True, slots=True)
class Kept:
    """A head, the note that proves it, and the slot that holds it."""

    head: Checkpoint
    note: bytes
    slot: int


def head_files(folder: Path) -> list[Path]:
    """Return the files in ``folder`` that hold heads, in the order of their names."""
    return sorted(p for p in folder.iterdir() if _NAME.fullmatch(p.name))


def read_heads(folder: Path, key: VerifierKey) -> Checkpoint | None:
    """Return the greatest head kept in ``folder``, None where there is none.

    Raises:
        StoreCorrupt: a file holds something, and none of it proves itself.
    """
    found = [_read(path.read_bytes(), key, path.name) for path in head_files(folder)]
    return max((k.head for k in found if k), key=lambda head: head.size, default=None)


def _read(data: bytes, key: VerifierKey, name: str) -> Kept | None:
    """Return the greatest head in the bytes of one file."""
    best: Kept | None = None
    torn = 0
    for slot in (0, 1):
        note = data[slot * SLOT : (slot + 1) * SLOT].rstrip(b"\0")
        if not note:
            continue
        try:
            head, _, _ = open_checkpoint(note, [key])
        except TraceNodeError:
            torn += 1
            continue
        if best is None or head.size > best.head.size:
            best = Kept(head, note, slot)
    if best is None and torn == 2:  # noqa: PLR2004 - both slots
        raise StoreCorrupt("no slot of the head file proves itself", where=name)
    return best


class HeadFile:
    """``sequencer.HeadKeeper`` on files; knows the greatest head of them all."""

    def __init__(self, folder: Path, key: VerifierKey) -> None:
        """Take a file of one's own in ``folder``, making it if need be.

        Raises:
            StoreCorrupt: a file holds something, and none of it proves itself.
            Misuse: as many processes as may be are signing here already.
        """
        self._key = key
        self._folder = folder
        self._guard = Lock()
        self._seen: dict[str, tuple[bytes, Kept | None]] = {}
        self._best: Kept | None = None
        self._file, self._name = self._take()
        # What the own file holds for certain: after a failed sync it may show a
        # head that is on no disk.
        self._own: Kept | None = None
        try:
            self._own = _read(self._bytes(self._name), key, self._name)
            self._look()
        except BaseException:
            os.close(self._file)
            raise

    def _take(self) -> tuple[int, str]:
        for number in range(PROCESSES):
            name = f"head.{number}" if number else "head"
            path = self._folder / name
            new = not path.exists()
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(file)
                continue
            if new:
                os.ftruncate(file, 2 * SLOT)
                os.fsync(file)
                sync_folder(self._folder)
            return file, name
        raise Misuse(f"{PROCESSES} processes sign in {self._folder} already")

    @property
    def path(self) -> Path:
        """The file that this process writes."""
        return self._folder / self._name

    def close(self) -> None:
        """Let the file go; another process may take it."""
        os.close(self._file)

    def last(self) -> Checkpoint | None:
        """Return the greatest head that any process ever kept here."""
        kept = self._newest()
        return kept.head if kept else None

    def note(self) -> bytes:
        """Return the signed checkpoint of ``last``, empty before the first."""
        kept = self._newest()
        return kept.note if kept else b""

    def snapshot(self) -> tuple[Checkpoint, bytes] | None:
        """Return the greatest head and its note, as one."""
        kept = self._newest()
        return (kept.head, kept.note) if kept else None

    def keep(self, note: bytes, head: Checkpoint) -> None:
        """Write ``note`` over the older slot of the own file; durable on return.

        Also where another process has kept a greater head: whether that one is
        on the disk yet, only that process knows.
        """
        if len(note) >= SLOT:
            raise StoreCorrupt(f"a checkpoint of {len(note)} bytes fits no slot")
        with self._guard:
            own = self._own
            if own and own.head.size >= head.size:
                return
            self._own = self._write(note, head, 1 - own.slot if own else 0)
            if self._best is None or head.size > self._best.head.size:
                self._best = self._own

    def _write(self, note: bytes, head: Checkpoint, slot: int) -> Kept:
        os.pwrite(self._file, note.ljust(SLOT, b"\0"), slot * SLOT)
        os.fdatasync(self._file)
        return Kept(head, note, slot)

    def _newest(self) -> Kept | None:
        with self._guard:
            self._look()
            return self._best

    def _look(self) -> None:
        """Read every file again; only what changed is parsed and verified."""
        self._take_in(self._own)
        for path in head_files(self._folder):
            if path.name == self._name:
                continue
            data = self._bytes(path.name)
            seen = self._seen.get(path.name)
            if seen is None or seen[0] != data:
                seen = (data, _read(data, self._key, path.name))
                self._seen[path.name] = seen
            self._take_in(seen[1])

    def _take_in(self, kept: Kept | None) -> None:
        # Never back: a file that is gone does not unsay what it said.
        best = self._best
        if kept and (best is None or kept.head.size > best.head.size):
            self._best = kept

    def _bytes(self, name: str) -> bytes:
        if name == self._name:
            return os.pread(self._file, 2 * SLOT, 0)
        try:
            return (self._folder / name).read_bytes()
        except FileNotFoundError:
            return b""


def lone_head(note: bytes) -> bytes:
    """Return the bytes of a head file that holds this checkpoint alone."""
    return note.ljust(2 * SLOT, b"\0")


def read_slots(folder: Path, key: VerifierKey) -> list[tuple[Checkpoint, bytes] | None]:
    """Return what the slots of all head files hold; None for one that proves nothing.

    Empty slots are left out. A slot may be read while it is written: who wants to
    know whether one is torn looks again.
    """
    found: list[tuple[Checkpoint, bytes] | None] = []
    for path in head_files(folder):
        data = path.read_bytes()
        for slot in (0, SLOT):
            note = data[slot : slot + SLOT].rstrip(b"\0")
            if not note:
                continue
            try:
                found.append((open_checkpoint(note, [key])[0], note))
            except TraceNodeError:
                found.append(None)
    return found
