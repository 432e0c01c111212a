"""The way to the log: a line of candidates, and the one thread that works it off.

Callers hand in candidates (``services.prepare``) from any thread; one thread
gathers what is waiting into a group, verifies the signatures and lets the
sequencer commit it. A group is whatever came while the one before was being made
durable, so it grows with the load by itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
from threading import Condition, Thread
from typing import Any

from trace_node.errors import Overloaded, ReadOnly, Refused, TraceNodeError
from trace_node.ledger.sequencer import Candidate, Commit, Outcome, Placed, Sequencer
from trace_node.services.admission import LogAdmission
from trace_node.services.line import Deliver, Line, Room, Waiting
from trace_node.services.priority import stand_back
from trace_node.services.receipts import Receipts
from trace_node.store.log import Content

RECOVERY_SECONDS = 2.0  # between tries after a failed commit


@dataclass(frozen=True, slots=True)
class Told:
    """Who is told how it goes.

    ``failure`` of every commit that failed as a whole, ``recovery`` of the first
    that goes through again, ``completed`` of an entry whose absent content came.
    """

    failure: Callable[[Exception], None]
    recovery: Callable[[], None]
    completed: Callable[[int], None]


class Intake:
    """The line before the sequencer, and the one thread that works it off."""

    def __init__(
        self,
        sequencer: Sequencer,
        admission: LogAdmission,
        receipts: Receipts,
        *,
        room: Room,
        told: Told,
        timer: Callable[[], float],
    ) -> None:
        """Make the line.

        Args:
            sequencer: commits groups.
            admission: verifies signatures; belongs to the thread made here.
            receipts: makes the first receipt of a known statement again.
            room: what the line may hold before new ones are refused.
            told: who wants to know how it goes.
            timer: seconds that only grow, from anywhere.
        """
        self._sequencer = sequencer
        self._admission = admission
        self._receipts = receipts
        self._told = told
        self._timer = timer
        self._sick = False  # the last commit failed
        self._line = Line(room)
        self._wake = Condition()
        self._stopping = False
        self._thread: Thread | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread = Thread(target=self._work, name="sequencer", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Finish what is in line, then end the thread."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread:
            self._thread.join()

    @property
    def waiting(self) -> int:
        """How many candidates are in line."""
        return len(self._line)

    @property
    def wait(self) -> float:
        """Seconds that a single statement would wait in line now, as it seems."""
        return self._line.wait(self._timer())

    def check_room(self, *, bulk: bool = False, late: float = 0.0) -> None:
        """Raise ``Overloaded`` when the line is too long (asked before reading)."""
        self._line.check_room(self._timer(), bulk=bulk, late=late)

    def put(
        self, candidate: Candidate, token: Any, deliver: Deliver, *, bulk: bool = False
    ) -> None:
        """Put a candidate in line; ``deliver`` gets (token, outcome) later.

        Args:
            candidate: prepared.
            token: handed back with the outcome.
            deliver: called in the sequencer's thread, once a group.
            bulk: it is one of many, and may wait behind single ones.

        Raises:
            Overloaded: the line is too long, or the center is stopping.
        """
        self.check_room(bulk=bulk)
        waiting = Waiting.of(candidate, token, deliver)
        with self._wake:
            if self._stopping:
                raise Overloaded("the center is stopping")
            self._line.put(waiting, bulk=bulk)
            self._wake.notify()

    def register(self, candidate: Candidate) -> Placed:
        """Register one candidate now, in this thread; for the command line.

        Raises:
            TraceNodeError: it was not registered.
        """
        outcome = self._process([candidate])[0]
        if isinstance(outcome, TraceNodeError):
            raise outcome
        return outcome

    def _gather(self) -> list[Waiting]:
        with self._wake:
            while not self._line and not self._stopping:
                if not self._wake.wait(RECOVERY_SECONDS if self._sick else None):
                    return []
            return self._line.take(self._timer())

    def _work(self) -> None:
        stand_back()
        while True:
            group = self._gather()
            if not group:
                if self._stopping:
                    return
                self.recover()
                continue
            outcomes = self._process([waiting.candidate for waiting in group])
            with self._wake:
                self._line.done(self._timer())
            told: dict[Deliver, list[tuple[Any, Outcome]]] = {}
            for waiting, outcome in zip(group, outcomes, strict=True):
                told.setdefault(waiting.deliver, []).append((waiting.token, outcome))
            for deliver, results in told.items():
                deliver(results)

    def _process(self, candidates: list[Candidate]) -> list[Outcome]:
        try:
            outcomes = self._commit(candidates)
        except (ReadOnly, Overloaded) as error:
            self._sick = True
            self._told.failure(error)
            return [error] * len(candidates)
        except Exception as error:  # noqa: BLE001 - nothing may end this thread
            # Disk full, I/O error, a lost race: nothing of the group was
            # acknowledged. What the database holds is found out by reading it
            # again (the fold is dropped), never by assuming.
            self._sick = True
            self._told.failure(error)
            failed = ReadOnly("the entry could not be made durable")
            return [failed] * len(candidates)
        if self._sick:
            self._sick = False
            self._told.recovery()
        return outcomes

    def _commit(self, candidates: list[Candidate]) -> list[Outcome]:
        outcomes: list[Outcome | None] = [None] * len(candidates)
        good: list[int] = []
        for position, candidate in enumerate(candidates):
            error = self._verify(candidate)
            if error is None:
                good.append(position)
            else:
                outcomes[position] = error
        commit: Commit = self._sequencer.commit([candidates[p] for p in good])
        placed: set[int] = set()
        for position, outcome in zip(good, commit.outcomes, strict=True):
            outcomes[position] = outcome
            if not isinstance(outcome, Placed):
                continue
            content = candidates[position].content
            if outcome.receipt is None:
                outcomes[position] = self._again(outcome.index, content)
            elif outcome.index in placed:  # twice in one group
                self._complete(outcome.index, content)
            placed.add(outcome.index)
        return [outcome for outcome in outcomes if outcome is not None]

    def _again(self, index: int, content: Content) -> Outcome:
        """Return the first receipt; add content that was absent until now."""
        try:
            self._complete(index, content)
            return Placed(index, self._receipts.receipt(index))
        except TraceNodeError as error:
            return error

    def _complete(self, index: int, content: Content) -> None:
        if self._receipts.complete(index, content):
            self._told.completed(index)

    def recover(self) -> None:
        """Try a commit of nothing: it settles what a failure left, or fails again.

        Called at the start, before the thread runs, and by the thread alone after.
        """
        try:
            self._sequencer.commit([])
        except Exception as error:  # noqa: BLE001 - told, and tried again later
            self._sick = True
            self._told.failure(error)
        else:
            self._sick = False
            self._told.recovery()

    def _verify(self, candidate: Candidate) -> TraceNodeError | None:
        try:
            try:
                self._admission.verify(candidate)
            except Refused:
                # The key may have been added by another process of this center.
                if not self._admission.refresh():
                    raise
                self._admission.verify(candidate)
        except TraceNodeError as error:
            return error
        return None
