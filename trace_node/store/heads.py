"""The head signed last, kept outside the database.

A restored backup, a lost volume or a database moved aside must never make the
center sign a second history: the sequencer compares with this file first.

The file has two slots of 4 KiB that are written in turn, each in place and
followed by one fdatasync; a power cut can tear at most the slot being written,
and the other still holds the head before it. What a slot holds proves itself:
it is a signed checkpoint. A lock file keeps two processes from mixing slots.
"""

import fcntl
import os
from pathlib import Path
from threading import Lock

from trace_node.errors import StoreCorrupt, TraceNodeError
from trace_node.ledger.checkpoint import Checkpoint, open_checkpoint
from trace_node.store.files import sync_folder
from trace_node.trust.vkey import VerifierKey

SLOT = 4096


class HeadFile:
    """``sequencer.HeadKeeper`` on a file; remembers the greatest head it saw."""

    def __init__(self, path: Path, key: VerifierKey) -> None:
        """Open or make the file.

        Raises:
            StoreCorrupt: both slots hold something, and neither proves itself.
        """
        self._key = key
        self._origin = key.name
        self._guard = Lock()
        self._unsynced = False  # a write failed: what is read may not be on the disk
        new = not path.exists()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        if new:
            os.ftruncate(self._file, 2 * SLOT)
            os.fsync(self._file)
            sync_folder(path.parent)
        found = self._read()
        self._slot = found[1] if found else 1
        self._last = found[0] if found else None
        self._note = found[2] if found else b""

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def last(self) -> Checkpoint | None:
        """Return the greatest head ever kept, None before the first."""
        return self._last

    def note(self) -> bytes:
        """Return the signed checkpoint of ``last``, empty before the first."""
        return self._note

    def refresh(self) -> Checkpoint | None:
        """Read the file again: another process of this center may have signed."""
        with self._guard:
            found = self._read()
            if found and (self._last is None or found[0].size > self._last.size):
                self._last, self._slot, self._note = found
            return self._last

    def snapshot(self) -> tuple[Checkpoint, bytes] | None:
        """Return the greatest head and its note, as one."""
        with self._guard:
            return (self._last, self._note) if self._last else None

    def keep(self, note: bytes, head: Checkpoint) -> None:
        """Write ``note`` over the older slot; durable on return."""
        if len(note) >= SLOT:
            raise StoreCorrupt(f"a checkpoint of {len(note)} bytes fits no slot")
        with self._guard:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                self._keep(note, head)
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def _keep(self, note: bytes, head: Checkpoint) -> None:
        found = self._read()
        if found and found[0].size >= head.size:
            # Another process of this center signed further in the meantime.
            if self._unsynced:
                # A failed sync leaves pages that look clean: write them once more.
                self._write(found[2], found[1])
            self._last, self._slot, self._note = found
            return
        slot = 1 - found[1] if found else 0
        self._write(note, slot)
        self._slot, self._last, self._note = slot, head, note

    def _write(self, note: bytes, slot: int) -> None:
        self._unsynced = True
        os.pwrite(self._file, note.ljust(SLOT, b"\0"), slot * SLOT)
        os.fdatasync(self._file)
        self._unsynced = False

    def _read(self) -> tuple[Checkpoint, int, bytes] | None:
        best: tuple[Checkpoint, int, bytes] | None = None
        torn = 0
        for slot in (0, 1):
            data = os.pread(self._file, SLOT, slot * SLOT).rstrip(b"\0")
            if not data:
                continue
            try:
                head, _, _ = open_checkpoint(data, [self._key])
            except TraceNodeError:
                torn += 1
                continue
            if best is None or head.size > best[0].size:
                best = (head, slot, data)
        if best is None and torn == 2:  # noqa: PLR2004 - both slots
            raise StoreCorrupt("no slot of the head file proves itself")
        return best
