"""``trace-node`` broken on purpose: what the tests of serving are there to catch.

Run as ``broken_server.py NAME ARGUMENTS…``.
"""

import sys

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from trace_node.api.door import Door
from trace_node.api.lobby import Lobby
from trace_node.api.stopping import Stop
from trace_node.api.wire import Wire
from trace_node.cli import run


def hasty():
    """Stops as the server library does: idle connections and the queue are cut."""

    async def close(self):
        self._open = False
        self._loop.remove_reader(self._listener)
        self._listener.close()

    Door.close = close
    Wire.shutdown = HttpToolsProtocol.shutdown


def endless():
    """Does not tell streams that the process stops."""
    Stop.check = lambda self: None
    Stop.set = lambda self: setattr(self, "_set", True)


def hasty_gate():
    """Lets the time for a head run on while it turns heads away."""
    turned = Wire._turned_away

    def away(self, cycle):
        stop, self._stop_head_timer = self._stop_head_timer, lambda: None
        try:
            return turned(self, cycle)
        finally:
            self._stop_head_timer = stop

    Wire._turned_away = away


def patient():
    """Asks nobody to yield."""
    Lobby._make_room = lambda self, idle: False


if __name__ == "__main__":
    globals()[sys.argv[1]]()
    sys.exit(run(sys.argv[2:]))
