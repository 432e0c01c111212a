"""Faults of clients: slow, silent, gone, and too many at once."""

import asyncio
import contextlib
import socket
import struct
import time
from pathlib import Path

from tests.faults.campaign.kind import kind
from tests.faults.campaign.wire import Caller, Gone
from tests.faults.campaign.world import ENVIRONMENT

IMPATIENT = ENVIRONMENT | {"TRACE_NODE_BODY_SECONDS": "0.5"}
HEAD = b"POST /entries HTTP/1.1\r\nHost: x\r\nContent-Type: application/cose\r\n"


def sockets(world):
    """Return how many sockets the server holds."""
    count = 0
    for path in Path(f"/proc/{world.server.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            count += str(path.readlink()).startswith("socket:")
    return count


async def let_go(world, most, within):
    """Demand that the server holds no more than ``most`` sockets again."""
    until = time.monotonic() + within
    while (held := sockets(world)) > most:
        if time.monotonic() > until:
            world.fault(f"it still holds {held} sockets, {most} would be right")
            return
        await asyncio.sleep(0.1)


@kind(
    "slow clients",
    holds="a client that trickles or does not read is let go; others are served",
    control="endless patience",
)
async def slow(world):
    await world.start(environment=IMPATIENT)
    world.load.start()
    await world.flows()
    before = sockets(world)
    tasks = [asyncio.create_task(trickle(world, n % 3)) for n in range(30)]
    await asyncio.sleep(0.3)
    world.injected += sockets(world) - before
    world.load.slowest_live = 0.0
    await world.flows(50)
    await let_go(world, before + 2, within=8.0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def trickle(world, how):
    """Send a head by bytes, a body never, or requests without reading."""
    with contextlib.suppress(OSError):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", world.server.port, limit=1024
        )
        try:
            if how == 0:
                for byte in HEAD * 100:
                    writer.write(bytes([byte]))
                    await writer.drain()
                    await asyncio.sleep(0.2)
            elif how == 1:
                writer.write(HEAD + b"Content-Length: 1000\r\n\r\nx")
                await asyncio.sleep(60)
            else:
                reader.feed_data(b"")
                writer.transport.pause_reading()
                for _ in range(4_000):
                    writer.write(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n")
                    await writer.drain()
                await asyncio.sleep(60)
        finally:
            writer.transport.abort()


@kind(
    "half-open connections",
    holds="connections reset or abandoned in the middle leave nothing behind",
    control="endless patience",
)
async def half_open(world):
    await world.start(environment=IMPATIENT)
    world.load.start()
    await world.flows()
    before = sockets(world)
    silent = []
    for number in range(150):
        raw = world.memory.next()[1]
        opened = socket.create_connection(("127.0.0.1", world.server.port))
        whole = HEAD + b"Content-Length: %d\r\n\r\n" % len(raw) + raw
        opened.send(whole[: world.dice.randrange(1, len(whole) + 1)])
        if number % 3 == 0:
            silent.append(opened)  # it never says another word
            continue
        if number % 3 == 1:  # reset instead of closed
            linger = struct.pack("ii", 1, 0)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        opened.close()
        world.injected += 1
        if number % 10 == 0:
            await asyncio.sleep(0)
    await world.flows(50)
    await let_go(world, before + 2, within=8.0)
    for opened in silent:
        opened.close()


@kind(
    "connection storm",
    holds="each of 400 connections at once gets its own receipt or a 503",
    control="crossed answers",
)
async def storm(world):
    await world.start()
    world.load.start()
    await world.flows()
    results = await asyncio.gather(*[one_shot(world) for _ in range(400)])
    world.injected += len(results)
    world.notes["taken"] = results.count(201)
    if None in results:
        world.fault(f"{results.count(None)} of 400 connections got no answer")
    await world.flows()


async def one_shot(world):
    """Register one statement on a connection of its own; return the status."""
    caller = Caller(world.port)
    identity, raw = world.memory._say(world.memory.make())
    try:
        await world.load._register(caller, identity, raw)
    except (Gone, TimeoutError):
        return None
    finally:
        caller.close()
    return 201 if identity not in world.memory.unanswered else 503
