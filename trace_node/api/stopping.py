"""A process on its way out: who must know, and the streams that end now.

A registration that runs is answered: it takes a moment. A stream of submissions
may run for hours, so its *reading* ends at once. The reader hears of it as of any
other problem: what was read before is answered line by line, and one more line
says that the center stops. A statement of which only a part had come is not
registered; the client sends from there on again.
"""

import asyncio
from collections.abc import Callable

from starlette.types import Message, Receive

from trace_node.api.problems import WireProblem
from trace_node.errors import Overloaded

PROGRESS = 256  # bytes; no statement is smaller
WINDOW = 20  # times the patience: in it at least PROGRESS bytes come


class Stop:
    """Set once, in the event loop; never unset."""

    def __init__(self) -> None:
        self._set = False
        self._waiting: set[asyncio.Timeout] = set()
        self._told: list[Callable[[], None]] = []

    def is_set(self) -> bool:
        """Say whether the process is stopping."""
        return self._set

    def set(self) -> None:
        """Begin to stop: wake every stream that waits for bytes."""
        self._set = True
        now = asyncio.get_running_loop().time()
        for waiting in list(self._waiting):
            waiting.reschedule(now)

    def check(self) -> None:
        """Raise when the process is stopping.

        Raises:
            Overloaded: so.
        """
        if self._set:
            raise Overloaded("the center is stopping; send the rest again")

    async def wait(self, receive: Receive) -> Message:
        """Receive, unless the process stops before anything came.

        Raises:
            Overloaded: it stops.
        """
        self.check()
        try:
            async with asyncio.timeout(None) as waiting:
                self._waiting.add(waiting)
                return await receive()
        except TimeoutError:
            self.check()
            raise
        finally:
            self._waiting.discard(waiting)


class Stream:
    """The receiving end of a request that may be without an end.

    Only the time spent waiting for the client counts, so that one the center
    itself holds back is never called slow.
    """

    def __init__(self, stop: Stop, receive: Receive, patience: float) -> None:
        self._stop = stop
        self._receive = receive
        self._window = WINDOW * patience
        self._waited = 0.0
        self._came = 0

    async def __call__(self) -> Message:
        """Receive the next part.

        Raises:
            Overloaded: the process stops.
            WireProblem: 408, bytes come, but no statement ever will.
        """
        clock = asyncio.get_running_loop().time
        begin = clock()
        message = await self._stop.wait(self._receive)
        self._waited += clock() - begin
        self._came += len(message.get("body", b""))
        if self._came >= PROGRESS:
            self._waited, self._came = 0.0, 0
        elif self._waited > self._window:
            raise WireProblem(408, f"under {PROGRESS} bytes in {self._window:g} s")
        return message
