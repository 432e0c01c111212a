"""The power cut, which kill -9 cannot show: what was not synced is gone.

An ext4 image is copied while its writer is stopped, so the copy holds what was
synced and no more. Only what was acknowledged before the cut counts, as the
writer wrote it to a file outside the image.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from tempfile import mkdtemp

from tests.faults import story
from tests.faults.checks import (
    ack_faults,
    kept_heads,
    log_faults,
    read_center,
    replay_faults,
)
from tests.faults.serving import ROOT, add_parties
from trace_node.ledger.tiles import TILE_WIDTH, tile_path
from trace_node.node import Node
from trace_node.trust.merkle import leaf_hash

DISK = 128 << 20
# What each sync is for: the build without it, and what is missing after the cut.
UNSYNCED = {
    "sleepy": "lost",
    "database normal": "lost",
    "head unsynced": "the kept head is",
    "vault unsynced": "a record of an acknowledged entry is gone",
    "tiles unsynced": "of a published checkpoint is not on the disk",
}
TRIES = 8  # cuts that such a build has to show its loss in
LIFE = 10  # cuts in the life of one center; then a new one is made


class NoMount(Exception):  # noqa: N818 - a reason to skip, no error
    """A loop device cannot be mounted here, and why."""


def run(*command):
    subprocess.run(command, check=True, capture_output=True, timeout=60)


@contextlib.contextmanager
def mounted(place):
    """Mount an ext4 file system in a file; yield (image, where).

    Raises:
        NoMount: it cannot be done here.
    """
    if os.geteuid() != 0:
        raise NoMount("a loop mount needs root")
    image, where = place / "disk", place / "mounted"
    where.mkdir()
    with image.open("wb") as file:
        file.truncate(DISK)
    try:
        run("mkfs.ext4", "-q", "-F", image)
        run("mount", "-o", "loop", image, where)
    except (OSError, subprocess.CalledProcessError) as error:
        raise NoMount(f"no loop mount here: {error}") from None
    try:
        yield image, where
    finally:
        run("umount", where)


@dataclass
class Told:
    """What the writer said before the cut."""

    acks: list = field(default_factory=list)  # (identity, index, receipt)
    files: list = field(default_factory=list)  # digests of large records, registered
    published: int = 0  # the size of the greatest published checkpoint


def read_told(path):
    told = Told()
    for line in path.read_text().splitlines(keepends=True):
        if not line.endswith("\n"):
            break  # the cut came into this line: it was never said
        what, *rest = line.split()
        if what == "ack":
            identity, index, receipt = rest
            told.acks.append(
                (bytes.fromhex(identity), int(index), bytes.fromhex(receipt))
            )
        elif what == "file":
            told.files.append(bytes.fromhex(rest[0]))
        else:
            told.published = int(rest[0])
    return told


def cuts(place, count, build="", pause=0.25):
    """Cut the power ``count`` times; yield (faults, what was told) of each.

    ``build`` is one of ``broken.NODES``.

    Raises:
        NoMount: it cannot be done here.
    """
    number = 0
    while number < count:
        life = Path(mkdtemp(dir=place))
        with mounted(life) as disk:
            for found in one_life(disk, life, min(LIFE, count - number), build, pause):
                number += 1
                yield found
        shutil.rmtree(life)


def loss_without(place, build):
    """Cut a build that leaves out a sync; return (cuts, the loss that this shows).

    A cut may come when all happens to be written: several are tried.
    """
    number = 0
    with contextlib.closing(cuts(place, TRIES, build, pause=0.5)) as made:
        for number, (faults, _) in enumerate(made, 1):
            for fault in faults:
                if UNSYNCED[build] in fault:
                    return number, fault
    return number, ""


def one_life(disk, place, count, build, pause):
    image, where = disk
    story.copy_center(story.template("served", add_parties), where / "c")
    run("sync", "-f", where)
    told = place / "told"
    told.touch()
    command = [sys.executable, "-m", "tests.faults.writer"]
    writer = subprocess.Popen([*command, str(where / "c"), str(told), build], cwd=ROOT)
    try:
        while told.stat().st_size == 0:
            if writer.poll() is not None:
                raise RuntimeError(f"the writer ended with {writer.returncode}")
            time.sleep(0.01)
        for _ in range(count):
            time.sleep(pause)
            writer.send_signal(signal.SIGSTOP)
            stopped(writer.pid)
            before = read_told(told)
            shutil.copyfile(image, place / "cut")
            found = after_cut(place, before)
            # Only now: a fast writer would fill the disk while the cut is looked at.
            writer.send_signal(signal.SIGCONT)
            yield found, before
    finally:
        writer.kill()
        writer.wait()


def stopped(pid):
    """Wait until a process that got SIGSTOP stands still."""
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        time.sleep(0.001)


def after_cut(place, told):
    """Mount what the power cut left, and say what is missing."""
    where = place / "after"
    where.mkdir(exist_ok=True)
    run("mount", "-o", "loop", place / "cut", where)
    try:
        return cut_faults(where / "c", told)
    except Exception as error:  # the database, the head or a file cannot be read
        return [f"{type(error).__name__}: {error}"]
    finally:
        run("umount", where)


def cut_faults(folder, told):
    """What was told and does not stand in the folder after the cut."""
    # By path, before the center opens: it would make damaged tiles again.
    on_disk = list(tiles_on_disk(folder, told.published))
    node = Node(folder, story.settings())
    try:
        stored = read_center(folder, node.vkey)
        faults = lost_heads(folder, node.vkey, told)
        faults += log_faults(stored)
        node.intake.recover()
        if reason := node.health.reason():
            faults.append(f"the center does not recover: {reason}")
        key = node.keys.receipt.public
        faults += ack_faults(stored, told.acks, key, again=node.receipts.receipt)
        faults += replay_faults(stored, story.ORIGIN)
        faults += lost_files(folder, told)
        for at, data in on_disk:
            entries = stored.entries[at * TILE_WIDTH : (at + 1) * TILE_WIDTH]
            if data != b"".join(leaf_hash(entry[4]) for entry in entries):
                faults.append(f"tile {at} of a published checkpoint is not on the disk")
        return faults
    finally:
        node.close()


def lost_heads(folder, vkey, told):
    kept = [h.size for path in folder.glob("head*") for h, _ in kept_heads(path, vkey)]
    greatest = max((index for _, index, _ in told.acks), default=-1)
    if max(kept, default=0) > greatest:
        return []
    return [
        f"entry {greatest} was acknowledged, the kept head is {max(kept, default=0)}"
    ]


def lost_files(folder, told):
    """Large records whose entries were acknowledged and whose bytes are gone."""
    faults = []
    for digest in told.files:
        name = digest.hex()
        path = folder / "vault" / name[:2] / name[2:4] / name
        data = path.read_bytes() if path.exists() else b""
        if sha256(data).digest() != digest:
            faults.append(
                f"a record of an acknowledged entry is gone: its file has {len(data)} bytes"
            )
    return faults


def tiles_on_disk(folder, size):
    """Yield (number, bytes) of the full tiles that a checkpoint of ``size`` promises."""
    for at in range(size // TILE_WIDTH):
        path = folder / tile_path(0, at)
        yield at, path.read_bytes() if path.exists() else b""
