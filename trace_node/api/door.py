"""The door: connections are accepted, counted, and shake hands.

The server library would shake hands itself, before anybody here knows of the
connection: it could be neither counted nor asked to yield, and a certificate could
not change while the socket is open. It would also take in all that wait at once;
where workers share a socket, few at a time spread better.
"""

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable

from trace_node.api.lobby import Lobby
from trace_node.api.tls import Tls
from trace_node.api.wire import Wire

LOGGER = logging.getLogger("trace_node")
BATCH = 4  # connections taken in before other work has its turn
BACKLOG = 2_048
SHORT_OF = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
PAUSE = 0.2  # seconds without accepting when the system is short of something
TURN = 0.002  # seconds after a batch in which other workers may take the next


class Knock:
    """A connection that shakes hands; one more guest of the lobby."""

    def __init__(self, accepted: socket.socket) -> None:
        self.accepted = accepted
        self.task: asyncio.Task[None] | None = None

    def yield_room(self) -> None:
        """Give up the handshake."""
        if self.task is not None:
            self.task.cancel()


class Door:
    """Accepts connections on a socket."""

    def __init__(
        self,
        listener: socket.socket,
        make: Callable[[], Wire],
        lobby: Lobby,
        tls: Tls | None,
        patience: float,
        *,
        shared: bool = False,
    ) -> None:
        """Prepare to accept.

        Args:
            listener: listens.
            make: makes the protocol of a connection.
            lobby: counts those that shake hands; the others enter by themselves.
            tls: the certificate; None for plain HTTP.
            patience: seconds that a handshake may take.
            shared: other processes accept on the same socket; without a turn for
                each, whoever wakes first takes all of a burst.
        """
        self._listener = listener
        self._make = make
        self._lobby = lobby
        self._tls = tls
        self._patience = patience
        self._shared = shared
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = False
        listener.setblocking(False)

    def open(self) -> None:
        """Begin to accept."""
        self._open = True
        self._loop.add_reader(self._listener, self._accept, BATCH)

    async def close(self) -> None:
        """Accept no more; who has connected already is taken in.

        Whoever is in the socket's queue may have sent a request; closing the socket
        would reset him. What connects between the last look and the close, which is
        microseconds, is reset.
        """
        self._open = False
        self._loop.remove_reader(self._listener)
        self._accept(BACKLOG)  # no more were there when the door closed
        self._listener.close()
        if self._tls is None and self._tasks:
            await asyncio.wait(self._tasks)  # they become connections at once

    def _accept(self, most: int) -> None:
        taken = 0
        for _ in range(most):
            try:
                accepted, address = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                break
            except ConnectionAbortedError:
                continue
            except OSError as error:
                self._rest(error)
                return
            taken += 1
            self._take_in(accepted, address[0])
        if self._shared and taken:
            self._pause(TURN)

    def _rest(self, error: OSError) -> None:
        # Readiness would be told again and again, and nothing be gained by it.
        LOGGER.warning("no connection is accepted for a moment: %s", error.strerror)
        if error.errno in SHORT_OF:
            self._pause(PAUSE)

    def _pause(self, seconds: float) -> None:
        if self._open:
            self._loop.remove_reader(self._listener)
            self._loop.call_later(seconds, self._go_on)

    def _go_on(self) -> None:
        if self._open:
            self.open()

    def _take_in(self, accepted: socket.socket, address: str) -> None:
        accepted.setblocking(False)
        knock = Knock(accepted)
        if self._tls is not None and not self._lobby.enter(knock, address):
            accepted.close()
            return
        task = knock.task = self._loop.create_task(self._shake(knock))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _shake(self, knock: Knock) -> None:
        given: dict[str, object] = {}
        if self._tls is not None:
            given = {
                "ssl": self._tls.context,
                "ssl_handshake_timeout": self._patience,
                "ssl_shutdown_timeout": self._patience,
            }

        def make() -> Wire:
            wire = self._make()
            wire.before = knock
            return wire

        try:
            await self._loop.connect_accepted_socket(make, knock.accepted, **given)  # type: ignore[arg-type]
        except (OSError, ssl.SSLError) as error:
            # Strangers knock; only who looks for it wants to read of it.
            LOGGER.debug("no handshake: %s", error)
        except asyncio.CancelledError:
            knock.accepted.close()
            raise
        finally:
            self._lobby.leave(knock)
