"""A server in a thread, for the demonstration: the same application and sockets."""

import socket
import time
from threading import Thread
from types import TracebackType
from typing import Self

import uvicorn

from trace_node.api.app import create_app
from trace_node.errors import Misuse
from trace_node.node import Node

STARTING = 30.0  # seconds


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 takes a free one.

    Raises:
        Misuse: the address is taken.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except (OSError, OverflowError) as error:
        listener.close()
        raise Misuse(f"cannot listen on {host}:{port}: {error}") from None
    return listener


class Server:
    """Serves a node while the block runs; the node is closed behind it."""

    def __init__(self, made: Node, listener: socket.socket) -> None:
        """Prepare to serve ``made`` on ``listener``."""
        self._server = uvicorn.Server(
            uvicorn.Config(
                create_app(made),
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=5,
            )
        )
        self._thread = Thread(
            target=self._server.run, args=([listener],), name="server", daemon=True
        )

    def __enter__(self) -> Self:
        """Return when requests are answered.

        Raises:
            Misuse: the server does not start.
        """
        self._thread.start()
        end = time.monotonic() + STARTING
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > end:
                raise Misuse("the server did not start")
            time.sleep(0.01)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Answer what is being answered, then close everything."""
        self._server.should_exit = True
        self._thread.join()
