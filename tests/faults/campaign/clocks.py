"""Faults of the wall clock. The file holds by how many seconds it is wrong."""

import asyncio
import time

from tests.faults.campaign.aftermath import whole
from tests.faults.campaign.kind import kind
from tests.faults.campaign.past import PAST
from tests.faults.campaign.world import ENVIRONMENT
from tests.faults.checks import read_center

YEAR = 365 * 86_400
LATE = 120  # seconds by which the record time of the newest entry may be wrong


def dated(world):
    """The verdict: whole, and the newest entry is dated of now."""
    last = read_center(world.folder, PAST.vkey).entries[-1]
    wrong = last[2] - time.time()
    faults = [f"record time is {wrong:+.0f} s from now"] if abs(wrong) > LATE else []
    return whole(world) + faults


def clock(world, seconds):
    path = world.place / "clock"
    path.write_text(str(seconds))
    return path


@kind(
    "clock jumps ahead",
    holds="nothing is dated years ahead; when the clock is right again, all goes on",
    control="believes any clock",
    verdict=dated,
)
async def ahead(world):
    await world.start(clock=str(clock(world, 0)))
    world.load.start()
    await world.flows()
    clock(world, world.dice.choice([10 * YEAR, YEAR, 40 * 86_400]))
    world.injected += 1
    await asyncio.sleep(1.5)
    clock(world, 0)
    await world.flows(20, within=15.0)
    await world.ready()
    await asyncio.sleep(1.1)
    await world.flows()


@kind(
    "clock ahead at the start",
    holds="a center that is started with a clock years ahead dates nothing by it",
    control="believes any clock",
    verdict=dated,
)
async def ahead_at_start(world):
    wrong = clock(world, world.dice.choice([10 * YEAR, 2 * YEAR]))
    # The tests' own centers are founded on a fixed day and must start on any other.
    strict = ENVIRONMENT | {"TRACE_NODE_CLOCK_IDLE_DAYS": "90"}
    await world.start(clock=str(wrong), environment=strict)
    world.load.start()
    world.injected += 1
    await asyncio.sleep(1.5)
    await world.kill()
    await world.start(environment=strict)
    await world.flows()
    await asyncio.sleep(1.1)
    await world.flows()


@kind(
    "clock jumps back",
    holds="ticks never go back; registering goes on",
    control="ticks by any clock",
)
async def back(world):
    await world.start(clock=str(clock(world, 0)))
    world.load.start()
    await world.flows()
    await asyncio.sleep(1.1)
    for seconds in (-3_600, -10 * YEAR, 0):
        clock(world, seconds)
        world.injected += 1
        await asyncio.sleep(1.1)
        await world.flows()
