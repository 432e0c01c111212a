"""No memory left: the client is told to come again, never that it was wrong."""

import asyncio
from hashlib import sha256

import httpx
import orjson
import pytest

from tests.faults.story import Story, record
from trace_node.api.app import NO_THREAD, create_app
from trace_node.api.wire import wire
from trace_node.trust.strictjson import loads_strict


@pytest.fixture
def told(tmp_path):
    told = Story(tmp_path / "center")
    yield told
    told.node.close()


async def put(told, data):
    app = create_app(told.node)
    # An error that nobody caught must show as the 500 it would be on the wire.
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        path = f"/v1/records/{sha256(data).hexdigest()}"
        headers = {"content-type": "application/json"}
        return await client.put(path, content=data, headers=headers)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (MemoryError(), 503),
        (RuntimeError(NO_THREAD), 503),
        (RuntimeError("a defect of ours"), 500),
    ],
)
async def test_a_request_without_memory_is_503_and_a_defect_stays_one(
    told, monkeypatch, error, status
):
    def stage(*_):
        raise error

    monkeypatch.setattr(told.node.vault, "stage", stage)
    answer = await put(told, record("no room"))
    assert answer.status_code == status, answer.text
    if status == 503:
        assert answer.headers["retry-after"] == "1"
        assert answer.json()["type"] == "urn:trace-node:problem:overloaded"


def test_a_document_that_no_memory_can_hold_is_not_called_malformed(monkeypatch):
    def loads(_):
        raise orjson.JSONDecodeError("Not enough memory to allocate buffer", "", 0)

    monkeypatch.setattr(orjson, "loads", loads)
    with pytest.raises(MemoryError):
        loads_strict(b"{}")


class Transport(asyncio.Transport):
    def __init__(self):
        super().__init__()
        self.written, self.aborted, self.closed = b"", False, False

    def write(self, data):
        self.written += data

    def abort(self):
        self.aborted = True

    def close(self):
        self.closed = True


@pytest.mark.parametrize("cause", [MemoryError(), ValueError()])
def test_a_parser_without_memory_hangs_up_and_bad_http_is_told(cause):
    connection = wire(1.0).__new__(wire(1.0))
    connection.transport, connection.cycle = Transport(), None
    connection._served = None
    try:
        raise RuntimeError("what the parser makes of it") from None
    except RuntimeError as error:
        error.__context__ = cause
        connection.send_400_response("Invalid HTTP request received.")
    told = connection.transport
    assert told.aborted == isinstance(cause, MemoryError)
    assert told.written.startswith(b"HTTP/1.1 400") != told.aborted
