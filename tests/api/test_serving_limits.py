"""Connections without number: who is let in, and that a fresh client is served."""

import asyncio
import contextlib
import resource
import socket
import time

import api_story
import pytest
from api_story import COSE, exchange, fresh, read_answer, request

IDLE = 10_000
ROOM = 6


def started(folder, broken="", **env):
    key = api_story.make(folder / "center")
    named = {f"TRACE_NODE_{name.upper()}": str(value) for name, value in env.items()}
    return api_story.serve(folder / "center", key, named, broken=broken)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A center with room for six connections."""
    folder = tmp_path_factory.mktemp("small")
    served = started(folder, connections=ROOM, body_seconds=5)
    yield served
    api_story.end_process(served.process)


def begun(served, stack):
    """A connection with a request under way: it is busy."""
    wire = stack.enter_context(served.socket())
    wire.sendall(request("POST", "/entries", b"", [("Content-Length", "9")]))
    return wire


def metric(served, name):
    answer = served.raw(request("GET", "/metrics")).body.decode()
    return float(answer.split(f"\n{name} ")[1].split("\n")[0])


def test_idle_connections_yield_to_a_new_one(small):
    with contextlib.ExitStack() as stack:
        idle = [stack.enter_context(small.socket()) for _ in range(3 * ROOM)]
        assert small.raw(request("GET", "/health/live")).status == 200
        gone = [wire for wire in idle if closed(wire)]
        assert gone == idle[: len(gone)]  # those that waited longest
        assert len(gone) == 2 * ROOM + 1
    assert metric(small, "trace_node_evicted_total") >= len(gone)


def closed(wire):
    wire.settimeout(0.05)
    try:
        return wire.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def test_where_all_are_busy_a_new_one_is_told_so_and_they_go_on(small):
    with contextlib.ExitStack() as stack:
        busy = [begun(small, stack) for _ in range(ROOM)]
        time.sleep(0.2)
        late = stack.enter_context(small.socket())
        answer = read_answer(late)
        assert answer.status == 503
        assert answer.headers["retry-after"] == "1"
        assert b"too many connections" in answer.body
        for wire in busy:
            wire.sendall(b"123456789")
            assert read_answer(wire).status == 400
    assert small.raw(request("GET", "/health/live")).status == 200
    assert metric(small, "trace_node_refused_total") >= 1


@pytest.fixture
def many_files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < IDLE + 1_000:
        pytest.skip(f"the system allows {hard} open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Silent(asyncio.Protocol):
    pass


async def crowd(port, count):
    """Open connections that say nothing."""
    loop = asyncio.get_running_loop()
    made = []
    for _ in range(0, count, 200):
        opened = await asyncio.gather(
            *(loop.create_connection(Silent, "127.0.0.1", port) for _ in range(200)),
            return_exceptions=True,
        )
        made += [one[0] for one in opened if isinstance(one, tuple)]
    return made


async def fresh_client(served):
    """Seconds until a client that comes now has its receipt; None if it has none."""
    begin = time.monotonic()
    try:
        with await asyncio.to_thread(served.socket, 10) as wire:
            answer = await asyncio.to_thread(
                exchange, wire, request("POST", "/entries", fresh(), COSE.items()), 10
            )
    except OSError:
        return None
    return time.monotonic() - begin if answer.status == 201 else None


@pytest.mark.parametrize("held", [False, True], ids=["by default", "all of them held"])
async def test_ten_thousand_idle_connections_keep_nobody_out(
    tmp_path, many_files, held
):
    more = {"connections": IDLE + 100, "connections_each": IDLE + 100}
    served = started(tmp_path, **(more if held else {}), body_seconds=30)
    try:
        made = await crowd(served.port, IDLE)
        assert len(made) == IDLE
        waits = [await fresh_client(served) for _ in range(5)]
        print("seconds", [w and round(w, 3) for w in waits])
        assert None not in waits
        assert max(waits) < 2
        assert (metric(served, "trace_node_connections") > IDLE) == held
        memory = served.memory()
        print("resident MB", memory >> 20)
        assert memory < 400 << 20
        for transport in made:
            transport.abort()
    finally:
        api_story.end_process(served.process)


async def test_a_build_where_nobody_yields_is_caught(tmp_path, many_files):
    served = started(tmp_path, "patient", connections=500, body_seconds=60)
    try:
        made = await crowd(served.port, 600)
        assert await fresh_client(served) is None
        for transport in made:
            transport.abort()
    finally:
        api_story.end_process(served.process)


def test_a_stream_that_brings_no_statement_ends(tmp_path):
    """A byte before each pause is over; but never a statement."""
    served = started(tmp_path, body_seconds=0.2)  # so the window is 4 s
    try:
        with served.socket(10) as wire:
            head = [("Transfer-Encoding", "chunked")]
            wire.sendall(request("POST", "/submissions", b"", head))
            wire.sendall(b"4\r\n\x82\x59\x03\xe8\r\n")  # 1,000 bytes are to come
            begin = time.monotonic()
            while time.monotonic() < begin + 8 and not answered(wire):
                wire.sendall(b"1\r\nx\r\n")
            seconds = time.monotonic() - begin
            answer = read_answer(wire)
    finally:
        api_story.end_process(served.process)
    assert answer.status == 408
    assert 3.5 < seconds < 7


def answered(wire):
    """Wait a moment; say whether an answer has begun."""
    wire.settimeout(0.1)
    try:
        return bool(wire.recv(1, socket.MSG_PEEK))
    except TimeoutError:
        return False
