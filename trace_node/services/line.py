"""The line before the sequencer: how long it is in seconds, and who is let in.

A full line answers late and then not at all: a caller who has given up is worked
for in vain. So what counts is time: how long a newcomer would wait, by the pace
at which groups were worked off until now. Beyond a stated wait writes are shed.

Single statements and the items of ``/submissions`` stand in two lines, and a
group takes from both: an import of millions of records delays a single statement
by one group's share of it, and singles never starve the import.

Work is counted in statements; a record that comes along is a tenth of one.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from trace_node.errors import Overloaded
from trace_node.ledger.sequencer import Candidate, Outcome
from trace_node.store.log import Content

GROUP = 512  # candidates in one commit at most, and their work
GROUP_BYTES = 16 << 20  # and bytes of entries and records
SHARE = GROUP // 2  # of the work, for bulk items while singles wait, too
RECORD_WORK = 0.1  # of a statement: a signature costs what ten rows cost
PACE = 1e-3  # seconds for one statement, until a group has shown it
TELLING = 32  # work from which on a group tells the pace; less is mostly its fsync
FEW = 32  # statements ahead of a newcomer whom no time sends away
LATE = 1 / 16  # of the time in line that requests may wait unread: 25 ms of 0.4 s
ADAPT = 0.25  # of the way to what the last group showed

Deliver = Callable[[list[tuple[Any, Outcome]]], None]


@dataclass(slots=True)
class Waiting:
    """A candidate in line, and who wants to know what became of it."""

    candidate: Candidate
    token: Any
    deliver: Deliver
    size: int  # bytes
    work: float  # statements

    @classmethod
    def of(cls, candidate: Candidate, token: Any, deliver: Deliver) -> "Waiting":
        """Return the candidate with what it weighs."""
        content: Content = candidate.content
        size, work = len(candidate.entry), 1.0
        if content.records or content.filed:
            size += sum(len(data) for _, data in content.records)
            work += RECORD_WORK * (len(content.records) + len(content.filed))
        return cls(candidate, token, deliver, size, work)


@dataclass(frozen=True, slots=True)
class Room:
    """What a line may hold.

    ``seconds`` is what matters; ``entries`` and ``bytes`` bound the memory.
    """

    seconds: float
    entries: int
    bytes: int


class Line:
    """Two lines and the pace; not locked, that is the intake's business."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.pace = PACE
        self._queues: tuple[deque[Waiting], deque[Waiting]] = (deque(), deque())
        self._work = [0.0, 0.0]  # of singles, of bulk items
        self._bytes = 0
        self._begun: float | None = None  # when the group being worked off began
        self._group = 0.0  # its work

    def __len__(self) -> int:
        """Return how many candidates wait."""
        return len(self._queues[0]) + len(self._queues[1])

    def wait(self, now: float, *, bulk: bool = False) -> float:
        """Return the seconds that a newcomer would wait until its group begins.

        A group that takes longer than its work explains (a disk that hangs) is
        expected to take as long again.
        """
        under_way = 0.0
        if self._begun is not None:
            gone = now - self._begun
            expected = self._group * self.pace
            under_way = gone if gone > expected else expected - gone
        singles, items = self._work
        if bulk:
            ahead = items + min(singles, items)  # half of each group at least is ours
        else:
            groups = len(self._queues[0]) // GROUP + 1
            ahead = singles + min(items, groups * SHARE)
        return under_way + ahead * self.pace

    def check_room(self, now: float, *, bulk: bool = False, late: float = 0.0) -> None:
        """Raise ``Overloaded`` when a newcomer would wait too long.

        Args:
            now: of the timer.
            bulk: it would stand in the line of the many.
            late: seconds that requests wait before they are read, as do answers
                before they are written. Beyond ``LATE`` what is let in takes from
                what is already late, from reads and from refusals, too.

        With only a few ahead a newcomer is let in whatever the times say: a moment
        in which the machine stood still is no overload.
        """
        room = self.room
        if len(self) >= room.entries or self._bytes >= room.bytes:
            raise Overloaded("too many statements wait to be registered")
        if self._work[bulk] < FEW:
            return
        wait = self.wait(now, bulk=bulk) + 2 * late
        if wait > room.seconds or late > room.seconds * LATE:
            raise Overloaded(
                f"it would wait longer than {room.seconds:g} s to be registered"
            )

    def put(self, waiting: Waiting, *, bulk: bool = False) -> None:
        """Put one at the end of its line."""
        self._queues[bulk].append(waiting)
        self._work[bulk] += waiting.work
        self._bytes += waiting.size

    def take(self, now: float) -> list[Waiting]:
        """Take the next group out; empty when nobody waits."""
        singles, items = self._queues
        group: list[Waiting] = []
        # Items first, up to their share; then singles, for which the rest is free.
        room = self._pull(items, group, SHARE if singles else GROUP, GROUP_BYTES // 2)
        self._pull(singles, group, GROUP - len(group), room + GROUP_BYTES // 2)
        self._begun = now if group else None
        self._group = sum(waiting.work for waiting in group)
        return group

    def _pull(
        self, queue: deque[Waiting], group: list[Waiting], work: float, size: int
    ) -> int:
        """Move from ``queue`` to ``group`` while there is room; at least one.

        Returns:
            The bytes left over.
        """
        bulk = queue is self._queues[1]
        while queue and work > 0 and size > 0:
            waiting = queue.popleft()
            work -= waiting.work
            size -= waiting.size
            self._work[bulk] -= waiting.work
            self._bytes -= waiting.size
            group.append(waiting)
        if not queue:
            self._work[bulk] = 0.0  # whatever rounding left
        return max(size, 0)

    def done(self, now: float) -> None:
        """Learn the pace from the group that ended now."""
        if self._begun is None or not self._group:
            return
        shown = (now - self._begun) / self._group
        self._begun = None
        # A small group is mostly its fsync and tells only that the pace is no
        # slower; without that, a line kept short by a slow moment stayed short.
        if self._group >= TELLING or shown < self.pace:
            self.pace += ADAPT * (shown - self.pace)
