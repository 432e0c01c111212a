"""A clock that leaps must not date a log: a tick is for ever."""

from hashlib import sha256

import pytest

from tests.faults.story import START, Clock, Story, record
from trace_node.errors import ReadOnly
from trace_node.node import Node
from trace_node.services.clock import TickClock

LEAP, IDLE = 3_600, 90 * 86_400
YEAR = 365 * 86_400


class Bench:
    """A wall clock and one that nobody sets, both moved by hand."""

    def __init__(self, last=1_000_000):
        self.wall, self.up, self.last = Clock(last), 0.0, last
        self.clock = TickClock(self.wall, lambda: self.up, leap=LEAP, idle=IDLE)

    def read(self, seconds=0, leap=0):
        """Let time pass, let the wall clock leap; read, and tick if it is later."""
        self.up += seconds
        self.wall.seconds += seconds + leap
        self.last = max(self.last, self.clock.read(self.last))
        return self.wall.seconds


def test_time_that_passes_is_believed_however_long_it_was():
    bench = Bench()
    for seconds in (0, 1, LEAP, 10 * LEAP, YEAR):
        assert bench.read(seconds) == bench.wall.seconds


def test_a_leap_is_refused_until_the_clock_is_right_again():
    bench = Bench()
    bench.read()
    with pytest.raises(ReadOnly, match="leapt 315360000 s ahead"):
        bench.read(5, leap=10 * YEAR)
    with pytest.raises(ReadOnly):
        bench.read(LEAP * 5)  # it does not become right by waiting
    assert bench.read(1, leap=-10 * YEAR) == 1_000_006 + 5 * LEAP


@pytest.mark.parametrize(("leap", "believed"), [(LEAP, True), (LEAP + 1, False)])
def test_the_setting_is_the_limit(leap, believed):
    bench = Bench()
    bench.read()
    if believed:
        bench.read(leap=leap)
    else:
        with pytest.raises(ReadOnly):
            bench.read(leap=leap)


def test_small_leaps_do_not_add_up_unseen_to_a_large_one_at_once():
    bench = Bench()
    bench.read()
    for _ in range(3):
        bench.read(1, leap=LEAP)  # each was believed, and dated what came
    assert bench.last == 1_000_000 + 3 + 3 * LEAP


def test_a_clock_that_was_set_back_may_be_set_right():
    bench = Bench()
    bench.read()
    bench.read(5, leap=-10 * YEAR)
    bench.read(10 * LEAP)  # nothing is dated meanwhile
    bench.read(1, leap=10 * YEAR)
    assert bench.last == bench.wall.seconds == 1_000_006 + 10 * LEAP


@pytest.mark.parametrize(("silent", "believed"), [(IDLE, True), (IDLE + 1, False)])
def test_at_the_start_the_log_may_have_been_silent_for_so_long(silent, believed):
    bench = Bench()
    bench.wall.seconds += silent
    if believed:
        assert bench.read() == bench.wall.seconds
    else:
        with pytest.raises(ReadOnly, match=r"90 days before.*clock_idle_days"):
            bench.read()


def test_another_process_that_ticked_vouches_for_the_time():
    bench = Bench()
    bench.read()
    bench.last += YEAR
    assert bench.read(leap=YEAR) == bench.wall.seconds


class Leaping(Node):
    """A node whose two clocks the test moves; the other one stands still."""

    def __init__(self, *given, **named):
        super().__init__(*given, **named)
        self.tick_clock = self.admission._clock = TickClock(
            self.clock, lambda: 0.0, leap=LEAP, idle=100 * YEAR
        )


def test_a_center_whose_clock_leaps_signs_nothing_says_why_and_comes_back(tmp_path):
    told = Story(tmp_path / "center")
    told.node.close()
    told.open(Leaping)
    (first,) = told.register(told.single(1))
    told.clock.seconds += 10 * YEAR
    (refused,) = told.register(told.single(2))
    assert isinstance(refused, ReadOnly), refused
    assert "the clock leapt" in told.node.health.reason()
    told.node.intake.recover()  # what the center does every two seconds
    assert "the clock leapt" in told.node.health.reason()
    told.clock.seconds = START + 1
    told.node.intake.recover()
    assert told.node.health.reason() == ""
    (second,) = told.register(told.single(2))
    assert second.index == first.index + 2  # with a tick before it
    assert told.stored().entries[-1][2] == START + 1
    assert told.faults() == []
    told.node.close()


def test_a_clock_that_leaps_drops_no_record_that_waits(tmp_path):
    told = Story(tmp_path / "center")
    told.node.close()
    told.open(Leaping)
    data = record("waits for its statement")
    digest = sha256(data).digest()
    told.node.vault.stage(digest, data, told.clock())
    told.node._follow()
    told.clock.seconds += 10 * YEAR
    with pytest.raises(ReadOnly):
        told.node._follow()
    assert told.node.vault.read(digest) == data
    # By a clock that went there in its time it has waited long enough.
    told.node.tick_clock = TickClock(told.clock, told.clock, leap=LEAP, idle=11 * YEAR)
    told.node._follow()
    assert not told.node.vault.has(digest)
    told.node.close()


def test_without_the_guard_the_tick_stays(tmp_path):
    class Believing(Node):
        def __init__(self, *given, **named):
            super().__init__(*given, **named)
            self.admission._clock.read = lambda _: self.clock()

    told = Story(tmp_path / "center")
    told.node.close()
    told.open(Believing)
    told.clock.seconds += 10 * YEAR
    told.register(told.single(1))
    told.clock.seconds = START + 1
    told.register(told.single(2))
    assert told.stored().entries[-1][2] == START + 10 * YEAR
    told.node.close()
