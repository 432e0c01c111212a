"""A disk that fills up: the center stops taking before it is full, and comes back.

A log died elsewhere of a full disk. Here the disk is real (ext4 in a file, 48 MiB),
and something else fills it while entries and records come.
"""

import asyncio
import os
import shutil
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path

import httpx
import pytest
from keeping_story import opened

sys.path.insert(0, str(Path(__file__).parents[2]))

from center_story import LAB, big, event, single

from tests.faults.checks import ack_faults, log_faults, read_center, replay_faults
from tests.faults.story import identity_of
from trace_node.api.app import create_app

DISK = 48 << 20
WATERMARK = 12 << 20
COSE = {"content-type": "application/cose"}
JSON = {"content-type": "application/json"}


@pytest.fixture
def disk(tmp_path):
    """A small file system of its own."""
    if os.geteuid() != 0:
        pytest.skip("a loop mount needs root")
    image, place = tmp_path / "image", tmp_path / "mounted"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(DISK)
    try:
        run("mkfs.ext4", "-q", "-F", "-m", "0", image)
        run("mount", "-o", "loop", image, place)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no loop mount here: {error}")
    yield place
    run("umount", "-l", place)


def run(*command):
    subprocess.run(command, check=True, capture_output=True, timeout=60)


class Filling:
    """A center on a disk that something else fills."""

    def __init__(self, kept, disk, watermark, monkeypatch):
        monkeypatch.setenv("TRACE_NODE_FREE_BYTES", str(watermark))
        self.folder = kept.copy(disk / "center")
        self.ballast = disk / "ballast"
        self.node = opened(self.folder)
        self.node.start()
        self.acks, self.number = [], 0

    def free(self):
        return shutil.disk_usage(self.folder).free

    def fill(self, size):
        """Take room; False when there is none left."""
        try:
            with self.ballast.open("ab") as file:
                file.write(os.urandom(size))
        except OSError:
            return False
        return True

    async def write(self, client):
        """Register an entry and bring a large record; return both answers."""
        self.number += 1
        data = big(self.number)
        raw = single(event(self.number), LAB)
        entry = await client.post("/entries", content=raw, headers=COSE)
        if entry.status_code == 201:
            index = int(entry.headers["location"].rpartition(".")[2])
            self.acks.append((identity_of(raw), index, entry.content))
        name = sha256(data).hexdigest()
        record = await client.put(f"/v1/records/{name}", content=data, headers=JSON)
        return entry, record

    async def until(self, client, wanted, seconds=10):
        """Write until both answers have the wanted status; return them."""
        end = time.monotonic() + seconds
        while True:
            answers = await self.write(client)
            if all(answer.status_code in wanted for answer in answers):
                return answers
            assert time.monotonic() < end, [a.content for a in answers]
            await asyncio.sleep(0.1)

    async def reads(self, client, kept):
        paths = ["/log/checkpoint", "/entries/1.9/statement", "/entries/1.9"]
        paths += [f"/v1/records/{sha256(kept.bigs[0]).hexdigest()}", "/health/live"]
        return [(await client.get(path)).status_code for path in paths]

    def faults(self, kept):
        """Stop; return what is wrong with the log and with what was promised."""
        self.node.stop()
        key = self.node.keys.receipt.public
        stored = read_center(self.folder, kept.vkey)
        faults = log_faults(stored) + replay_faults(stored, kept.origin)
        return faults + ack_faults(stored, self.acks, key)


def drive(filling, kept, story):
    async def run_story():
        transport = httpx.ASGITransport(create_app(filling.node))
        async with httpx.AsyncClient(
            transport=transport, base_url="http://x"
        ) as client:
            return await story(filling, client, kept)

    return asyncio.run(run_story())


async def fill_up(filling, client):
    """Fill the disk while writing until a write is refused; return the refusal."""
    while True:
        for answer in await filling.write(client):
            if answer.status_code not in {201, 204}:
                return answer
        filling.fill(256 << 10)
        await asyncio.sleep(0.03)


def test_the_center_stops_taking_before_the_disk_is_full_and_comes_back(
    kept, disk, monkeypatch
):
    filling = Filling(kept, disk, WATERMARK, monkeypatch)

    async def story(filling, client, kept):
        refusal = await fill_up(filling, client)
        assert refusal.status_code == 503
        assert "retry-after" in refusal.headers
        assert b"nearly full" in refusal.content
        assert WATERMARK // 4 < filling.free() < WATERMARK  # room was left
        assert filling.node.health.failures == 0  # no write has failed
        ready = await client.get("/health/ready")
        assert (ready.status_code, ready.json()["ready"]) == (503, False)
        assert "nearly full" in ready.json()["problem"]
        assert await filling.reads(client, kept) == [200] * 5
        while filling.fill(64 << 10):  # something else takes the rest
            pass
        await asyncio.sleep(1.5)
        assert await filling.reads(client, kept) == [200] * 5
        assert {a.status_code for a in await filling.write(client)} == {503}
        filling.ballast.unlink()
        await filling.until(client, {201, 204})
        ready = await client.get("/health/ready")
        assert ready.status_code == 200

    drive(filling, kept, story)
    assert len(filling.acks) > 20
    assert filling.faults(kept) == []
    print({"acked": len(filling.acks), "lost": 0})


def test_without_the_watermark_writes_fail_and_even_so_nothing_is_lost(
    kept, disk, monkeypatch
):
    """Negative control: the disk is full before the center notices."""
    filling = Filling(kept, disk, 0, monkeypatch)

    async def story(filling, client, kept):
        refusal = await fill_up(filling, client)
        assert refusal.status_code == 503
        assert b"nearly full" not in refusal.content
        while filling.fill(4 << 10):
            pass
        for _ in range(30):
            answers = await filling.write(client)
            assert {a.status_code for a in answers} <= {201, 204, 503}
        assert filling.free() < WATERMARK // 4
        assert await filling.reads(client, kept) == [200] * 5
        filling.ballast.unlink()
        await filling.until(client, {201, 204})

    drive(filling, kept, story)
    assert filling.node.health.failures > 0
    assert filling.faults(kept) == []
