"""A center whose blobs are on S3, and S3 is away: at the start, in the middle, for good.

Small records are rows and go on; large ones get 503 and come in later; no
checkpoint is published before its tiles are durable; nobody waits long.
"""

import time
from hashlib import sha256
from threading import Thread

import httpx
import pytest

from tests import s3
from tests.faults import story
from tests.faults.story import ORIGIN, SETTINGS, Story
from trace_node.api.app import create_app
from trace_node.config import build
from trace_node.errors import BlobsDown
from trace_node.ledger.sequencer import Placed
from trace_node.ledger.tiles import TILE_WIDTH, tile_path
from trace_node.node import Node
from trace_node.services.audit import audit_center
from trace_node.store import blobs_s3
from trace_node.store.blobs import vault_name
from trace_node.store.engine import place_of
from trace_node.store.log import ROW_LIMIT
from trace_node.store.tiles import TileStore
from trace_node.trust.record import RECORD_MEDIA


class Remote(Story):
    """A center with its blobs on S3, behind a proxy."""

    def __init__(self, folder):
        self.server = s3.shared()
        self.proxy = s3.Proxy(self.server.port)
        self.prefix = f"{folder.parent.name}"
        self.url = self.server.url(self.prefix, self.proxy.port, timeout=0.5)
        super().__init__(folder)

    def open(self, make=Node):
        values = {**SETTINGS, "blobs": self.url}
        with s3.credentials():
            self.node = make(self.folder, build(None, values), clock=self.clock)
        return self.node

    def close(self):
        self.node.close()
        self.proxy.close()

    def fill(self, start=0):
        """Register until at least one more tile is full."""
        self.clock.seconds += 1
        raws = [self.single(k) for k in range(start, start + TILE_WIDTH)]
        assert all(isinstance(o, Placed) for o in self.register(*raws))

    def back(self):
        """Let S3 answer again, and let nobody wait until that is noticed."""
        self.proxy.mode = "through"
        self.node._places.tiles._again = self.node._places.vault._again = 0.0

    def key(self, name):
        return f"{self.prefix}/{ORIGIN}/{name}"

    def object(self, name):
        try:
            found = s3.obstore.get(self.server.bucket(), self.key(name))
        except FileNotFoundError:
            return None
        return bytes(found.bytes())

    def damage(self, name, kind):
        data = bytearray(self.object(name))
        bucket = self.server.bucket()
        if kind == "gone":
            s3.obstore.delete(bucket, self.key(name))
            return
        if kind == "short":
            del data[-7:]
        else:
            data[len(data) // 2] ^= 4
        s3.obstore.put(bucket, self.key(name), bytes(data), use_multipart=False)

    def audit(self, workers=1):
        with s3.credentials():
            return audit_center(
                place_of(self.folder, blobs=self.url),
                ORIGIN,
                self.node.vkey,
                workers=workers,
            )


@pytest.fixture(scope="module", autouse=True)
def _templates():
    yield
    story.drop_templates()


@pytest.fixture
def remote(tmp_path):
    remote = Remote(tmp_path / "c")
    yield remote
    assert remote.faults() == []
    remote.close()


def large(number=0):
    return story.record(f"{number}" + "x" * ROW_LIMIT)


def digest(data):
    return sha256(data).digest()


def places(folder):
    return {p.name for p in folder.iterdir()} & {"tile", "vault"}


def test_tiles_and_large_records_are_objects_and_nothing_is_in_the_folder(remote):
    record = large()
    (outcome,) = remote.register(story.content(remote.signer, record), records=[record])
    assert isinstance(outcome, Placed)
    remote.fill()
    remote.node.publisher.step()
    assert remote.object(vault_name(digest(record))) == record
    assert remote.object(tile_path(0, 0)) == remote.node.tiles.read(0, 0)
    assert remote.node.vault.read(digest(record)) == record
    assert places(remote.folder) == set()


@pytest.mark.parametrize("mode", ["gone", "silent"])
def test_small_records_go_on_while_large_ones_wait(remote, mode):
    record = large()
    raw = story.content(remote.signer, record)
    remote.proxy.mode = mode
    with pytest.raises(BlobsDown) as caught:
        remote.node.preparer.prepare(raw, [record])
    assert (caught.value.status, caught.value.retry_after) == (503, 5)
    with pytest.raises(BlobsDown):
        remote.node.vault.stage(digest(record), record, 1)
    assert not remote.node.vault.has(digest(record))
    began = time.monotonic()
    assert isinstance(remote.register(remote.single(1))[0], Placed)
    assert time.monotonic() - began < 0.5
    remote.back()
    assert isinstance(remote.register(raw, records=[record])[0], Placed)
    assert remote.node.vault.read(digest(record)) == record


def test_no_commit_waits_for_the_object_store(remote):
    """A large record that was staged is registered though S3 is silent by then."""
    record = large()
    raw = story.content(remote.signer, record)
    candidate = remote.node.preparer.prepare(raw, [record])
    remote.proxy.mode = "silent"
    waiting = Thread(target=lambda: fails(remote.node.vault.read, digest(record)))
    waiting.start()
    began = time.monotonic()
    outcomes = remote.node.intake._process([candidate])
    remote.node.vault.drop([])
    assert time.monotonic() - began < 0.4
    assert isinstance(outcomes[0], Placed)
    waiting.join()


def fails(work, *values):
    with pytest.raises(BlobsDown):
        work(*values)


def publishes_only_what_is_durable(remote):
    """Say whether the center kept its promise while S3 was away."""
    node = remote.node
    node.publisher.step()
    before = node.publisher.size
    remote.proxy.mode = "gone"
    remote.fill()
    node._background.turn("publisher", node._publish)
    return node.publisher.size == before, before


def test_a_checkpoint_waits_for_its_tiles_and_health_says_why(remote):
    node = remote.node
    held, before = publishes_only_what_is_durable(remote)
    assert held
    assert node.log.published()[0] == before
    assert node.health.reason() == ""
    assert node.health.limits() == "publisher: the object store does not answer"
    remote.back()
    node._background.turn("publisher", node._publish)
    assert node.publisher.size == node.tiles.size > before
    assert node.health.limits() == ""
    assert remote.object(tile_path(0, 0)) is not None


def test_a_build_that_publishes_first_goes_red(remote, monkeypatch):
    monkeypatch.setattr(TileStore, "flush", lambda self: 0)
    assert not publishes_only_what_is_durable(remote)[0]
    monkeypatch.undo()
    remote.back()


def test_a_small_commit_is_published_though_s3_is_away(remote):
    """No tile was completed, so nothing has to be durable there."""
    node = remote.node
    node.publisher.step()
    remote.proxy.mode = "gone"
    remote.clock.seconds += 1
    remote.register(remote.single(1))
    node.publisher.step()
    assert node.publisher.size == node.tiles.size
    remote.back()


def test_a_center_starts_without_s3_and_publishes_when_it_is_back(remote):
    remote.fill()
    before = remote.node.log.published()[0]
    remote.node.close()
    remote.proxy.mode = "silent"
    began = time.monotonic()
    node = remote.open()
    assert time.monotonic() - began < 5
    assert isinstance(remote.register(remote.single(1_000))[0], Placed)
    node._background.turn("publisher", node._publish)
    assert node.log.published()[0] == before < TILE_WIDTH
    assert "object store" in node.health.limits()
    assert node.tiles.read(0, 0)
    remote.back()
    node._background.turn("publisher", node._publish)
    assert node.publisher.size == node.tiles.size
    assert remote.object(tile_path(0, 0)) == node.tiles.read(0, 0)


def test_a_running_center_lives_through_an_outage(remote):
    """Threads and all: an outage under load, and nothing acknowledged is lost."""
    node, kept, tried = remote.node, [], 0
    node.start()
    for step in range(3):
        remote.proxy.mode = "through" if step != 1 else "gone"
        if step == 2:
            remote.back()
        for _ in range(4):
            record = large(tried)
            tried += 1
            try:
                remote.register(story.content(remote.signer, record), records=[record])
                kept.append(record)
            except BlobsDown:
                assert step == 1
        remote.fill(step * TILE_WIDTH)
    until = time.monotonic() + 20
    while node.publisher.size < node.tiles.size or node.health.limits():
        assert time.monotonic() < until, node.health
        remote.node._places.tiles._again = remote.node._places.vault._again = 0.0
        time.sleep(0.05)
    assert len(kept) == 8
    assert all(node.vault.read(digest(record)) == record for record in kept)
    for index in range(node.tiles.size // TILE_WIDTH):
        assert remote.object(tile_path(0, index)) == node.tiles.read(0, index)
    node._background.stopping.set()
    node.intake.stop()
    for thread in node._background._threads:
        thread.join()


async def test_what_a_client_is_told(remote):
    small, big = story.record("small"), large()
    for record in (small, big):
        remote.node.vault.stage(digest(record), record, 1)
    app = create_app(remote.node)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://c") as client:
        assert (await client.get(f"/v1/records/{digest(big).hex()}")).content == big
        remote.proxy.mode = "gone"
        other = large(1)
        answers = [
            await client.get(f"/v1/records/{digest(big).hex()}"),
            await client.put(
                f"/v1/records/{digest(other).hex()}",
                content=other,
                headers={"content-type": RECORD_MEDIA},
            ),
        ]
        for answer in answers:
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "5"
            assert answer.json()["type"] == "urn:trace-node:problem:blobs-down"
        answer = await client.get(f"/v1/records/{digest(small).hex()}")
        assert answer.content == small
        remote.fill()
        remote.node._background.turn("publisher", remote.node._publish)
        ready = await client.get("/health/ready")
        assert (ready.status_code, ready.json()["ready"]) == (200, True)
        assert "object store" in ready.json()["problem"]
        metrics = (await client.get("/metrics")).text
        assert "trace_node_degraded 1.0" in metrics
        told = ready.text + metrics + "".join(a.text for a in answers)
        assert s3.KEY not in told
        assert s3.SECRET not in told
        remote.damage(vault_name(digest(big)), "flipped")
        remote.back()
        answer = await client.get(f"/v1/records/{digest(big).hex()}")
        assert answer.status_code == 503
        assert answer.json()["type"] == "urn:trace-node:problem:store-corrupt"


# The audit.


@pytest.fixture
def audited(remote):
    """A center with a full tile and two large records on S3."""
    for number in range(2):
        record = large(number)
        remote.register(story.content(remote.signer, record), records=[record])
    remote.fill()
    remote.node.publisher.step()
    return remote


@pytest.mark.parametrize("workers", [1, 2])
def test_an_audit_reads_s3_in_every_process(audited, workers):
    report = audited.audit(workers)
    assert report.ok, report.members()
    assert (report.counts["tiles"], report.counts["vault files"]) == (1, 2)


@pytest.mark.parametrize("kind", ["flipped", "short", "gone"])
def test_an_audit_finds_damaged_objects(audited, kind):
    name = vault_name(digest(large(1)))
    audited.damage(name, kind)
    audited.damage(tile_path(0, 0), kind)
    report = audited.audit()
    found = {finding.where for finding in report.findings.kept}
    assert name in found
    assert (tile_path(0, 0) in found) == (kind != "gone")  # a missing one is made again


def test_an_audit_without_s3_is_no_verdict(audited):
    audited.proxy.mode = "gone"
    for workers in (1, 2):
        with pytest.raises(BlobsDown):
            audited.audit(workers)


def test_an_audit_that_looks_in_the_folder_goes_red(audited):
    report = audit_center(
        place_of(audited.folder), ORIGIN, audited.node.vkey, workers=1
    )
    assert not report.ok


def test_a_killed_server_has_all_that_was_acknowledged(audited):
    """Not a proxy this time: kill -9, under writes."""
    kept, number = [], 10

    def write():
        nonlocal number
        while True:
            number += 1
            record = large(number)
            try:
                audited.register(
                    story.content(audited.signer, record), records=[record]
                )
            except BlobsDown:
                return
            kept.append(record)

    writer = Thread(target=write)
    try:
        writer.start()
        while len(kept) < 5:
            time.sleep(0.001)
        audited.server.kill()
        writer.join()
    finally:
        audited.server.start()
    audited.back()
    assert all(audited.node.vault.read(digest(record)) == record for record in kept)
    report = audited.audit()
    assert report.ok, report.members()


def test_the_pause_is_shorter_than_what_clients_are_told():
    assert BlobsDown.retry_after >= blobs_s3.PAUSE
