"""Whatever comes in: an answer or the end of the connection, soon, and no harm."""

import asyncio
import contextlib
import socket
import time
from contextlib import asynccontextmanager

import hostile
import pytest
import uvicorn
from api_story import COSE, fresh, is_ready, item, record, request, say
from hostile import CASES, Case, Route, Script, faults

from trace_node.api.bodies import read_body
from trace_node.api.problems import WireProblem
from trace_node.ledger.receipt import verify_receipt

GROWTH = 64 << 20  # bytes of memory


@pytest.fixture(scope="module")
def routes(center):
    with center.client() as client:
        paths = client.get("/openapi.json").json()["paths"]
    known = [Route(m.upper(), path) for path, ops in paths.items() for m in ops]
    return [*known, Route("GET", "/openapi.json"), Route("GET", "/nowhere")]


def test_the_corpus_is_large_and_its_names_are_distinct():
    assert len({case.name for case in CASES}) == len(CASES) >= 60
    for group in (hostile.RECORDS, hostile.STATEMENTS, hostile.WIRE, hostile.PATHS):
        assert len(group) >= 30


async def test_no_hostile_input_breaks_any_route(center, routes):
    before = center.memory()
    found, statuses = await faults(center.port, routes)
    assert found == []
    print(f"{len(CASES)} cases on {len(routes)} routes: {sorted(statuses.items())}")
    assert sum(statuses.values()) == len(CASES) * len(routes)
    assert statuses.keys() & set(range(500, 600)) == set()
    assert center.memory() - before < GROWTH
    check_health(center)
    assert "Traceback" not in center.log()


def check_health(center):
    """Nothing that was sent has stayed: it is ready, registers, and can be read."""
    assert is_ready(center)
    with center.client() as client:
        statement = fresh()
        answer = client.post("/entries", content=statement, headers=COSE)
        assert answer.status_code == 201
        receipt = verify_receipt(answer.content, statement, center.receipt_key)
        size = receipt.index + 1
        for index in {*range(min(size, 100)), *range(max(0, size - 100), size)}:
            assert client.get(f"/entries/1.{index}").status_code == 200
        for path in ("checkpoint", f"tile/0/000.p/{min(size, 255)}"):
            assert wait_for(client, f"/log/{path}").status_code == 200
        for path in ("/metrics", "/v1/center", "/.well-known/scitt-keys"):
            assert client.get(path).status_code == 200


def wait_for(client, path, seconds=5):
    end = time.monotonic() + seconds
    while (answer := client.get(path)).status_code == 404 and time.monotonic() < end:
        time.sleep(0.1)
    return answer


def test_pipelined_requests_are_answered_in_order(center):
    statement = fresh()
    one = request("POST", "/entries", statement, COSE.items())
    two = request("GET", "/health/live")
    three = request("GET", "/nowhere", headers=[("Connection", "close")])
    with center.socket() as wire:
        wire.sendall(one + two + three)
        got = b""
        while data := wire.recv(65_536):
            got += data
    assert [part[:3] for part in got.split(b"HTTP/1.1 ")[1:]] == [
        b"201",
        b"200",
        b"404",
    ]


def test_garbage_behind_a_request_is_not_answered_in_its_place(center):
    body = fresh()
    with center.socket() as wire:
        wire.sendall(request("POST", "/entries", body, COSE.items()) + b"\0\0\0\0")
        got = b""
        while data := wire.recv(65_536):
            got += data
    assert not got.startswith(b"HTTP/1.1 400")


def test_a_head_of_any_length_is_not_kept(center):
    with center.socket() as wire:
        wire.sendall(b"GET / HTTP/1.1\r\n")
        sent = 0
        with contextlib.suppress(OSError):
            while sent < 64 << 20:
                sent += wire.send(b"X-More: " + b"a" * 8_000 + b"\r\n")
        assert sent < 16 << 20


def test_a_head_that_is_too_large_is_told_so(center):
    answer = center.raw(b"GET / HTTP/1.1\r\nX: " + b"a" * 70_000)
    assert answer.status == 431
    assert answer.headers["content-type"] == "application/problem+json"


def test_the_rest_of_an_answered_body_is_not_awaited_for_ever(center):
    with center.socket(10) as wire:
        wire.sendall(request("POST", "/entries", b"x", [("Content-Length", "9999999")]))
        assert b" 413 " in wire.recv(65_536)
        begin = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() - begin < 8:
                wire.sendall(b"x")
                time.sleep(0.2)
        assert time.monotonic() - begin < 4


def test_a_client_that_reads_nothing_is_let_go(center):
    large = record("large", pad=900_000)
    kept = say(large)
    with center.client() as client:
        client.post("/submissions", content=item(kept, [large])).raise_for_status()
    wire = socket.socket()
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    wire.settimeout(10)
    with wire:
        wire.connect(("127.0.0.1", center.port))
        path = f"/v1/records/{hostile.sha256(large).hexdigest()}"
        wire.sendall(request("GET", path) * 20)
        time.sleep(4.5)
        got = 0
        with contextlib.suppress(OSError):
            while data := wire.recv(1 << 20):
                got += len(data)
    assert got < 20 * len(large)


async def test_a_body_in_drops_has_an_end():
    async def drop():
        await asyncio.sleep(0.01)
        return {"type": "http.request", "body": b"x", "more_body": True}

    begin = time.monotonic()
    with pytest.raises(WireProblem, match="too slowly") as told:
        await read_body({"headers": []}, drop, limit=100_000, idle=0.02)
    assert told.value.status == 408
    assert time.monotonic() - begin < 1


@asynccontextmanager
async def broken_server():
    """A server that is none: one route raises, one never answers."""

    async def app(scope, receive, send):
        if scope["path"] == "/raises":
            raise RuntimeError("broken")
        if scope["path"] == "/hangs":
            await asyncio.sleep(30)
        start = {"type": "http.response.start", "status": 200}
        await send({**start, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(
            app, lifespan="off", log_config=None, timeout_graceful_shutdown=1
        )
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)
        yield listener.getsockname()[1]
        server.should_exit = True
        await task


async def test_the_checker_reports_a_route_that_raises_and_one_that_hangs():
    routes = [Route("GET", path) for path in ("/raises", "/hangs", "/works")]
    cases = [
        Case("plain", lambda route: Script((request("GET", route.path),))),
        Case("silent", hostile.on_wire(b"GET ")),
    ]
    async with broken_server() as port:
        found, statuses = await faults(port, routes, cases, deadline=0.5)
    assert any("GET /raises: plain: 500" in line for line in found)
    assert any("GET /hangs: plain: no end" in line for line in found)
    assert any("GET /works: silent: no end" in line for line in found)
    assert not any("GET /works: plain" in line for line in found)
    assert statuses == {200: 1, 500: 1}
