"""Faults of processes: killed, stopped, ended, doubled."""

import asyncio
import signal

from tests.faults.campaign.kind import kind


@kind(
    "kill -9",
    holds="nothing acknowledged is lost; the next start takes writes",
    control="late commit",
)
async def kill(world):
    await world.start()
    world.load.start()
    for _ in range(3):
        await asyncio.sleep(world.dice.uniform(0.05, 0.6))
        await world.kill()
        world.injected += 1
        await world.start()
    await world.flows()


@kind(
    "pause",
    holds="a stopped server goes on where it was within 5 s; nothing is lost",
    control="gives up",
)
async def pause(world):
    await world.start()
    world.load.start()
    await world.flows()
    for _ in range(2):
        world.signal(signal.SIGSTOP)
        await asyncio.sleep(world.dice.uniform(0.3, 1.5))
        world.signal(signal.SIGCONT)
        world.injected += 1
        await world.flows(20, within=5.0)


@kind(
    "SIGTERM in a storm",
    holds="it ends within 20 s; what it acknowledged stands",
    control="late commit",
)
async def sigterm(world):
    await world.start()
    world.load.start(clients=40)
    await asyncio.sleep(world.dice.uniform(0.2, 0.8))
    await world.terminate()
    world.injected += 1
    await world.start()
    await world.flows()


@kind(
    "restarts in a row",
    holds="starts and kills in quick turn: every start that is left in peace works",
    control="hasty head",
)
async def restarts(world):
    await world.start()
    world.load.start(clients=10)
    for _ in range(6):
        await asyncio.sleep(world.dice.uniform(0.0, 0.15))
        await world.kill()
        world.injected += 1
        await world.start()
    await world.flows()


async def killed_starting(world, *, after):
    """Start and kill several times within ``after`` seconds of the start."""
    for _ in range(4):
        world.zygote.last = None
        starting = asyncio.create_task(world.start(must=False))
        moment = world.dice.uniform(0, after)
        await asyncio.wait([starting], timeout=moment)
        if world.zygote.last is not None:
            world.zygote.kill_last()
        world.injected += 1
        await starting
        await world.kill()


@kind(
    "kill during start",
    holds="a start that is killed at any moment spoils nothing for the next",
    control="careless start",
)
async def kill_starting(world):
    world.settle()
    await killed_starting(world, after=0.15)
    await world.start()
    world.load.start()
    await world.flows()


@kind(
    "kill during migration",
    holds="a migration that is killed at any moment is done by the next start",
    control="migration in parts",
)
async def kill_migrating(world):
    world.settle()
    for path in world.folder.glob("index.db*"):
        path.unlink()
    await killed_starting(world, after=0.3)
    await world.start()
    world.load.start()
    await world.flows()
    await world.ready()


@kind(
    "two servers on one folder",
    holds="the second refuses and ends, and the first does not notice",
    control="no lock",
)
async def two_servers(world):
    await world.start()
    first = world.server
    await world.start(must=False)
    world.injected += 1
    world.notes["second"] = "up" if world.server.up else "refused"
    assert not world.server.up, "two servers serve one folder"
    world.servers.pop()
    world.load.start()
    await world.flows()
    assert first.up
