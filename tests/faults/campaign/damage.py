"""Faults at rest: flipped bits, torn and missing files, older and foreign ones.

The folder is damaged while no server runs. The next start may refuse, or serve
what is right; it may never serve what is wrong, nor sign over what it lost.
"""

import shutil

from tests.faults.campaign.aftermath import ends_plainly, no_fork, truth, whole
from tests.faults.campaign.kind import kind
from tests.faults.campaign.tools import size_of
from trace_node.store.heads import SLOT

NEVER = "what is flipped is never served, nor signed over"


async def grown(world, *, count=60, end="kill"):
    """Let the center grow under load, then end it; ``before`` is what it was."""
    await world.start()
    world.load.start()
    await world.flows(count)
    if end == "kill":
        await world.kill()
    else:
        await world.terminate()
    await world.load.stop()
    world.before = truth(world)


async def looked_at(world, *, sign=None):
    """Start on what is damaged, read everything, offer statements for a while.

    Args:
        world: the round.
        sign: True if it must take writes, False if it must not, None for either.
    """
    said, since = len(world.journal()), len(world.memory.acks)
    await world.start(must=sign is not None)
    if not world.server.up:
        world.notes["start"] = "refused"
        world.faults += ends_plainly(world, since=said)
        return
    await world.read_all()
    world.load.start()
    if sign:
        await world.flows()
        await world.ready()
    else:
        await world.load.acks(20, within=2.5)
    await world.read_all()
    signed = len(world.memory.acks) > since
    world.notes["signed"] = signed
    if sign is False and signed:
        world.fault("it acknowledged although it must not sign")
    if sign is False and not world.problem():
        world.fault("it must not sign, and says it is ready")


def damaged(world):
    """The verdict: nothing that was told before is contradicted."""
    if world.before is None:  # the round broke before anything was damaged
        return whole(world)
    return no_fork(world, world.before)


def flip(world, path, begin=0, end=None):
    """Flip one bit of a file, in [begin, end)."""
    data = bytearray(path.read_bytes())
    at = world.dice.randrange(begin, min(end or len(data), len(data)))
    bit = world.dice.randrange(8)
    data[at] ^= 1 << bit
    path.write_bytes(data)
    world.notes["flipped"] = f"{path.name} byte {at} bit {bit}"
    world.injected += 1


@kind(
    "bit flip in the database",
    holds=NEVER,
    control="statements unchecked",
    verdict=damaged,
)
async def flip_database(world):
    await grown(world, end="terminate")
    world.load.allowed = {503, 404, 422}  # a row that is not found is no lie
    world.notes["where"] = where = world.dice.choice(["anywhere", "in statements"])
    path = world.folder / "center.db"
    if where == "anywhere":
        flip(world, path)
    else:  # most pages hold something else: aim at what would be served
        raw = world.dice.choice(list(world.memory.raws.values()))
        at = path.read_bytes().find(raw[-64:])
        flip(world, path, max(at, 0), at + 64 if at >= 0 else None)
    await looked_at(world)


@kind("bit flip in the WAL", holds=NEVER, control="no guard", verdict=damaged)
async def flip_wal(world):
    await grown(world)
    world.load.allowed = {503, 404, 422}
    flip(world, world.folder / "center.db-wal")
    await looked_at(world)


@kind(
    "bit flip in the kept head",
    holds="the other slot counts, or nothing is signed",
    control="trusts the head",
    verdict=damaged,
)
async def flip_head(world):
    await grown(world)
    slot = world.dice.choice([0, SLOT])
    flip(world, world.folder / "head", slot, slot + 200)
    await looked_at(world)


@kind(
    "bit flip in a tile",
    holds="the tile is made again from the entries; nothing is lost",
    control="trusts tiles",
)
async def flip_tile(world):
    await grown(world)
    tiles = sorted(
        path for path in (world.folder / "tile").rglob("*") if path.is_file()
    )
    flip(world, world.dice.choice(tiles))
    await looked_at(world, sign=True)


@kind(
    "bit flip in a vault file",
    holds=NEVER,
    control="trusts the vault",
    verdict=damaged,
)
async def flip_vault(world):
    await grown(world)
    flip(world, world.dice.choice(vault_files(world)))
    await looked_at(world, sign=True)


def vault_files(world):
    return sorted(p for p in (world.folder / "vault").rglob("*") if p.is_file())


@kind(
    "torn WAL",
    holds="what is torn off is missed: nothing is signed over it",
    control="no guard",
    verdict=damaged,
)
async def torn_wal(world):
    await grown(world)
    world.load.allowed = {503, 404}
    path = world.folder / "center.db-wal"
    cut = world.dice.randrange(size_of(path) // 2, size_of(path))
    with path.open("r+b") as file:
        if world.dice.random() < 0.5:
            file.truncate(cut)
        else:
            file.seek(cut)
            file.write(world.dice.randbytes(size_of(path) - cut))
    world.injected += 1
    await looked_at(world)


@kind("tile deleted", holds="it is made again", control="no second making")
async def tile_gone(world):
    await grown(world)
    shutil.rmtree(world.folder / "tile")
    world.injected += 1
    await looked_at(world, sign=True)


@kind(
    "vault file deleted",
    holds="it is missed with 503; the rest is served, and writes are taken",
    control="says not found",
    verdict=damaged,
)
async def vault_gone(world):
    await grown(world)
    world.dice.choice(vault_files(world)).unlink()
    world.injected += 1
    await looked_at(world, sign=True)
