"""The wire below the application: how long and how much it waits for.

The server library waits for ever for a request's head, for a client that reads
no answer, and for the rest of a body that was already answered; and it takes a
head of any size, and connections without number. Each of them is a way to hold
connections and memory for nothing, so each has an end here.

When the process stops, a connection between two requests is not closed at once:
the client may be sending the next one this moment, and would never know whether
it was read. For a short while it may; the answer says that the connection closes.
"""

import asyncio
import sys
from typing import Any

from trace_node.api.gate import Gate
from trace_node.api.lobby import Guest, Lobby
from trace_node.api.problems import WireProblem, render
from trace_node.api.stopping import Stop
from trace_node.errors import Overloaded, TraceNodeError

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
    linger = 1.0  # seconds for a last request when the process stops
    lobby: Lobby | None = None  # who counts connections
    stop: Stop | None = None  # who knows whether the process stops
    gate: Gate | None = None  # who turns writes away

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.before: Guest | None = None  # the handshake that led here
        self._head_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None
        self._in_head = False
        self._head_size = 0
        self._served: Any = None  # the request being served; others wait behind

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to wait for the first request."""
        super().connection_made(transport)
        if not self._enter():
            self._refuse(Overloaded("too many connections are open"))
            return
        self._watch()
        if self._stopping():  # it came at the last moment
            self.shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers."""
        if self.lobby is not None:
            self.lobby.leave(self)
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
                self._refuse(_wrong(431, f"a head is at most {HEAD_LIMIT} bytes"))
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
        caught = sys.exception()
        if caught is not None and isinstance(caught.__context__, MemoryError):
            # The parser calls whatever fails in it bad HTTP. This is not the
            # client's mistake, and there is no memory to say so.
            self.transport.abort()
            return
        self._refuse(_wrong(400, msg))

    def on_response_complete(self) -> None:
        """Wait for the next request, if it is not there yet."""
        super().on_response_complete()
        if self.lobby is not None and _answered(self.cycle):
            self.lobby.idle(self)

    def yield_room(self) -> None:
        """Close: another connection needs the room, and this one serves nothing."""
        self.transport.close()

    def shutdown(self) -> None:
        """Let the request under way, or one last one, be answered."""
        if _answered(self.cycle):
            self.loop.call_later(self.linger, self._end_idle)
        else:
            super().shutdown()

    def _enter(self) -> bool:
        if self.lobby is None:
            return True
        if self.before is not None:
            self.lobby.leave(self.before)
        return self.lobby.enter(self, self.client[0] if self.client else "")

    def _stopping(self) -> bool:
        return self.stop is not None and self.stop.is_set()

    def _end_idle(self) -> None:
        if _answered(self.cycle) and not self.transport.is_closing():
            self.transport.close()

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

    def _refuse(self, error: TraceNodeError) -> None:
        # Inside or before another answer it would be taken for that one.
        if _answered(self.cycle) or _unanswered(self.cycle):
            status, headers, body = render(error, "")
            headers |= {"content-length": str(len(body)), "connection": "close"}
            lines = [f"HTTP/1.1 {status} {error.type}"]
            lines += [f"{name}: {value}" for name, value in headers.items()]
            self.transport.write("\r\n".join([*lines, "", ""]).encode() + body)
        self.transport.close()
        self._let_go()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._served = cycle
        if self._stopping():
            cycle.keep_alive = False
        if self.gate is not None and self._turned_away(cycle):
            return
        if self.lobby is not None:
            self.lobby.busy(self)
        super()._start_asgi_task(cycle, app)

    def _turned_away(self, cycle: Any) -> bool:
        scope, close = cycle.scope, not cycle.keep_alive
        answer = self.gate and self.gate.refusal(
            scope["method"], scope["path"], close=close
        )
        if not answer:
            return False
        cycle.response_started = cycle.response_complete = True
        self._stop_head_timer()  # a head came; what comes next has its own time
        self.transport.write(answer)
        if close:
            self.transport.close()
        self.on_response_complete()
        return True

    def _let_go(self) -> None:
        # The library tells only the request that came last.
        if self._served is not None and not self._served.response_complete:
            self._served.disconnected = True
            self._served.message_event.set()


def wire(
    patience: float,
    *,
    linger: float = 1.0,
    lobby: Lobby | None = None,
    stop: Stop | None = None,
    gate: Gate | None = None,
) -> type[Wire]:
    """Return the protocol of a server.

    Args:
        patience: seconds that it waits.
        linger: seconds for a last request when the process stops.
        lobby: counts its connections.
        stop: knows whether the process stops.
        gate: turns writes away.
    """
    members = {
        "patience": patience,
        "linger": linger,
        "lobby": lobby,
        "stop": stop,
        "gate": gate,
    }
    return type("Wire", (Wire,), members)


def _wrong(status: int, detail: str) -> WireProblem:
    return WireProblem(status, detail, where="request")


def _answered(cycle: Any) -> bool:
    """Say whether no request is being served."""
    return cycle is None or bool(cycle.response_complete)


def _unanswered(cycle: Any) -> bool:
    """Say whether the bad bytes are of this request's body and no answer began."""
    return bool(cycle.more_body) and not cycle.response_started
