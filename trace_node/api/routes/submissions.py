"""The bulk door: ``POST /submissions``, a stream in and a stream out.

Reading and answering are two tasks, so that a client that first sends all and
then reads is served as well as one that does both at once. What is read and not
yet answered is bounded. To resume, send again: a known statement gets its first
receipt.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from trace_node.api.bodies import Disconnected, check_media, chunks
from trace_node.api.problems import problem
from trace_node.api.register import Desk
from trace_node.api.sequence import Framer, Limits
from trace_node.errors import Malformed, Overloaded, ReadOnly, TraceNodeError
from trace_node.ledger.sequencer import Candidate, Outcome, Placed
from trace_node.node import LOGGER
from trace_node.trust.base64url import encode as base64url
from trace_node.trust.manifest import MAX_RECORDS

NDJSON = "application/x-ndjson"
UNANSWERED = 8_192  # statements read and not yet answered, a connection
IN_LINE = 64  # of them in line before the sequencer
PATIENCE = 30  # tries of a tenth of a second while the line is full


class Bulk:
    """One request: reads submissions, hands back one line for each."""

    def __init__(self, desk: Desk, receive: Receive) -> None:
        settings = desk.node.settings
        self._desk = desk
        self._receive = receive
        self._idle = settings.body_seconds
        self._framer = Framer(
            Limits(
                settings.entry_bytes,
                settings.record_bytes,
                settings.submission_bytes,
                MAX_RECORDS,
            )
        )
        self._answers: asyncio.Queue[Any] = asyncio.Queue(UNANSWERED)
        self._in_line = asyncio.Semaphore(IN_LINE)
        self.broken: TraceNodeError | None = None  # why reading ended early

    async def read(self) -> None:
        """Read to the end; puts a future or an error for each item, then None."""
        try:
            async for data in chunks(self._receive, self._idle):
                for statement, records in self._framer.feed(data):
                    await self._answers.put(await self._submit(statement, records))
            self._framer.end()
        except Disconnected:
            pass
        except TraceNodeError as error:
            self.broken = error
            await self._answers.put(error)
        except Exception as error:  # noqa: BLE001 - the one who waits must hear of it
            LOGGER.error("submissions end early", exc_info=error)
            await self._answers.put(ReadOnly("the submission could not be stored"))
        await self._answers.put(None)

    async def _submit(
        self, statement: bytes, records: list[bytes]
    ) -> "asyncio.Future[Outcome] | TraceNodeError":
        try:
            candidate = await asyncio.get_running_loop().run_in_executor(
                self._desk.preparing,
                self._desk.node.preparer.prepare,
                statement,
                records,
            )
        except TraceNodeError as error:
            return error
        await self._in_line.acquire()
        try:
            future = await self._put(candidate)
        except TraceNodeError as error:
            self._in_line.release()
            return error
        future.add_done_callback(lambda _: self._in_line.release())
        return future

    async def _put(self, candidate: Candidate) -> "asyncio.Future[Outcome]":
        for _ in range(PATIENCE):
            try:
                self._desk.check_room(bulk=True)
                return self._desk.put(candidate, bulk=True)
            except Overloaded:
                await asyncio.sleep(0.1)
        return self._desk.put(candidate, bulk=True)

    async def next(self) -> TraceNodeError | Placed | None:
        """Return what became of the next submission, None after the last."""
        item = await self._answers.get()
        if isinstance(item, asyncio.Future):
            outcome: Outcome = await item
            return outcome
        error: TraceNodeError | None = item
        return error


class Answer(Response):
    """The stream of lines.

    Not the framework's StreamingResponse: that one listens for a disconnect by
    receiving, and would swallow parts of the body that is still being read.
    """

    media_type = NDJSON

    def __init__(self, lines: AsyncIterator[bytes]) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._lines = lines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the lines as they come."""
        del scope, receive
        start = {"type": "http.response.start", "status": 200}
        await send({**start, "headers": self.raw_headers})
        async for data in self._lines:
            await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def line(position: int, outcome: TraceNodeError | Placed) -> bytes:
    """Return the answer's line for the submission at ``position``."""
    if isinstance(outcome, TraceNodeError):
        return orjson.dumps({"position": position, **problem(outcome)}) + b"\n"
    answer = {
        "position": position,
        "index": outcome.index,
        "id": f"1.{outcome.index}",
        "receipt": base64url(outcome.receipt or b""),
    }
    return orjson.dumps(answer) + b"\n"


def router(desk: Desk) -> APIRouter:
    """Return the route of ``/submissions``."""
    routes = APIRouter(tags=["Submissions"])
    media = "application/cbor-seq"

    @routes.post(
        "/submissions",
        response_class=Response,
        responses={
            200: {
                "description": "a line for each submission: index and receipt, "
                "or a problem",
                "content": {NDJSON: {"schema": {"type": "string"}}},
            },
            400: {"description": "the stream starts with no submission"},
            408: {"description": "the body came too slowly"},
            413: {"description": "over a limit"},
            415: {"description": "not a CBOR sequence"},
            503: {"description": "try again later"},
        },
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {media: {"schema": {"type": "string", "format": "binary"}}},
            }
        },
    )
    async def submit(request: Request) -> Answer:
        """Register a CBOR sequence of ``[statement, [record, …]]``."""
        desk.check_room(bulk=True)
        check_media(request.scope, media, "application/octet-stream")
        bulk = Bulk(desk, request.receive)
        reader = asyncio.create_task(bulk.read())
        # A stream that fails before anything was registered has a status yet.
        first = await bulk.next()
        if first is None:
            await reader
            raise Malformed("no submission in the body", where="body")
        if isinstance(first, TraceNodeError) and first is bulk.broken:
            raise first

        async def lines() -> AsyncIterator[bytes]:
            position = 0
            outcome: Outcome | None = first
            try:
                while outcome is not None:
                    yield line(position, outcome)
                    position, outcome = position + 1, await bulk.next()
            finally:
                reader.cancel()

        return Answer(lines())

    return routes
