"""Writes that are turned away before anything is made of them.

The disk of this center is called full, so every write is refused, always.
"""

import re
import time

import api_story
import pytest
from api_story import COSE, exchange, fresh, read_answer, request

from trace_node.trust import cbor

FULL = {"TRACE_NODE_FREE_BYTES": str(1 << 60), "TRACE_NODE_BODY_SECONDS": "1"}


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    yield from serving(tmp_path_factory.mktemp("full"))


def serving(folder, broken=""):
    key = api_story.make(folder / "center")
    served = api_story.serve(folder / "center", key, FULL, broken=broken, ready=False)
    yield served
    api_story.end_process(served.process)


def post(body, path="/entries", headers=()):
    return request("POST", path, body, [*COSE.items(), *headers])


def check(answer):
    assert answer.status == 503
    assert answer.headers["retry-after"] == "30"
    assert answer.headers["content-type"] == (
        "application/concise-problem-details+cbor"
    )
    assert cbor.decode(answer.body)[-1] == "read-only"


def test_a_refusal_is_a_problem_as_any_other(full):
    check(full.raw(post(fresh())))
    answer = full.raw(post(b"", "/submissions"))
    assert answer.status == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert b"nearly full" in answer.body


def test_reads_and_other_writes_go_their_way(full):
    assert full.raw(request("GET", "/entries/1.0")).status == 200
    assert full.raw(request("GET", "/entries")).status == 405
    assert full.raw(request("PUT", "/v1/records/x", b"{}")).status in {400, 503}


@pytest.mark.parametrize("size", [0, 1, 300, 60_000])
def test_the_body_is_thrown_away_and_the_connection_goes_on(full, size):
    with full.socket() as wire:
        for _ in range(3):
            check(exchange(wire, post(b"x" * size)))
        answer = exchange(wire, request("GET", "/health/live"))
        assert (answer.status, answer.body) == (200, b'{"live":true}')


def test_requests_sent_at_once_are_answered_in_turn(full):
    with full.socket() as wire:
        read = request("GET", "/health/live")
        wire.sendall(post(fresh()) + read + post(fresh()) + post(b"junk"))
        told, until = b"", time.monotonic() + 5
        while told.count(b"HTTP/1.1 ") < 4 and time.monotonic() < until:
            told += wire.recv(65_536)
    statuses = [int(status) for status in re.findall(rb"HTTP/1.1 (\d+)", told)]
    assert statuses == [503, 200, 503, 503]


def test_a_body_in_parts_is_thrown_away_in_parts(full):
    with full.socket() as wire:
        sent = post(fresh())
        wire.sendall(sent[:-100])
        check(read_answer(wire))
        time.sleep(0.1)
        wire.sendall(sent[-100:] + request("GET", "/health/live"))
        assert read_answer(wire).status == 200


def test_who_asks_for_the_end_gets_it(full):
    with full.socket() as wire:
        answer = exchange(wire, post(fresh(), headers=[("Connection", "close")]))
        check(answer)
        assert answer.headers["connection"] == "close"
        assert wire.recv(1) == b""


def keeps_asking(served, seconds=2.5):
    """Ask again and again on one connection, longer than a head may take."""
    with served.socket() as wire:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if exchange(wire, post(fresh())).status != 503:
                return False
            time.sleep(0.1)
    return True


def test_a_client_that_tries_again_and_again_keeps_its_connection(full):
    assert keeps_asking(full)


def test_a_build_that_cuts_such_a_client_off_is_caught(tmp_path):
    for served in serving(tmp_path, "hasty_gate"):
        assert not keeps_asking(served)


def test_a_body_that_never_ends_is_not_waited_for(full):
    with full.socket() as wire:
        wire.sendall(post(fresh())[:-50])
        check(read_answer(wire))
        wire.settimeout(5)
        assert wire.recv(1) == b""  # after the patience for a head


def test_refusals_are_counted(full):
    def told():
        text = full.raw(request("GET", "/metrics")).body.decode()
        return int(float(re.search(r'requests_total{status="5xx"} (.*)', text)[1]))

    before = told()
    for _ in range(5):
        full.raw(post(fresh()))
    assert told() == before + 5
