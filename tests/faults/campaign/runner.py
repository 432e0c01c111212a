"""Runs rounds: each a fault of one kind on a fresh center, judged when it is over."""

import asyncio
import random
import shutil
import time
import traceback
from pathlib import Path
from tempfile import mkdtemp

from tests.faults.campaign import (  # noqa: F401 - they fill the table of kinds
    clients,
    clocks,
    damage,
    disks,
    heads,
    index,
    limits,
    processes,
)
from tests.faults.campaign.kind import KINDS, Kind
from tests.faults.campaign.world import World


async def calm(world):
    await world.start()
    world.load.start()
    await world.flows(5)


# Not in the table: what a broken build has to pass to be told from a dead one.
CALM = Kind("no fault", "a server registers", "", calm, lambda _: [], (), quick=False)
ROUND = 120.0  # seconds that a round may take; then it hangs, which is a fault


def plan(seed, names):
    """Yield (name, seed of the round) for ever: every kind once, then at random.

    The same seed gives the same plan.
    """
    dice = random.Random(seed)
    order = list(names)
    dice.shuffle(order)
    while True:
        for name in order:
            yield name, dice.randrange(1 << 32)
        order = dice.choices(list(names), k=len(names))


def run_round(name, seed, zygote, *, build=""):
    """Run one round; return its line for the scorecard.

    ``build`` names a build broken on purpose, "" is the real one.
    """
    kind = CALM if name == CALM.name else KINDS[name]
    place = Path(mkdtemp(prefix="trace-node-faults-"))
    began = time.monotonic()
    world = World(place, seed, random.Random(seed), zygote, build)
    try:
        faults = asyncio.run(_play(kind, world))
    finally:
        shutil.rmtree(place, ignore_errors=True)
    memory = world.load.memory if world.load else None
    line = {"kind": name, "seed": seed, "injected": world.injected}
    if build:
        line["build"] = build
    if memory:
        line |= {
            "acked": len(memory.acks),
            "heads": len(memory.notes),
            "refused": memory.statuses.get(503, 0),
            "stall": round(world.load.worst_stall, 2),
        }
    line["seconds"] = round(time.monotonic() - began, 1)
    return line | {"notes": world.notes, "faults": faults[:20]}


async def _play(kind, world):
    """Inject, end everything, judge what is left while the disk is still there."""
    try:
        try:
            async with asyncio.timeout(ROUND):
                await kind.run(world)
        except TimeoutError:
            world.fault(f"the round hung for {ROUND:g} s")
        except Exception:
            world.fault("the round broke: " + traceback.format_exc()[-600:])
        if world.load is not None:
            await world.load.stop()
        await world.kill()
        if world.load is None:
            return world.faults
        judged = await asyncio.to_thread(kind.verdict, world)
        return world.faults + world.memory.faults + judged
    finally:
        await world.close()
