"""A loop that is behind says so, and sheds before it reads."""

import asyncio
import math
import threading
import time
from types import SimpleNamespace

import pytest

from trace_node.api.pulse import BEAT, Pulse
from trace_node.api.register import Desk, Register
from trace_node.errors import Overloaded
from trace_node.services.line import FEW, Line, Room, Waiting

STALL = 0.3  # seconds


def desk_of(seconds):
    """Return a desk before a line that is short enough, were the loop in time."""
    line = Line(Room(seconds, 100, 1 << 20))
    for _ in range(FEW):
        line.put(Waiting(None, None, print, 1, 1.0))

    def check_room(*, bulk=False, late=0.0):
        line.check_room(0.0, bulk=bulk, late=late)

    settings = SimpleNamespace(entry_bytes=1_000, body_seconds=1.0)
    return Desk(SimpleNamespace(check_room=check_room, settings=settings))


async def stall():
    time.sleep(STALL)  # noqa: ASYNC251 - a loop that hangs is what is tested


async def test_a_loop_that_hangs_is_late_and_then_is_not():
    pulse = Pulse()
    assert pulse.late == 0.0  # not started, not late
    pulse.start()
    await stall()
    assert pulse.late >= STALL - BEAT  # known at once, before the next beat
    await asyncio.sleep(0)
    for _ in range(100):
        await asyncio.sleep(BEAT)
        if pulse.late < STALL / 4:
            break
    assert pulse.late < STALL / 4


def test_it_beats_in_the_loop_that_runs_now():
    pulse = Pulse()

    async def once():
        pulse.start()
        pulse.start()
        await asyncio.sleep(2 * BEAT)
        return pulse.late

    assert asyncio.run(once()) < STALL
    time.sleep(2 * BEAT)
    assert asyncio.run(once()) < STALL


@pytest.mark.parametrize(("seconds", "sheds"), [(0.4, True), (math.inf, False)])
async def test_what_comes_while_the_loop_is_behind_is_shed_unread(seconds, sheds):
    # The second is the negative control: the rule before knew no time.
    desk = desk_of(seconds)
    desk.check_room()
    await stall()

    async def receive():
        raise AssertionError("the body was read")

    register = Register.__new__(Register)
    register._desk, register._node = desk, desk.node
    with pytest.raises(Overloaded if sheds else AssertionError):
        await register.register({"headers": []}, receive)


async def test_imports_leave_the_threads_of_reads_alone():
    desk, gate = desk_of(math.inf), threading.Event()
    loop = asyncio.get_running_loop()
    busy = [loop.run_in_executor(desk.preparing, gate.wait, 10) for _ in range(99)]
    try:
        assert await asyncio.wait_for(asyncio.to_thread(lambda: 7), 5) == 7
    finally:
        gate.set()
        await asyncio.gather(*busy)
