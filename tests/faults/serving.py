"""Server processes to kill, and clients that remember what was acknowledged."""

import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from hashlib import sha256

from tests.faults import story
from trace_node.trust.keys import ES256, ESP256
from trace_node.trust.statement import decode_statement

ROOT = story.Path(__file__).resolve().parents[2]


class Server:
    """A real process; ``zygote`` forks it, or the command line starts it."""

    def __init__(self, folder, zygote=None, **options):
        """Start it; ``options`` are for the zygote's child (zygote.py)."""
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.process = None
        if zygote is not None:
            self.pid = zygote.start(folder, self.port, **options)
        else:
            command = [sys.executable, "-m", "trace_node", "serve", str(folder)]
            with (folder / "serve.log").open("ab") as log:
                self.process = subprocess.Popen(
                    [*command, "--port", str(self.port)],
                    stdout=subprocess.DEVNULL,
                    stderr=log,
                    cwd=ROOT,
                )
            self.pid = self.process.pid
        self._wait()

    def _wait(self):
        url = f"http://127.0.0.1:{self.port}/health/ready"
        until = time.monotonic() + 30
        while True:
            try:
                with urllib.request.urlopen(url, timeout=5):
                    return
            except OSError:
                if time.monotonic() > until:
                    raise RuntimeError(
                        (self.folder / "serve.log").read_text()
                    ) from None
                time.sleep(0.01)

    def signal(self, number):
        os.kill(self.pid, number)

    def kill(self):
        """Kill -9 and wait until the process is gone."""
        with contextlib.suppress(ProcessLookupError):
            self.signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()
        while True:  # whoever started it reaps it
            try:
                os.kill(self.pid, 0)
            except ProcessLookupError:
                return
            time.sleep(0.002)


class Zygote:
    """The process that forks servers; ``broken`` names a build to be caught."""

    def __init__(self, broken=""):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.zygote", broken],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self.last = None

    def start(self, folder, port, **options):
        self.process.stdin.write(f"{folder}\t{port}\t{json.dumps(options)}\n")
        self.process.stdin.flush()
        self.last = int(self.process.stdout.readline())
        return self.last

    def kill_last(self):
        """Kill the server that was started last, however far it has come."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.last, signal.SIGKILL)

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


SIGNERS = [story.signer(0), story.signer(1, "P-256")]


def add_parties(node):
    """What the clients need before they may register."""
    for by in SIGNERS:
        did = story.did_key(by.public)
        node.say("party", story.party_body(did))
        node.say("key", story.add_body(did, by.public))


class Work:
    """Endless statements: new ones, known ones, twins, and those never answered."""

    def __init__(self, seed):
        self.dice = random.Random(seed)
        self.seed = seed
        self.number = 0
        self.sent = []
        self.unanswered = {}
        self.acks = []  # (identity, index, receipt), outside the server's world
        self.statuses = {}
        self.size = 0  # of the log when it was looked at last

    def next(self):
        """Return (identity, statement)."""
        chance = self.dice.random()
        if self.sent and chance < 0.1:
            raw = self.dice.choice(self.sent)
            return self._say(twin_of(raw) if self.dice.random() < 0.5 else raw)
        if self.unanswered and chance < 0.2:
            return self._say(self.dice.choice(list(self.unanswered.values())))
        return self._say(self.make())

    def make(self):
        self.number += 1
        by = SIGNERS[self.number % 4 == 0]
        digest = sha256(b"%d %d" % (self.seed, self.number)).digest()
        media = story.MANIFEST_MEDIA if self.number % 13 == 0 else story.RECORD_MEDIA
        raw = story.sign_statement(
            by,
            iss=story.did_key(by.public),
            aud=story.ORIGIN,
            media=media,
            payload=digest,
        )
        self.sent.append(raw)
        return raw

    def _say(self, raw):
        identity = story.identity_of(raw)
        self.unanswered.setdefault(identity, raw)
        return identity, raw

    def answered(self, identity, status, index, body):
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if status == 201:
            self.acks.append((identity, index, body))
            self.unanswered.pop(identity, None)


def twin_of(raw):
    """Return the other ECDSA signature's statement; Ed25519 has none."""
    return story.twin(raw) if decode_statement(raw).alg in {ESP256, ES256} else raw


class Client(asyncio.Protocol):
    """One keep-alive connection in a closed loop; ends when the server does."""

    def __init__(self, work, done, pick=None):
        self.work, self.done = work, done
        self.pick = pick or work.next
        self.buffer = b""
        self.stopping = False

    def connection_made(self, transport):
        self.transport = transport
        self.send()

    def send(self):
        if self.stopping:
            self.transport.close()
            return
        self.identity, body = self.pick()
        self.transport.write(
            b"POST /entries HTTP/1.1\r\nHost: x\r\nContent-Type: application/cose\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body) + body
        )

    def data_received(self, data):
        self.buffer += data
        head, found, body = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        lines = dict(
            line.lower().split(b": ", 1)
            for line in head.split(b"\r\n")[1:]
            if b": " in line
        )
        length = int(lines[b"content-length"])
        if len(body) < length:
            return
        status = int(head[9:12])
        place = lines.get(b"location", b".-1").rpartition(b".")[2]
        self.buffer = b""
        self.work.answered(self.identity, status, int(place), body[:length])
        self.send()

    def connection_lost(self, error):
        self.done(self)


async def load(port, work, *, clients=6, pick=None):
    """Start clients; return (clients, all ended)."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    living = set()

    def done(client):
        living.discard(client)
        if not living:
            ended.set()

    for _ in range(clients):
        _, client = await loop.create_connection(
            lambda: Client(work, done, pick), "127.0.0.1", port
        )
        living.add(client)
    return living, ended


def run_until_killed(server, work, seconds):
    """Load the server, kill it after ``seconds``, return when all is over."""

    async def run():
        _, ended = await load(server.port, work)
        await asyncio.sleep(seconds)
        server.signal(signal.SIGKILL)
        await asyncio.wait_for(ended.wait(), 30)

    asyncio.run(run())
    server.kill()
