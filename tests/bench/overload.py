"""Twice the load that the center can take, for a minute, and reads beside it.

First the capacity is measured: 256 clients that wait for their receipts. Then
requests come at twice that rate whatever becomes of the ones before (open loop), on
connections of which one is always free; times count from the moment at which a
request was due, so a server that stalls is not spared. What was shed is sent again
later. Reads of receipts and of the checkpoint come at a steady rate beside. The
server has one core, the load the other.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path

import uvloop

from tests.bench import center, load
from tests.bench.single import limit

AIM = {"accepted_p99_ms": 1_000, "shed_p99_ms": 100, "read_p99_ms": 250}
FACTOR = 2.0
READS = 50  # a second
CONNECTIONS = 4_000
ROOM = ("CONNECTIONS", "CONNECTIONS_EACH")  # settings
SECONDS = 60


class Connection(asyncio.Protocol):
    """One connection: a request under way, or free."""

    def __init__(self, crowd):
        self.crowd = crowd
        self.buffer = b""
        self.told = None

    def connection_made(self, transport):
        self.transport = transport
        self.crowd.free.append(self)

    def connection_lost(self, exc):
        if self.told is not None:
            self.told(0, b"", b"")
        elif self in self.crowd.free:
            self.crowd.free.remove(self)

    def ask(self, request, told):
        self.told = told
        self.transport.write(request)

    def data_received(self, data):
        buffer = self.buffer = self.buffer + data
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = buffer[:end].lower()
        at = head.index(b"content-length:") + 15
        stop = head.find(b"\r", at)
        size = int(head[at : stop if stop > 0 else None])
        if len(buffer) < end + 4 + size:
            return
        told, self.told, self.buffer = self.told, None, b""
        self.crowd.free.append(self)
        told(int(head[9:12]), head, buffer[end + 4 :])


class Crowd:
    """Everybody who asks, and what became of it."""

    def __init__(self, statements):
        self.free = []
        self.todo = deque(statements)
        self.accepted, self.shed, self.reads = [], [], []
        self.odd = {}
        self.late = []  # how far behind its plan the load itself was
        self.unsent = 0
        self.without_retry = 0
        self.size = 1

    def post(self, due):
        if not self.free or not self.todo:
            self.unsent += 1
            return
        statement = self.todo.popleft()

        def told(status, head, _body):
            seconds = time.perf_counter() - due
            if status == 201:
                self.accepted.append(seconds)
                at = head.find(b"/entries/1.")
                self.size = max(self.size, int(head[at + 11 :].split(b"\r")[0]))
            elif status in (429, 503):
                self.shed.append(seconds)
                self.todo.append(statement)
                self.without_retry += b"retry-after:" not in head
            else:
                self.odd[status] = self.odd.get(status, 0) + 1

        head = b"POST /entries HTTP/1.1\r\nHost: bench.example\r\nContent-Type: application/cose\r\nContent-Length: "
        self.free.pop().ask(head + b"%d\r\n\r\n" % len(statement) + statement, told)

    def read(self, due, number):
        if not self.free:
            self.unsent += 1
            return

        def told(status, _head, _body):
            self.reads.append(time.perf_counter() - due)
            if status != 200:
                name = f"read {status}"
                self.odd[name] = self.odd.get(name, 0) + 1

        path = (
            b"/log/checkpoint"
            if number % 2
            else b"/entries/1.%d" % (number * 7919 % self.size)
        )
        request = b"GET " + path + b" HTTP/1.1\r\nHost: bench.example\r\n\r\n"
        self.free.pop().ask(request, told)


async def storm(port, rate, seconds, statements):
    loop = asyncio.get_running_loop()
    crowd = Crowd(statements)
    for _ in range(CONNECTIONS):
        await loop.create_connection(lambda: Connection(crowd), "127.0.0.1", port)
    begin = time.perf_counter() + 0.5
    posts = reads = 0
    while (now := time.perf_counter() - begin) < seconds:
        while posts < now * rate:
            due = begin + posts / rate
            crowd.late.append(time.perf_counter() - due)
            crowd.post(due)
            posts += 1
            if posts % 64 == 0:
                await asyncio.sleep(0)
        while reads < now * READS:
            crowd.read(begin + reads / READS, reads)
            reads += 1
        await asyncio.sleep(0.001)
    for _ in range(100):  # what is under way
        if len(crowd.free) == CONNECTIONS:
            break
        await asyncio.sleep(0.1)
    return crowd, posts


def quantiles(times):
    times = sorted(times)
    if not times:
        return None
    at = {"p50": 0.5, "p99": 0.99, "p999": 0.999}
    found = {name: times[int(len(times) * q)] * 1e3 for name, q in at.items()}
    return found | {"max": times[-1] * 1e3}


def main():
    port, rate, seconds = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    statements = load.read_statements(sys.stdin.buffer)
    crowd, posts = uvloop.run(storm(port, rate, seconds, statements))
    print(
        json.dumps(
            {
                "offered_per_second": posts / seconds,
                "accepted_per_second": len(crowd.accepted) / seconds,
                "accepted_ms": quantiles(crowd.accepted),
                "shed_ms": quantiles(crowd.shed),
                "shed": len(crowd.shed),
                "shed_without_retry_after": crowd.without_retry,
                "read_ms": quantiles(crowd.reads),
                "reads": len(crowd.reads),
                "odd": crowd.odd,
                "unsent": crowd.unsent,
                "load_late_ms": quantiles(crowd.late),
            }
        )
    )


def client(module, core, arguments, statements):
    out = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        input=b"".join(len(s).to_bytes(4) + s for s in statements),
        stdout=subprocess.PIPE,
        check=True,
        preexec_fn=center.pinned(core),
    )
    return json.loads(out.stdout)


def run(scale: float = 1.0, env=None) -> dict:
    cores = sorted(os.sched_getaffinity(0))
    seconds = max(2, SECONDS * scale)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "center"
        center.make(place)
        verify = limit(cores[0])
        # All of it comes from one address here; elsewhere it would be thousands.
        room = {f"TRACE_NODE_{name}": "8192" for name in ROOM}
        env = {**room, **(env or {})}
        with center.served(place, core=cores[0], env=env) as (port, _, _):
            sample = [center.statement(n, salt="capacity") for n in range(8_000)]
            found = client("tests.bench.load", cores[-1], (port, 256, 1), sample)
            capacity = found["rate"]
            count = int(capacity * seconds * 1.2) + 2 * CONNECTIONS
            statements = (center.statement(n, salt="storm") for n in range(count))
            result = client(
                "tests.bench.overload",
                cores[-1],
                (port, capacity * FACTOR, seconds),
                statements,
            )
    return {
        "verify_per_core": verify,
        "capacity_per_second": capacity,
        "seconds": seconds,
        **result,
        "aim": AIM,
    }


def table(r: dict) -> str:
    def show(name):
        q = r[f"{name}_ms"]
        return "none" if q is None else f"p50 {q['p50']:.0f}, p99 {q['p99']:.0f} ms"

    return (
        f"capacity {r['capacity_per_second']:,.0f}/s; offered "
        f"{r['offered_per_second']:,.0f}/s for {r['seconds']:.0f} s\n"
        f"accepted {r['accepted_per_second']:,.0f}/s, {show('accepted')}\n"
        f"shed {r['shed']:,} ({r['shed_without_retry_after']} without Retry-After), "
        f"{show('shed')}\n"
        f"reads {show('read')}; other answers {r['odd']}; unsent {r['unsent']}; "
        f"the load itself late p99 {r['load_late_ms']['p99']:.1f} ms"
    )


if __name__ == "__main__":
    main()
