"""One serving process: its socket, its signals, and how it ends.

How it ends, on SIGTERM or SIGINT:

1. the socket is closed; a client that connects from now on is refused there, one
   that connected a moment ago is still served;
2. what runs is answered, every answer says that its connection closes, streams end
   at a statement, ``/health/ready`` says 503;
3. when the last connection is gone, or after most of the grace time, the line of
   statements is worked off, the last head is published, files are closed;
4. the process ends with 0. When all that takes longer than the grace time it ends
   with 1, as after a kill: nothing acknowledged is lost by that either.

A second signal is the end at once, unless a parent watches: then it decides.
"""

import asyncio
import logging
import os
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from types import FrameType

import uvicorn

from trace_node.api import heap
from trace_node.api.app import create_app
from trace_node.api.door import BACKLOG, Door
from trace_node.api.figures import Figures
from trace_node.api.lobby import Lobby
from trace_node.api.stopping import Stop
from trace_node.api.tls import Tls
from trace_node.api.wire import Wire, wire
from trace_node.config import Settings
from trace_node.errors import Misuse
from trace_node.node import Node

LOGGER = logging.getLogger("trace_node")
KEEP_ALIVE = 30  # seconds between two requests of a connection
SPARE_FILES = 256  # that are no connections: databases, tiles, the log
CUT_SHORT = 1  # exit code of an end that took too long, or was made at once


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        Misuse: the address cannot be listened on.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise Misuse(f"cannot listen on {host}:{port}: {error.strerror}") from None
    return listener


def load_tls(folder: Path, settings: Settings) -> Tls | None:
    """Return the certificate that the settings name; None for plain HTTP.

    Raises:
        Misuse: it does not hold, or only half of it is named.
    """
    cert, key = settings.tls_cert, settings.tls_key
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise Misuse("tls_cert and tls_key belong together: give both or neither")
    return Tls(folder / cert, folder / key)


def room(settings: Settings) -> int:
    """Return how many connections there may be; asks the system for the files.

    Raises:
        Misuse: the system gives too few for any.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = settings.connections + SPARE_FILES
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    most = wanted - SPARE_FILES
    if most < 1:
        raise Misuse(f"the system allows {hard} open files: over {SPARE_FILES} needed")
    if most < settings.connections:
        LOGGER.warning("the system's limit of open files leaves %d connections", most)
    return most


class Server(uvicorn.Server):
    """Serves a node on a socket until told to stop."""

    def __init__(
        self,
        node: Node,
        tls: Tls | None,
        *,
        figures: Figures | None = None,
        watched: bool = False,
        started: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare to serve.

        Args:
            node: answers; started and stopped here.
            tls: the certificate; None for plain HTTP.
            figures: shared with other workers, where there are any.
            watched: a parent process sends the signals, and kills if it must.
            started: called when requests are answered.
        """
        settings = node.settings
        self._figures = figures or Figures(node, Stop())
        self._stop = self._figures.stop
        self._tls = tls
        self._watched = watched
        self._tell_started = started
        self._grace = settings.stop_seconds
        reserve = min(2.0, self._grace / 3)  # for the line and the last head
        self._lobby = Lobby(room(settings), settings.connections_each, self._figures)
        app = create_app(node, self._figures)
        self._wire = wire(
            settings.body_seconds,
            linger=min(1.0, self._grace / 4),
            lobby=self._lobby,
            stop=self._stop,
            gate=app.gate,
        )
        self._listener: socket.socket | None = None
        self._door: Door | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: Timer | None = None
        super().__init__(
            uvicorn.Config(
                app,
                http=self._wire,
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=KEEP_ALIVE,
                timeout_graceful_shutdown=self._grace - reserve,  # type: ignore[arg-type]
                h11_max_incomplete_event_size=64 << 10,
            )
        )

    def serve_on(self, listener: socket.socket) -> None:
        """Serve until told to stop.

        Raises:
            SystemExit: it did not start; the log says why.
        """
        self._listener = listener
        self.run(sockets=[])  # the door is ours

    def _make(self) -> Wire:
        return self._wire(
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the node, then open the door."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        if not self.started or self._listener is None:
            return
        self._door = Door(
            self._listener,
            self._make,
            self._lobby,
            self._tls,
            self._wire.patience,
            shared=self._watched,
        )
        heap.settle()
        self._door.open()
        self._tell_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the door, answer what runs, end the node."""
        self._stop.set()
        if self._door is not None:
            await self._door.close()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on SIGTERM and SIGINT, renew the certificate on SIGHUP.

        Unlike the library's, this does not raise the signal again at the end: a
        graceful stop has exit code 0.
        """
        ends = {signal.SIGTERM: self.handle_exit, signal.SIGINT: self.handle_exit}
        if self._watched:
            ends[signal.SIGINT] = lambda *_: None  # a Ctrl-C reaches the parent, too
        handlers = {**ends, signal.SIGHUP: self._renew}
        before = {sig: signal.signal(sig, told) for sig, told in handlers.items()}
        try:
            yield
        finally:
            if self._end is not None:
                self._end.cancel()
            for sig, handler in before.items():
                signal.signal(sig, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop; the second time, end."""
        del frame
        if self.should_exit:
            if not self._watched:
                self._end_now("a second signal")
            return
        self.should_exit = True
        LOGGER.info("%s: stopping", signal.Signals(sig).name, extra={"event": "stop"})
        self._end = Timer(self._grace, self._end_now, ["the grace time is over"])
        self._end.daemon = True
        self._end.start()
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)

    def _end_now(self, why: str) -> None:
        LOGGER.error("ends at once: %s", why, extra={"event": "stop"})
        os._exit(CUT_SHORT)

    def _renew(self, sig: int, frame: FrameType | None) -> None:
        del sig, frame
        if self._tls is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(self._tls.renew)
