"""Faults of disks: full, failing, slow, read-only, and the power cut."""

import asyncio
import resource
import shutil
import signal

from tests.faults.campaign.index import indexed
from tests.faults.campaign.kind import kind
from tests.faults.campaign.tools import (
    break_ext4,
    ext4,
    failing_calls,
    fill,
    mend_ext4,
    mounting,
    run,
    size_of,
    tmpfs,
    tracing,
    unmount,
)
from tests.faults.cutting import stopped


async def refused(world, within=6.0):
    """Wait until the fault is met: a write is refused with 503."""
    before = world.memory.statuses.get(503, 0)
    for _ in range(int(within / 0.02)):
        if world.memory.statuses.get(503, 0) > before:
            world.injected += 1
            return
        await asyncio.sleep(0.02)
    world.fault("the fault was never met")


async def healed(world):
    """Demand that the same process takes writes again by itself."""
    await world.flows(20, within=15.0)
    await world.ready()


@kind(
    "disk full",
    holds="writes are refused with 503, reads go on; with room again writes, too",
    control="shrug",
    needs=[mounting],
)
async def full(world):
    disk = tmpfs(world, "size=80m")
    world.settle(disk / "center")
    await world.start()
    world.load.start()
    await world.flows()
    fill(disk / "ballast")
    await refused(world)
    await asyncio.sleep(world.dice.uniform(0.1, 1.0))
    (disk / "ballast").unlink()
    await healed(world)


@kind(
    "no inodes",
    holds="what needs a file is refused with 503; afterwards it is taken",
    control="forgets files",
    needs=[mounting],
)
async def no_inodes(world):
    disk = tmpfs(world, "size=80m")
    world.settle(disk / "center")
    await world.start()
    world.load.start()
    await world.flows()
    for number in range(100_000):
        try:
            (disk / f"inode {number}").touch()
        except OSError:
            break
        if number == 400:
            used = sum(1 for _ in disk.rglob("*")) + 2
            run("mount", "-o", f"remount,nr_inodes={used}", disk)
    await asyncio.sleep(world.dice.uniform(1.0, 2.0))
    world.injected += 1
    run("mount", "-o", "remount,nr_inodes=100000", disk)
    await healed(world)


@kind(
    "EIO on fsync",
    holds="a failed sync is never taken for done; the process recovers by itself",
    control="shrug",
    needs=[tracing],
)
async def eio_sync(world):
    await world.start()
    world.load.start()
    await world.flows()
    step = world.dice.randrange(2, 6)
    async with failing_calls(world, f"fdatasync,fsync:error=EIO:when={step}+{step}"):
        await asyncio.sleep(world.dice.uniform(0.5, 1.5))
    await healed(world)


@kind(
    "EIO on the kept head",
    holds="no receipt is released before its head is kept, also when that fails",
    control="careless head",
    needs=[tracing],
)
async def eio_head(world):
    await world.start()
    world.load.start()
    await world.flows()
    head = world.folder / "head"
    async with failing_calls(world, "pwrite64:error=EIO", head):
        await asyncio.sleep(world.dice.uniform(0.3, 0.8))
        await world.kill()


@kind(
    "EIO on read",
    holds="what cannot be read is a 503, never a 500 and never other bytes",
    control="blurts",
    needs=[tracing],
)
async def eio_read(world):
    await world.start()
    world.load.start()
    await world.flows()
    step = world.dice.randrange(3, 9)
    files = [world.folder / name for name in ("center.db", "center.db-wal")]
    async with failing_calls(world, f"pread64:error=EIO:when={step}+{step}", *files):
        await asyncio.sleep(world.dice.uniform(0.5, 1.5))
    await healed(world)


@kind(
    "EIO on the index",
    holds="registering goes on or is refused; the index catches up afterwards",
    control="skips what failed",
    needs=[tracing],
)
async def eio_index(world):
    await world.start()
    world.load.start()
    await world.flows()
    files = [world.folder / name for name in ("index.db", "index.db-wal")]
    calls = "pread64,pwrite64,fdatasync"
    async with failing_calls(world, f"{calls}:error=EIO", *files):
        await asyncio.sleep(world.dice.uniform(1.2, 2.0))
    await healed(world)
    await world.load.stop()
    for digest in world.memory.spoken:
        await indexed(world, digest)


