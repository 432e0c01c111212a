"""Audits over HTTP: a center that lies, floods or hides is found out."""

import sys
from pathlib import Path

import httpx
import orjson
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from center_story import ALICE, LAB, Center, event, flipped, many, single

from trace_node.api.routes.log import read_tile
from trace_node.client.audit import audit_url
from trace_node.client.http import Wire
from trace_node.errors import LimitExceeded, Overloaded, Unreachable, Untrusted
from trace_node.trust.base64url import decode
from trace_node.trust.statement import decode_statement
from trace_node.verify import AuditReport


class Server:
    """Answers as the API does, without one; a test changes single answers."""

    def __init__(self, center):
        self.center = center
        self.changed = {}

    def __call__(self, request):
        path = request.url.path
        if path in self.changed:
            return self.changed[path]
        return httpx.Response(200, stream=Bytes(self.body(path)))

    def body(self, path):
        node = self.center.node
        if path == "/log/checkpoint":
            return node.publisher.note()
        if path == "/v1/center":
            return orjson.dumps({"vkey": str(node.vkey)})
        if path.startswith("/v1/records/"):
            return node.vault.read(decode(path.removeprefix("/v1/records/")))
        return read_tile(node, path.removeprefix("/log/"))


class Bytes(httpx.SyncByteStream):
    def __init__(self, data):
        self.data = data

    def __iter__(self):
        yield self.data


@pytest.fixture
def served(tmp_path):
    center = Center(tmp_path / "served")
    center.add_party(ALICE)
    center.add_party(LAB)
    center.put_all([single(b"%d" % n, LAB) for n in range(300)])
    records = [event(2), event(3)]
    center.put(many(records), records)
    center.node.publisher.step()
    yield Server(center)
    center.close()


def ask(server, policy=None):
    transport, pauses = httpx.MockTransport(server), []
    with Wire(
        "http://center.example/", transport=transport, sleep=pauses.append
    ) as wire:
        return audit_url(wire, policy)


def test_a_remote_center_holds(served):
    found = ask(served, served.center.policy)
    assert isinstance(found, AuditReport)
    assert found.ok, found.findings
    assert found.size == served.center.node.publisher.size
    assert found.counts["tiles"] == 3
    assert not any("itself" in note for note in found.notes)
    assert any("itself" in note for note in ask(served).notes)


def test_a_remote_center_that_lies(served):
    first = served.body("/log/tile/entries/000")
    served.changed["/log/tile/entries/000"] = httpx.Response(
        200, stream=Bytes(flipped(first, -1))
    )
    found = ask(served)
    assert {"entry", "root", "tile"} <= {f.kind for f in found.findings.kept}
    served.changed.clear()
    tile = served.body("/log/tile/0/000")
    served.changed["/log/tile/0/000"] = httpx.Response(
        200, stream=Bytes(flipped(tile, 0))
    )
    (finding,) = ask(served).findings.kept
    assert finding.where == "/log/tile/0/000"


def test_a_remote_center_that_floods_or_hides(served):
    for path, answer, error in (
        (
            "/log/checkpoint",
            httpx.Response(200, stream=Bytes(b"x" * 70_000)),
            LimitExceeded,
        ),
        ("/log/checkpoint", httpx.Response(404), Unreachable),
        (
            "/log/checkpoint",
            httpx.Response(302, headers={"location": "/x"}),
            Unreachable,
        ),
        (
            "/log/tile/0/000",
            httpx.Response(200, headers={"content-encoding": "gzip"}),
            Unreachable,
        ),
    ):
        served.changed = {path: answer}
        with pytest.raises(error) as caught:
            ask(served)
        assert caught.value.where == path
    served.changed = {}

    def down(request):
        raise httpx.ConnectError("no")

    with pytest.raises(Unreachable):
        ask(down)
    other = type(served.center.node.vkey)("x.example/log", 1, LAB.public.x)
    served.changed = {
        "/v1/center": httpx.Response(
            200, stream=Bytes(orjson.dumps({"vkey": str(other)}))
        )
    }
    with pytest.raises(Untrusted):
        ask(served)


def test_governance_records_that_are_kept_back(served):
    payload = decode_statement(served.center.node.log.entry(1).statement).sub
    path = f"/v1/records/{payload.removeprefix('ni:///sha-256;')}"
    served.changed[path] = httpx.Response(404)
    found = ask(served)
    assert found.findings.kept[0].where.startswith("entry 1")


def test_a_busy_center_is_asked_again_and_not_accused(served):
    payload = decode_statement(served.center.node.log.entry(1).statement).sub
    path = f"/v1/records/{payload.removeprefix('ni:///sha-256;')}"
    busy = httpx.Response(503, headers={"retry-after": "1"})
    asked = []

    def sometimes(request):
        asked.append(request.url.path)
        few = asked.count(request.url.path) < 3
        return busy if few else served(request)

    assert ask(sometimes, served.center.policy).ok

    def never(request):
        return busy if request.url.path == path else served(request)

    with pytest.raises(Overloaded):
        ask(never, served.center.policy)
