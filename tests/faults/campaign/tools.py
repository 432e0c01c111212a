"""What breaks a machine on purpose: mounts, a tracer that fails calls, limits."""

import asyncio
import contextlib
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

IMAGE = 96 << 20
CORRECTED = 1  # e2fsck: errors were found and corrected


def run(*command):
    subprocess.run(command, check=True, capture_output=True, timeout=60)


@cache
def mounting():
    """Return why nothing can be mounted here, "" if it can."""
    if os.geteuid() != 0:
        return "a mount needs root"
    with TemporaryDirectory() as place:
        image = Path(place) / "image"
        with image.open("wb") as file:
            file.truncate(8 << 20)
        try:
            run("mkfs.ext4", "-q", "-F", image)
            run("mount", "-o", "loop", image, place)
        except (OSError, subprocess.CalledProcessError) as error:
            return f"no loop mount here: {error}"
        run("umount", place)
    return ""


@cache
def tracing():
    """Return why no running process can be traced here, "" if one can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    with subprocess.Popen(["sleep", "30"]) as other:
        tracer = subprocess.Popen(
            ["strace", "-qq", "-o", os.devnull, "-p", str(other.pid)],
            stderr=subprocess.DEVNULL,
        )
        try:
            tracer.wait(0.5)
        except subprocess.TimeoutExpired:
            return ""
        else:
            return "strace may not attach"
        finally:
            for process in (tracer, other):
                process.kill()
                process.wait()


def tmpfs(world, options):
    """Mount a small file system in memory for the round; return where."""
    place = world.place / "disk"
    place.mkdir()
    run("mount", "-t", "tmpfs", "-o", options, "tmpfs", place)
    world.on_exit(unmount, place)
    return place


def ext4(world, options="loop"):
    """Mount an ext4 in a file for the round; return (image, where)."""
    image, place = world.place / "image", world.place / "disk"
    with image.open("wb") as file:
        file.truncate(IMAGE)
    run("mkfs.ext4", "-q", "-F", image)
    place.mkdir()
    run("mount", "-o", options, image, place)
    world.on_exit(unmount, place)
    return image, place


def unmount(place):
    """Unmount if it is mounted; whoever still holds it has been killed."""
    if os.path.ismount(place):
        run("umount", place)


def fill(path, leave=0):
    """Fill the disk of ``path`` with a file there, but for ``leave`` bytes."""
    free = shutil.disk_usage(path.parent).free
    chunk = b"\0" * (1 << 16)
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        for _ in range(max(0, free - leave) // len(chunk) + (leave == 0)):
            file.write(chunk)


@contextlib.asynccontextmanager
async def failing_calls(world, injection, *paths):
    """Let calls of the server fail or linger, as strace's ``inject=`` says.

    ``paths`` limit it to calls on these files.
    """
    # The tracer tells a file by the name its descriptor has: one that is there.
    only = [part for path in paths for part in ("-P", str(path))]
    told = world.place / "strace"
    command = ["strace", "-f", "-qq", "-o", str(told), *only]
    command += ["-e", f"inject={injection}", "-p", str(world.server.pid)]
    process = await asyncio.to_thread(
        subprocess.Popen, command, stderr=subprocess.DEVNULL
    )
    try:
        await attached(world.server.pid, process)
        yield
    finally:
        process.terminate()  # it detaches and lets the server go on
        await asyncio.to_thread(process.wait, 20)
        lines = told.read_text(errors="replace")
        world.injected += lines.count("(INJECTED") + lines.count("(DELAYED")


def tracers(pid):
    """Say of each thread of a process whether it is traced."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return ["TracerPid:\t0\n" not in (task / "status").read_text() for task in tasks]


def break_ext4(disk):
    """Tell the file system that it found an error: it goes read-only at once."""
    found = subprocess.run(
        ["findmnt", "-no", "SOURCE", disk], check=True, capture_output=True, text=True
    )
    device = Path(found.stdout.strip()).name
    Path(f"/sys/fs/ext4/{device}/trigger_fs_error").write_text("campaign")


def mend_ext4(image):
    """Let the file system's own check repair it."""
    done = subprocess.run(
        ["e2fsck", "-fy", image], check=False, capture_output=True, timeout=60
    )
    if done.returncode > CORRECTED:
        raise RuntimeError(f"e2fsck: {done.stdout.decode()[-300:]}")


async def attached(pid, tracer):
    for _ in range(500):
        if tracer.poll() is not None:
            raise RuntimeError("strace ended at once")
        if all(await asyncio.to_thread(tracers, pid)):
            return
        await asyncio.sleep(0.01)
    raise RuntimeError("strace does not attach")


def size_of(path):
    return path.stat().st_size if path.exists() else 0
