"""The wire below the application: how long and how much it waits for.

The server library waits for ever for a request's head, for a client that reads
no answer, and for the rest of a body that was already answered; and it takes a
head of any size. Each of them is a way to hold connections and memory for
nothing, so each has an end here.
"""

import asyncio
from typing import Any

from trace_node.api.problems import WireProblem, render

try:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol as _Protocol
except ImportError:  # no httptools on this platform
    from uvicorn.protocols.http.h11_impl import (  # type: ignore[assignment]
        H11Protocol as _Protocol,
    )

HEAD_LIMIT = 64 << 10  # bytes of a head that has no end yet
STALL = 4  # times the patience: a client that neither reads nor sends


class Wire(_Protocol):
    """An HTTP/1.1 connection that does not wait for ever."""

    patience = 15.0  # seconds for a request's head, all of it

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._head_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None
        self._in_head = False
        self._head_size = 0
        self._served: Any = None  # the request being served; others wait behind

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to wait for the first request."""
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers."""
        self._stop_head_timer()
        self._stop_stall_timer()
        self._let_go()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take in bytes; those of a head are counted."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self._stall_timer is not None:  # it does not read, but it still sends
            self._stop_stall_timer()
            self._start_stall_timer()
        if self._in_head:
            self._head_size += len(data)
            if self._head_size > HEAD_LIMIT:
                self._refuse(431, f"a head is at most {HEAD_LIMIT} bytes")
                return
        self._watch()

    def pause_writing(self) -> None:
        """The client reads too slowly for our answer: give it some time."""
        super().pause_writing()
        if self._stall_timer is None:
            self._start_stall_timer()

    def resume_writing(self) -> None:
        """It reads on."""
        super().resume_writing()
        self._stop_stall_timer()

    def on_message_begin(self) -> None:
        """A head begins."""
        self._in_head, self._head_size = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """It ends."""
        self._in_head = False
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that are no HTTP, in the form of all our problems."""
        self._refuse(400, msg)

    def _unsupported_upgrade_warning(self) -> None:
        """Serve it as if it had not asked; a stranger must not fill the journal."""

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _start_stall_timer(self) -> None:
        self._stall_timer = self.loop.call_later(
            STALL * self.patience, self.transport.abort
        )

    def _stop_stall_timer(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def _watch(self) -> None:
        # Between an answer and the next request whatever comes is a head, or the
        # rest of a body that nobody reads any more.
        if not _answered(self.cycle):
            self._stop_head_timer()
        elif self._head_timer is None and not self.transport.is_closing():
            self._head_timer = self.loop.call_later(self.patience, self._too_slow)

    def _too_slow(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self.transport.close()

    def _refuse(self, status: int, detail: str) -> None:
        # Inside or before another answer it would be taken for that one.
        if _answered(self.cycle) or _unanswered(self.cycle):
            problem = WireProblem(status, detail, where="request")
            status, headers, body = render(problem, "")
            headers |= {"content-length": str(len(body)), "connection": "close"}
            lines = [f"HTTP/1.1 {status} {problem.type}"]
            lines += [f"{name}: {value}" for name, value in headers.items()]
            self.transport.write("\r\n".join([*lines, "", ""]).encode() + body)
        self.transport.close()
        self._let_go()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._served = cycle
        super()._start_asgi_task(cycle, app)

    def _let_go(self) -> None:
        # The library tells only the request that came last.
        if self._served is not None and not self._served.response_complete:
            self._served.disconnected = True
            self._served.message_event.set()


def wire(patience: float) -> type[Wire]:
    """Return the protocol of a server that waits ``patience`` seconds."""
    return type("Wire", (Wire,), {"patience": patience})


def _answered(cycle: Any) -> bool:
    """Say whether no request is being served."""
    return cycle is None or bool(cycle.response_complete)


def _unanswered(cycle: Any) -> bool:
    """Say whether the bad bytes are of this request's body and no answer began."""
    return bool(cycle.more_body) and not cycle.response_started
