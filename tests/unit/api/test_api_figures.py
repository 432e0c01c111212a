"""Figures of all workers: sums, the dead, the stale, and what is damaged."""

import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from trace_node.api.figures import STALE, Figures, born
from trace_node.api.stopping import Stop


def node(entries=0, reason=""):
    health = SimpleNamespace(
        commits=entries,
        entries=entries,
        failures=0,
        started=time.monotonic(),
        reason=lambda: health.told,
        told=reason,
        degraded={},
    )
    return SimpleNamespace(
        health=health,
        keeper=SimpleNamespace(last=lambda: SimpleNamespace(size=7 + entries)),
        publisher=SimpleNamespace(size=5),
        intake=SimpleNamespace(waiting=2, wait=0.1),
        patrol=SimpleNamespace(damage={}, entries=3),
    )


def worker(folder, number, entries=0, reason=""):
    made = Figures(node(entries, reason), Stop(), folder, number)
    folder.mkdir(exist_ok=True)
    made._share()
    return made


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run"


def test_every_worker_answers_with_the_sum(folder):
    workers = [worker(folder, number, 10 * number + 1) for number in range(3)]
    for one in workers:
        center = one.center()
        assert center.counter("entries") == 1 + 11 + 21
        assert center.total("waiting") == 6
        assert center.top("log_size") == 28
        assert len(center.living) == 3
        assert center.ready()


def test_what_was_told_is_in_the_file(folder):
    one, other = worker(folder, 0), worker(folder, 1)
    one.node.health.entries = 100
    assert one.center().counter("entries") == 100
    assert other.center().counter("entries") == 100


def test_counters_do_not_go_backwards_when_a_worker_is_replaced(folder):
    other = worker(folder, 1, 5)
    with DeadProcess() as pid_and_birth:
        gone = worker(folder, 0, 40)
        gone.report = lambda report=gone.report: replaced(report(), *pid_and_birth)
        gone._share()
    center = other.center()
    assert center.counter("entries") == 45
    assert [report.worker for report in center.living] == [1]
    assert center.total("waiting") == 2  # nobody waits in a dead process
    successor = worker(folder, 0, 3)
    assert successor.center().counter("entries") == 48
    assert other.center().counter("restarts") == 1


class DeadProcess:
    """Its pid and birth; gone when the block ends."""

    def __enter__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE
        )
        return self.process.pid, born(self.process.pid)

    def __exit__(self, *_):
        self.process.communicate(b"\n")


def replaced(report, pid, birth):
    return type(report)(
        **{n: getattr(report, n) for n in report.__slots__}
        | {"pid": pid, "born": birth}
    )


def test_a_pid_that_is_used_again_is_another_process(folder):
    one, other = worker(folder, 0), worker(folder, 1)
    birth = born(os.getpid())
    other.report = lambda report=other.report: replaced(
        report(), os.getpid(), birth - 1
    )
    other._share()
    assert [report.worker for report in one.center().living] == [0]


def test_a_paused_worker_counts_but_has_no_levels(folder, monkeypatch):
    one, paused = worker(folder, 0, 1), worker(folder, 1, 2)
    before = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: before + STALE + 1)
    center = one.center()
    assert center.counter("entries") == 3
    assert [report.worker for report in center.living] == [0]
    paused._share()  # it goes on
    assert len(one.center().living) == 2


def test_one_worker_that_takes_writes_is_enough_and_the_others_are_told(folder):
    good, bad = worker(folder, 0), worker(folder, 1, reason="the disk is full")
    for one in (good, bad):
        assert one.center().ready()
        assert one.center().problem() == "worker 1: the disk is full"
    good.node.health.told = "so is this one's"
    assert not good.center().ready()
    assert not bad.center().ready()


async def test_a_stopping_worker_takes_none(folder):
    alone = Figures(node(), Stop())
    assert alone.center().ready()
    alone.stop.set()
    assert not alone.center().ready()
    assert alone.center().problem() == "stopping"


@pytest.mark.parametrize("junk", [b"", b"{", b"[]", b'{"worker": 1}', b"\xff"])
def test_a_damaged_file_is_left_out(folder, junk, caplog):
    one = worker(folder, 0, 1)
    (folder / "worker-1.json").write_bytes(junk)
    assert one.center().counter("entries") == 1
    assert "worker-1.json" in caplog.text


def test_where_nothing_can_be_written_the_own_figures_are_told(folder, caplog):
    one = worker(folder, 0, 1)
    (folder / "worker-0.tmp").mkdir()  # so that the write fails
    one.node.health.entries = 9
    assert one.center().counter("entries") == 9
    assert one.center().counter("entries") == 9
    assert caplog.text.count("cannot be shared") == 1


def test_a_secret_in_a_reason_is_hidden():
    alone = Figures(node(reason="postgresql://me:hunter22@db"), Stop())
    assert alone.center().problem() == "postgresql://me:***@db"
