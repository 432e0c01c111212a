"""Faults of what says where the log ends: older, foreign and missing heads."""

import shutil

from tests.faults import story
from tests.faults.campaign.damage import damaged, grown, looked_at
from tests.faults.campaign.kind import kind
from trace_node.node import Node


@kind(
    "older database",
    holds="a restored older database is read, and nothing is signed over it",
    control="no guard",
    verdict=damaged,
)
async def old_database(world):
    world.settle()
    old = (world.folder / "center.db").read_bytes()
    await grown(world, end=world.dice.choice(["kill", "terminate"]))
    for path in world.folder.glob("center.db-*"):
        path.unlink()
    (world.folder / "center.db").write_bytes(old)
    world.injected += 1
    world.load.allowed = {503, 404}
    await looked_at(world, sign=False)


def drop_heads(world):
    for path in world.folder.glob("head*"):
        path.unlink()


@kind(
    "head file deleted",
    holds="a database without its kept head signs nothing",
    control="no guard",
    verdict=damaged,
)
async def head_gone(world):
    await grown(world)
    drop_heads(world)
    world.injected += 1
    await looked_at(world, sign=False)


@kind(
    "head file older",
    holds="an older kept head is caught up with, under the same history",
    control="never catches up",
)
async def head_old(world):
    world.settle()
    old = (world.folder / "head").read_bytes()
    await grown(world)
    drop_heads(world)
    (world.folder / "head").write_bytes(old)
    world.injected += 1
    await looked_at(world, sign=True)


@kind(
    "head file of another branch",
    holds="a head that is ahead, or of another history, stops all signing",
    control="no guard",
    verdict=damaged,
)
async def head_foreign(world):
    world.settle()
    other = world.copy("other")
    await grown(world)
    size = world.before.tree.size + world.dice.choice([-3, 0, 40])
    node = Node(other, story.settings())
    raws = [world.memory.make() for _ in range(size - node.log.head().range.size)]
    node.intake._process([node.preparer.prepare(raw) for raw in raws])
    node.close()
    drop_heads(world)
    shutil.copyfile(other / "head", world.folder / "head")
    world.injected += 1
    try:
        await looked_at(world, sign=False)
    finally:
        await world.kill()
        drop_heads(world)  # they are no heads of this history
