"""Streams end when the process stops, or when no statement ever comes."""

import asyncio

import pytest

from trace_node.api.problems import WireProblem
from trace_node.api.stopping import PROGRESS, Stop, Stream
from trace_node.errors import Overloaded


async def never():
    await asyncio.Event().wait()


def slow(pieces, pause):
    async def receive():
        await asyncio.sleep(pause)
        return {"type": "http.request", "body": next(pieces), "more_body": True}

    return receive


async def test_a_stream_that_waits_ends_when_the_process_stops():
    stop = Stop()
    waiting = [asyncio.create_task(Stream(stop, never, 60)()) for _ in range(3)]
    await asyncio.sleep(0)
    stop.set()
    for task in waiting:
        with pytest.raises(Overloaded, match="stopping"):
            await asyncio.wait_for(task, 1)
    with pytest.raises(Overloaded):
        await Stream(stop, never, 60)()


async def test_what_comes_before_the_stop_is_received():
    stop = Stop()
    stream = Stream(stop, slow(iter([b"a", b"b"]), 0.01), 60)
    assert (await stream())["body"] == b"a"
    assert not stop._waiting


async def test_somebody_elses_time_limit_is_not_taken_for_the_stop():
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await Stream(Stop(), never, 60)()


async def test_bytes_without_a_statement_end_the_stream():
    stream = Stream(Stop(), slow(iter([b"x"] * 1_000), 0.002), 0.001)  # window 20 ms

    async def read():
        for _ in range(1_000):
            await stream()

    with pytest.raises(WireProblem) as told:
        await read()
    assert told.value.status == 408


async def test_one_statement_in_a_window_is_enough():
    pieces = iter([b"x" * PROGRESS] * 100)
    stream = Stream(Stop(), slow(pieces, 0.002), 0.0005)  # window 10 ms
    for _ in range(60):
        await stream()


async def test_time_the_center_takes_itself_does_not_count():
    async def at_once():
        return {"type": "http.request", "body": b"x", "more_body": True}

    stream = Stream(Stop(), at_once, 0.0005)
    for _ in range(30):
        await stream()
        await asyncio.sleep(0.002)