def limit_files(world, size):
    resource.prlimit(world.server.pid, resource.RLIMIT_FSIZE, (size, -1))


@kind(
    "writes cut short",
    holds="half a commit is no commit; the process recovers by itself",
    control="shrug",
)
async def short_writes(world):
    await world.start()
    world.load.start()
    await world.flows()
    wal = size_of(world.folder / "center.db-wal")
    limit_files(world, wal + world.dice.randrange(1 << 13))
    await refused(world)
    await asyncio.sleep(world.dice.uniform(0.1, 0.6))
    limit_files(world, -1)
    await healed(world)


@kind(
    "files cut short",
    holds="half a file is never found under a right name; sent again it is taken",
    control="in place",
)
async def short_files(world):
    await world.start()
    world.load.start()
    await world.flows()
    limit_files(world, world.dice.randrange(20_000, 60_000))
    await asyncio.sleep(world.dice.uniform(0.8, 1.5))
    world.injected += 1
    limit_files(world, -1)
    await healed(world)
    await world.flows(150)  # what was refused is sent again


@kind(
    "slow disk",
    holds="answers come late, but the smallest request within 1 s",
    control="commits in the loop",
    needs=[tracing],
)
async def slow_disk(world):
    await world.start()
    world.load.start(clients=20)
    await world.flows()
    world.load.slowest_live = 0.0
    delay = world.dice.randrange(100_000, 300_000)
    async with failing_calls(world, f"fdatasync,fsync:delay_exit={delay}"):
        await world.flows(20, within=15.0)
        await asyncio.sleep(1.0)
    world.notes["slowest live"] = round(world.load.slowest_live, 3)
    if world.load.slowest_live > 1.0:
        world.fault(
            f"a slow disk held /health/live for {world.load.slowest_live:.1f} s"
        )
    await healed(world)


@kind(
    "read-only remount",
    holds="nothing is acknowledged any more; after a repair everything is there",
    control="sleepy",
    needs=[mounting],
)
async def read_only(world):
    image, disk = ext4(world, "loop,errors=remount-ro")
    world.settle(disk / "center")
    run("sync", "-f", disk)
    await world.start()
    world.load.start()
    await world.flows()
    # Only what was answered before the error counts: a sync that has begun when
    # ext4 aborts its journal may return success and keep nothing
    # (docs/operations/faults.md).
    told = world.memory.told()
    break_ext4(disk)
    await refused(world)
    await asyncio.sleep(0.3)
    since = {identity for identity, _, _ in world.memory.acks}
    await asyncio.sleep(world.dice.uniform(0.2, 0.8))
    if any(identity not in since for identity, _, _ in world.memory.acks):
        world.fault("something new was acknowledged on a read-only disk")
    await world.load.stop()
    await world.kill()
    world.memory.back_to(told)
    unmount(disk)
    mend_ext4(image)
    run("mount", "-o", "loop", image, disk)
    await world.start()
    world.load.start()
    await world.flows()


@kind(
    "power cut",
    holds="what was acknowledged before the cut is there after it",
    control="sleepy",
    needs=[mounting],
)
async def power_cut(world):
    image, disk = ext4(world)
    world.settle(disk / "center")
    run("sync", "-f", disk)
    await world.start()
    world.load.start()
    await world.flows(200)
    await asyncio.sleep(world.dice.uniform(0.0, 0.5))
    world.signal(signal.SIGSTOP)
    stopped(world.server.pid)
    # Only what the clients knew before the cut counts; no await until it is done.
    told = world.memory.told()
    shutil.copyfile(image, world.place / "cut")
    await world.load.stop()
    await world.kill()
    unmount(disk)
    world.memory.back_to(told)
    run("mount", "-o", "loop", world.place / "cut", disk)
    world.injected += 1
    await world.start()
    world.load.start()
    await world.flows()
