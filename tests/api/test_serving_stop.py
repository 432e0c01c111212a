"""A stop under load: everybody is answered, or refused where they connect."""

import asyncio
import re
import signal
import time

import api_story
import httpx
import pytest
from api_story import COSE, exchange, fresh, item, lines_of, read_answer, request
from test_api_submissions import Stream

from trace_node import config
from trace_node.node import Node
from trace_node.trust.statement import decode_statement

GRACE = 3.0
CLIENTS = 24


@pytest.fixture
def served(tmp_path):
    served = serve(tmp_path)
    yield served
    if served.process.poll() is None:
        served.process.kill()
        served.process.wait()


def serve(folder, broken=""):
    key = api_story.make(folder / "center")
    env = {"TRACE_NODE_STOP_SECONDS": str(GRACE)}
    return api_story.serve(folder / "center", key, env, broken=broken)


class Load:
    """Clients that never pause; half of them connect anew for each request."""

    def __init__(self, port):
        self.port = port
        self.acked, self.other, self.dropped = [], [], []
        self.refused = 0

    async def run(self):
        await asyncio.gather(*(self.client(n % 2 == 0) for n in range(CLIENTS)))

    async def client(self, keeps):
        streams = None
        while True:
            if streams is None:
                try:
                    streams = await asyncio.open_connection("127.0.0.1", self.port)
                except ConnectionRefusedError:
                    self.refused += 1
                    return
            statement = fresh()
            try:
                status, headers, body = await self.post(*streams, statement)
            except (ConnectionError, asyncio.IncompleteReadError) as error:
                self.dropped.append(repr(error))
                streams[1].transport.abort()
                return
            if status == 201:
                self.acked.append((int(headers["location"].rpartition(".")[2]), body))
            else:
                self.other.append(status)
            if not keeps or headers.get("connection") == "close":
                streams[1].close()
                streams = None

    async def post(self, reader, writer, statement):
        writer.write(request("POST", "/entries", statement, COSE.items()))
        top = (await reader.readuntil(b"\r\n\r\n")).decode()
        headers = dict(line.lower().split(": ", 1) for line in top.split("\r\n")[1:-2])
        body = await reader.readexactly(int(headers["content-length"]))
        return int(top[9:12]), headers, body


async def stopped_under_load(served, seconds=0.7, sign=signal.SIGTERM):
    load = Load(served.port)
    running = asyncio.create_task(load.run())
    await asyncio.sleep(seconds)
    served.process.send_signal(sign)
    begin = time.monotonic()
    await asyncio.wait_for(running, 20)
    code = await asyncio.to_thread(served.process.wait, 20)
    return load, code, time.monotonic() - begin


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
async def test_stopped_under_load_everybody_is_answered_or_refused(served, sign):
    load, code, seconds = await stopped_under_load(served, sign=sign)
    print(len(load.acked), "acknowledged, ended in", round(seconds, 2), "s")
    assert (load.dropped, code) == ([], 0), served.log()
    assert set(load.other) <= {503}
    assert load.refused == CLIENTS
    assert len(load.acked) > 100
    assert seconds < GRACE
    node = Node(served.folder, config.load(served.folder))
    try:
        for index, receipt in load.acked:
            assert node.receipts.receipt(index) == receipt
    finally:
        node.close()


def test_the_last_head_is_published(tmp_path, monkeypatch):
    """Also when the line takes longer to end than the publisher's last turn."""
    api_story.make(tmp_path / "center")
    node = Node(tmp_path / "center", config.load(tmp_path / "center"))
    commit = node.sequencer.commit

    def slowly(candidates):
        time.sleep(0.5 if candidates else 0)
        return commit(candidates)

    monkeypatch.setattr(node.sequencer, "commit", slowly)
    node.start()
    candidate = node.preparer.candidate(decode_statement(fresh()))
    outcomes = []
    node.intake.put(candidate, None, outcomes.extend)
    node.stop()
    assert outcomes[0][1].index < node.publisher.size


