"""Faults of the index: it can be made again, and must never name another's entry."""

import asyncio
import json

from tests.faults.campaign.aftermath import truth
from tests.faults.campaign.damage import damaged, flip, grown, looked_at
from tests.faults.campaign.kind import kind
from tests.faults.campaign.past import PAST
from tests.faults.campaign.wire import Caller


@kind(
    "bit flip in the index",
    holds="the log goes on, or the start refuses; no entry is named that is another's",
    control="misquotes the index",
    verdict=damaged,
)
async def flip_index(world):
    await world.start()
    world.load.start()
    await world.flows()
    await indexed(world)
    await world.terminate()
    await world.load.stop()
    world.before = truth(world)
    path, digest = world.folder / "index.db", world.dice.choice(list(PAST.held))
    # Most pages hold something else: aim at a row about what will be asked.
    at = path.read_bytes().find(digest)
    flip(world, path, *((at, at + 40) if at >= 0 else ()))
    await looked_at(world)
    if world.server.up:
        await quoted(world)


@kind(
    "index deleted while stopped",
    holds="the index is made again from the log: the same answers",
    control="index from the end",
)
async def index_gone(world):
    await grown(world)
    for path in world.folder.glob("index.db*"):
        path.unlink()
    world.injected += 1
    await looked_at(world, sign=True)
    await indexed(world)


@kind(
    "index deleted while running",
    holds="registering goes on; after a restart the index answers as before",
    control="index from the end",
)
async def index_gone_running(world):
    await world.start()
    world.load.start()
    await world.flows()
    for path in world.folder.glob("index.db*"):
        path.unlink()
    world.injected += 1
    await world.flows(50)
    await world.terminate()
    await world.start()
    await world.flows()
    await indexed(world)


async def quoted(world):
    """Demand that a bundle names only entries that speak of its record."""
    caller = Caller(world.port)
    places = {identity: index for identity, index, _ in world.memory.acks}
    for digest in PAST.held:
        answer = await caller.call("GET", f"/v1/records/{digest.hex()}?format=bundle")
        if answer.status in {404, 503}:
            continue
        said = json.loads(answer.body)["answer"]["mentions"]
        true = places[PAST.speaks_of[digest]]
        if answer.status != 200 or [mention["index"] for mention in said] != [true]:
            world.fault(f"a bundle is served that names other entries than {true}")
    caller.close()


async def indexed(world, digest=None, within=15.0):
    """Demand a bundle about a record: one from before the round, or ``digest``."""
    caller, answer = Caller(world.port), None
    digest = digest or min(PAST.held)
    for _ in range(int(within / 0.2)):
        path = f"/v1/records/{digest.hex()}?format=bundle"
        answer = await caller.call("GET", path)
        if answer.status == 200 and b'"position"' in answer.body:
            break
        await asyncio.sleep(0.2)
    else:
        world.fault(f"the index does not know what it knew: {answer.status}")
    caller.close()
