"""``serve --workers 2`` on PostgreSQL: one center, whoever answers."""

import asyncio
import os
import re
import signal
import time

import api_story
import pytest
from api_story import eventually, fresh, post_many, request
from conftest import database
from prometheus_client.parser import text_string_to_metric_families

from trace_node.ledger.receipt import verify_receipt


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair")
    settings = database("pair")
    key = api_story.make(folder / "center", **settings)
    env = {f"TRACE_NODE_{name.upper()}": value for name, value in settings.items()}
    served = api_story.serve(folder / "center", key, env, ["--workers", "2"])
    eventually(lambda: len(workers(served)) == 2, 30)
    yield served
    api_story.end_process(served.process)


def workers(served):
    """Return the process of each worker, as the log tells it last."""
    told = re.findall(r"worker (\d+) serves, process (\d+)", served.log())
    return {int(number): int(pid) for number, pid in told}


def metrics(served):
    text = served.raw(request("GET", "/metrics"), 20).body.decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def register(served, count=400):
    statements = [fresh() for _ in range(count)]
    answers = await post_many(served.port, statements, clients=32)
    assert {status for status, _, _ in answers} == {201}
    indices = set()
    for statement, (_, headers, body) in zip(statements, answers, strict=True):
        verify_receipt(body, statement, served.receipt_key)
        indices.add(int(headers["location"].rpartition(".")[2]))
    assert len(indices) == count
    return indices


async def test_both_register_and_every_answer_is_of_the_whole_center(pair):
    before = metrics(pair)
    indices = await register(pair)
    await asyncio.sleep(1.5)  # what another worker tells is a second old at most
    told = [await asyncio.to_thread(metrics, pair) for _ in range(8)]
    entries = {one["trace_node_entries_total",] for one in told}
    assert len(entries) == 1
    assert entries.pop() >= before["trace_node_entries_total",] + len(indices)
    each = [told[-1]["trace_node_worker_entries_total", str(n)] for n in range(2)]
    print("entries of each worker", each)
    assert min(each) > 0
    assert {one["trace_node_log_size",] for one in told} == {max(indices) + 1}
    assert {one["trace_node_workers",] for one in told} == {2}


async def test_a_worker_that_is_killed_is_replaced_and_nothing_goes_backwards(pair):
    before = metrics(pair)
    old = workers(pair)
    os.kill(old[1], signal.SIGKILL)
    begin = time.monotonic()
    await register(pair, 50)
    print("registered again after", round(time.monotonic() - begin, 2), "s")
    eventually(lambda: workers(pair)[1] != old[1], 30)
    after = eventually(lambda: with_two(pair), 30)
    assert after["trace_node_restarts_total",] == 1
    for name, value in before.items():
        if name[0].endswith("_total"):
            assert after[name] >= value, name
    await register(pair, 100)


def with_two(pair):
    told = metrics(pair)
    return told if told["trace_node_workers",] == 2 else None


async def test_a_paused_worker_stops_nobody_for_long(pair):
    pid = workers(pair)[0]
    os.kill(pid, signal.SIGSTOP)
    try:
        begin = time.monotonic()
        await register(pair, 50)
        seconds = time.monotonic() - begin
        print("one paused: 50 registered in", round(seconds, 2), "s")
        assert seconds < 10
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_stop_ends_them_all_in_order(pair):
    pids = workers(pair)
    api_story.end_process(pair.process)
    assert pair.process.returncode == 0
    for pid in pids.values():
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_database_that_is_away_ends_the_command_with_its_reason(pair, tmp_path):
    env = {
        "TRACE_NODE_DATABASE_URL": "postgresql+psycopg://me:hunter22@127.0.0.1:1/x",
        "TRACE_NODE_WORKERS": "2",
    }
    with pytest.raises(RuntimeError) as told:
        api_story.serve(pair.folder, pair.receipt_key, env)
    assert "the database does not answer" in str(told.value)
    assert "hunter22" not in str(told.value)
    assert "Traceback" not in str(told.value)
