"""How far the event loop is behind: what no line of statements shows.

A request waits in its socket before anybody counts it, and an answer that is ready
waits for its turn to be written. Both take about as long as one round of the loop,
so a beat that comes late tells how long.
"""

import asyncio
import time

BEAT = 0.02  # seconds


class Pulse:
    """Beats in the running loop; made in it, or started later."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._due = 0.0
        self._late = 0.0

    def start(self) -> None:
        """Beat in the running loop from now on; again is harmless."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop = loop
            self._late = 0.0
            self._next()

    def _next(self) -> None:
        assert self._loop is not None  # noqa: S101 - set by start
        self._due = time.monotonic() + BEAT
        self._loop.call_later(BEAT, self._beat, self._loop)

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        if loop is self._loop:
            self._late = max(0.0, time.monotonic() - self._due)
            self._next()

    @property
    def late(self) -> float:
        """Seconds by which the last beat came late, or this one already is."""
        return max(self._late, time.monotonic() - self._due) if self._loop else 0.0
