"""One round's world: a center in a folder, servers on it, load, and the verdicts."""

import asyncio
import contextlib
import shutil
import signal
import time
import urllib.error
import urllib.request
from pathlib import Path

from tests.faults import story
from tests.faults.campaign.load import Load, Memory, read_all
from tests.faults.campaign.past import PAST, new_center
from tests.faults.serving import Server

# The disk of a round is small: the watermark that keeps a real one free is tested
# elsewhere, here the disk itself must be met.
ENVIRONMENT = {"TRACE_NODE_FREE_BYTES": "0"}
STARTING = 25.0  # seconds until a server answers, or has ended


class Process(Server):
    """A server that may refuse to start: ``up`` says whether it answers."""

    up = False

    def _wait(self):
        url = f"http://127.0.0.1:{self.port}/health/live"
        until = time.monotonic() + STARTING
        while time.monotonic() < until and alive(self.pid, self.process):
            with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
                self.up = True
                return
            time.sleep(0.01)


def alive(pid, process=None):
    if process is not None and process.poll() is not None:
        return False
    try:
        return (
            Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        )
    except (FileNotFoundError, ProcessLookupError):
        return False


class World:
    """What a kind of fault gets to work with.

    Attributes:
        dice: all of the round's chance comes from here.
        folder: the center; a kind may move it to a disk of its own.
        place: the round's own directory, for images, mounts and copies.
        memory: what clients sent and were told; outside the fault's reach.
        notes: figures of the round for its line of the scorecard.
    """

    def __init__(self, place, seed, dice, zygote, build):
        self.place, self.dice, self.zygote, self.build = place, dice, zygote, build
        self.folder = place / "center"
        self.servers = []
        self.faults = []
        self.notes = {}
        self.injected = 0
        self._closing = contextlib.ExitStack()
        self._seed = seed
        self.load = None
        self.before = None  # the center before it is damaged, for some kinds

    @property
    def server(self):
        return self.servers[-1] if self.servers else None

    @property
    def memory(self):
        return self.load.memory

    def settle(self, folder=None):
        """Put a center with a past into the folder."""
        self.folder = folder or self.folder
        new_center(self.folder)
        self.load = Load(self._port, Memory(self._seed, PAST), PAST.vkey)

    def port(self):
        """Return where clients connect now; a kind may choose otherwise."""
        return self.server.port if self.server and self.server.up else None

    def _port(self):
        return self.port()

    async def start(self, *, must=True, **options):
        """Start a server; a fault if it ``must`` come up and does not."""
        if self.load is None:
            self.settle()
        given = {"environment": ENVIRONMENT, "build": self.build, **options}
        server = await asyncio.to_thread(Process, self.folder, self.zygote, **given)
        self.servers.append(server)
        if must and not server.up:
            self.fault(f"the server does not start: {self.journal()[-300:]}")
        return server

    def fault(self, text):
        self.faults.append(text)

    def journal(self):
        path = self.folder / "serve.log"
        return path.read_text(errors="replace") if path.exists() else ""

    async def flows(self, count=20, within=10.0):
        """Demand that statements are acknowledged again."""
        if not await self.load.acks(count, within):
            self.fault(f"fewer than {count} acknowledged within {within:g} s")

    async def ready(self, within=15.0):
        """Demand that the center says it takes writes."""
        until = time.monotonic() + within
        while time.monotonic() < until:
            if await asyncio.to_thread(self.problem) == "":
                return
            await asyncio.sleep(0.1)
        self.fault(f"not ready within {within:g} s: {self.problem()}")

    def problem(self):
        """Return why the server is not ready, "" if it is."""
        url = f"http://127.0.0.1:{self.server.port}/health/ready"
        try:
            with urllib.request.urlopen(url, timeout=10):
                return ""
        except urllib.error.HTTPError as error:
            with error:
                return error.read().decode(errors="replace")
        except OSError as error:
            return f"no answer: {error}"

    def signal(self, number):
        with contextlib.suppress(ProcessLookupError):
            self.server.signal(number)

    async def kill(self):
        """Kill -9 every server."""
        for server in self.servers:
            await asyncio.to_thread(server.kill)
            server.up = False

    async def terminate(self, within=20.0):
        """SIGTERM, and wait for the end; a fault when it does not come."""
        server, until = self.server, time.monotonic() + within
        self.signal(signal.SIGTERM)
        while alive(server.pid, server.process):
            if time.monotonic() > until:
                self.fault(f"SIGTERM was not obeyed within {within:g} s")
                break
            await asyncio.sleep(0.01)
        await self.kill()

    async def read_all(self):
        """Read everything once, without other load; what is wrong becomes a fault."""
        await self.load.stop()
        if self.server.up:
            await read_all(self.load, self._port)

    def on_exit(self, undo, *arguments):
        """Undo something when the round ends, the last first."""
        self._closing.callback(undo, *arguments)

    def copy(self, name):
        """Copy the center as it lies there; return where."""
        target = self.place / name
        shutil.rmtree(target, ignore_errors=True)
        story.copy_center(self.folder, target)
        return target

    async def close(self):
        """End what the round began, whatever became of it."""
        try:
            if self.load is not None:
                await self.load.stop()
        finally:
            for server in self.servers:
                with contextlib.suppress(ProcessLookupError):
                    server.signal(signal.SIGCONT)
            await self.kill()
            self._closing.close()
