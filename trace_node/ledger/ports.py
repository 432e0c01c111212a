"""What the sequencer needs of the world, as contracts that a store must keep.

Entries are opaque bytes here; the docstrings say what must be durable, serialised
and compared, and when.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from trace_node.errors import TraceNodeError
from trace_node.ledger.checkpoint import Checkpoint
from trace_node.ledger.merkle import CompactRange


@dataclass(slots=True)
class Candidate:
    """Something that wants a place in the log.

    ``identity`` (32 bytes) decides sameness; ``entry`` is what the tree commits
    to; ``content`` is for admission and store only, opaque here.
    """

    identity: bytes
    entry: bytes
    content: Any = None


@dataclass(slots=True)
class Placed:
    """A candidate that has its place; ``receipt`` is None for a known one."""

    index: int
    receipt: bytes | None


Outcome = Placed | TraceNodeError


@dataclass(frozen=True, slots=True)
class StoredHead:
    """Where the log ends: its compact range and how often it was written."""

    range: CompactRange
    epoch: int


@dataclass(frozen=True, slots=True)
class Sealed:
    """A commit's end, as the store keeps it beside the entries."""

    range: CompactRange
    epoch: int
    root: bytes
    receipt_protected: bytes
    receipt_signature: bytes


class Appending(Protocol):
    """An open transaction that holds the head lock of one log."""

    @property
    def head(self) -> StoredHead:
        """The head as it is under the lock."""

    def known(self, identities: Sequence[bytes]) -> dict[bytes, int]:
        """Return the index of every identity that already has an entry."""

    def write(self, first: int, candidates: Sequence[Candidate]) -> None:
        """Write entries (and all that belongs to them) from index ``first``."""

    def read_back(self, first: int, count: int) -> list[bytes]:
        """Return the entries as they are stored now."""

    def root_at(self, size: int) -> bytes | None:
        """Return the root signed at ``size``, None if no head was."""

    def seal(self, sealed: Sealed) -> None:
        """Move the head; must fail if the epoch is not the one that was read."""

    def vouch(self) -> None:
        """Make the commit of this transaction wait as one that writes does.

        When it has gone through, all that was read in it is durable: what can be
        read after a database server restarted may be on that machine alone.
        """


class LogStore(Protocol):
    """Where a log lives. Durable once ``append`` has left without an error."""

    def append(self) -> AbstractContextManager[Appending]:
        """Open a transaction under the head lock; serialised across processes."""


class Admission(Protocol):
    """Decides what may enter. Holds the state folded from entries so far."""

    def catch_up(self, size: int) -> None:
        """Fold entries up to ``size``; another process may have appended."""

    def clock_entry(self) -> Candidate | None:
        """Return the entry that must come first now, if one is due."""

    def check(self, candidate: Candidate) -> None:
        """Raise ``Refused`` or ``Malformed`` if it may not enter; fold nothing."""

    def admit(self, candidate: Candidate, index: int) -> None:
        """Fold ``candidate`` at ``index``, or raise as ``check`` does."""

    def forget(self) -> None:
        """A commit failed: drop the folded state, the next catch-up rebuilds it."""


class HeadKeeper(Protocol):
    """Keeps the checkpoint signed last outside the database, durably."""

    def last(self) -> Checkpoint | None:
        """Return the greatest head ever kept, None before the first.

        Also what other processes of this center kept: asked under the head lock,
        it is what all of them have signed and the database must still hold.
        """

    def keep(self, note: bytes, head: Checkpoint) -> None:
        """Keep ``note``; durable on return. A smaller head never replaces one."""