async def test_a_build_that_stops_hastily_is_caught(tmp_path):
    for turn in range(8):
        (tmp_path / str(turn)).mkdir()
        served = serve(tmp_path / str(turn), "hasty")
        load, _, _ = await stopped_under_load(served)
        if load.dropped:
            return
    pytest.fail("the check cannot fail")


def stream_of(served, count=5):
    stream = Stream(served)
    for number in range(count):
        stream.send(item(fresh()))
        assert stream.line()["position"] == number
    stream.send(item(fresh())[:40])  # the beginning of one more
    return stream


def test_a_stream_ends_at_a_statement_and_says_so(served):
    with stream_of(served) as stream:
        served.process.terminate()
        last = stream.line()
        assert last["position"] == 5
        assert last["type"] == "urn:trace-node:problem:overloaded"
        assert "stopping" in last["detail"]
        assert stream.line() is None
    assert served.process.wait(20) == 0


def test_a_stream_that_is_not_told_is_caught(tmp_path):
    served = serve(tmp_path, "endless")
    with stream_of(served) as stream:
        served.process.terminate()
        begin = time.monotonic()
        try:
            last = stream.line()
        except (OSError, ValueError):
            last = None
        assert last is None or "stopping" not in last["detail"]
        assert time.monotonic() - begin > 1  # it waited for the end of the grace
    served.process.wait(20)


def test_a_stopping_center_is_not_ready_and_takes_nobody_new(served):
    with served.socket() as kept, served.socket() as busy:
        assert exchange(kept, request("GET", "/health/ready")).status == 200
        busy.sendall(request("POST", "/entries", b"", [("Content-Length", "9")]))
        time.sleep(0.1)
        served.process.terminate()
        time.sleep(0.4)
        ready = exchange(kept, request("GET", "/health/ready"))
        assert ready.status == 503
        assert ready.headers["connection"] == "close"
        assert b"stopping" in ready.body
        with pytest.raises(ConnectionRefusedError):
            served.socket()
        busy.sendall(b"123456789")  # the rest of what runs is still read
        assert read_answer(busy).status == 400
    assert served.process.wait(20) == 0


def test_an_idle_connection_may_send_one_last_request(served):
    with served.socket() as kept:
        assert exchange(kept, request("GET", "/health/live")).status == 200
        served.process.terminate()
        time.sleep(0.4)
        answer = exchange(kept, request("POST", "/entries", fresh(), COSE.items()))
        assert answer.status == 201
        assert answer.headers["connection"] == "close"
        assert kept.recv(1) == b""
    assert served.process.wait(20) == 0


def test_who_never_ends_does_not_hold_up_the_stop(served):
    with served.socket() as endless:
        endless.sendall(request("POST", "/entries", b"", [("Content-Length", "9")]))
        time.sleep(0.1)
        begin = time.monotonic()
        served.process.terminate()
        assert served.process.wait(20) == 0
        assert time.monotonic() - begin < GRACE + 1  # and the interpreter's own end


def test_a_second_signal_ends_at_once(served):
    with served.socket() as endless:
        endless.sendall(request("POST", "/entries", b"", [("Content-Length", "9")]))
        time.sleep(0.1)
        served.process.terminate()
        time.sleep(0.5)
        begin = time.monotonic()
        served.process.terminate()
        assert served.process.wait(20) == 1
        assert time.monotonic() - begin < 1
    assert "a second signal" in served.log()


def test_answers_that_wait_in_the_line_go_out(served):
    """Many streams at once: every line that was begun is whole."""
    with httpx.Client(base_url=served.url, timeout=20) as client:
        body = b"".join(item(fresh()) for _ in range(400))
        answer = client.post("/submissions", content=body)
        assert len(lines_of(answer.text)) == 400
        served.process.terminate()
    assert served.process.wait(20) == 0
    assert re.search(r"SIGTERM: stopping", served.log())
