"""Faults of limits: no more descriptors, no more memory."""

import asyncio
import contextlib
import resource
import time
from pathlib import Path

from tests.faults.campaign.kind import kind
from tests.faults.campaign.world import alive


def descriptors(world):
    return len(list(Path(f"/proc/{world.server.pid}/fd").iterdir()))


@kind(
    "no more descriptors",
    holds="what needs one is refused or waits; afterwards all goes on, none is leaked",
    control="leaks descriptors",
)
async def no_descriptors(world):
    await world.start()
    world.load.start()
    await world.flows()
    before = descriptors(world)
    least = before + world.dice.randrange(4)
    pid = world.server.pid
    old = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (least, old[1]))
    streams = []
    for _ in range(60):
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(0.2):
                streams.append(
                    await asyncio.open_connection("127.0.0.1", world.server.port)
                )
    await asyncio.sleep(world.dice.uniform(0.5, 1.5))
    world.injected += len(streams)
    for _, writer in streams:
        writer.transport.abort()
    resource.prlimit(pid, resource.RLIMIT_NOFILE, old)
    await world.flows(100, within=15.0)
    await world.ready()
    until = time.monotonic() + 5
    while descriptors(world) > before + 24:  # the pool of connections may have grown
        if time.monotonic() > until:
            world.fault(f"{descriptors(world)} descriptors, {before} before")
            return
        await asyncio.sleep(0.1)


def address_space(world):
    """Return the server's address space in bytes."""
    for line in Path(f"/proc/{world.server.pid}/status").read_text().splitlines():
        if line.startswith("VmSize:"):
            return int(line.split()[1]) << 10
    raise RuntimeError("the server is gone")


@kind(
    "no more memory",
    holds="what needs memory is refused with 503, or the process ends; nothing is lost",
    control="blurts",
)
async def no_memory(world):
    await world.start()
    world.load.start(clients=12)
    await world.flows()
    pid = world.server.pid
    old = resource.prlimit(pid, resource.RLIMIT_AS)
    room = world.dice.choice([0, 1 << 16, 1 << 18])
    resource.prlimit(pid, resource.RLIMIT_AS, (address_space(world) + room, old[1]))
    await asyncio.sleep(world.dice.uniform(1.0, 2.0))
    world.injected += 1
    if alive(pid):
        resource.prlimit(pid, resource.RLIMIT_AS, old)
    else:  # libraries below Python end the process when an allocation fails
        world.notes["ended"] = True
        await world.kill()
        await world.start()
    await world.flows(100, within=15.0)
    await world.ready()
