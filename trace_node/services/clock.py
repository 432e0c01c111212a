"""Whether the wall clock may date entries: ticks never go back (docs/adr/0010).

A tick is for ever. One that was signed while the clock was years ahead dates
every entry after it, until the real time has caught up; so a leap is refused
before it is signed, and the center says why. What a leap is measured by:

- in a running process, a clock that does not follow the wall: the wall may not
  gain more than ``leap`` seconds on it between two commits;
- at its start there is only the log: the wall may not be more than ``idle``
  seconds ahead of the last tick.

Nothing here helps against a clock that is wrong by less, or was wrong already
when the log was founded.
"""

from collections.abc import Callable
from threading import Lock

from trace_node.errors import ReadOnly


class TickClock:
    """The wall clock as ticks may use it; safe to use from several threads."""

    def __init__(
        self,
        now: Callable[[], int],
        elapsed: Callable[[], float],
        *,
        leap: int,
        idle: int,
    ) -> None:
        """Watch ``now``.

        Args:
            now: the wall clock, Unix seconds.
            elapsed: seconds since some moment; nobody sets it.
            leap: seconds that ``now`` may gain on ``elapsed`` at once.
            idle: seconds that the log may have been silent before the start.
        """
        self._guard = Lock()
        self._now = now
        self._elapsed = elapsed
        self._leap = leap
        self._idle = idle
        self._trusted: tuple[int, float] | None = None  # both, when last believed

    def read(self, last_tick: int) -> int:
        """Return the time for a tick after ``last_tick``.

        Raises:
            ReadOnly: the clock has leapt ahead.
        """
        with self._guard:
            now, elapsed = self._now(), self._elapsed()
            if self._trusted is None:
                self._check_silence(now, last_tick)
                self._trusted = now, elapsed
                return now
            wall, since = self._trusted
            ahead = round(now - wall - (elapsed - since))
            if ahead > self._leap and now - last_tick > self._leap:
                raise ReadOnly(
                    f"the clock leapt {ahead} s ahead: set it right, or if it is "
                    "right now start the center again"
                )
            if ahead >= 0:  # a clock set back may be set right again, however late
                self._trusted = now, elapsed
            return now

    def _check_silence(self, now: int, last_tick: int) -> None:
        silent = now - last_tick
        if silent > self._idle:
            raise ReadOnly(
                f"the clock says {now}, the log's last tick is {last_tick}, "
                f"{silent // 86_400} days before: set the clock, or if it is right "
                "start once with a larger clock_idle_days"
            )
