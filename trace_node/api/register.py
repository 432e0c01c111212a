"""The hot path: ``POST /entries``, as plain ASGI below the framework.

A request here costs a third of what a framework route does; the framework's
route of the same path (routes/entries.py) documents it and calls this.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from starlette.types import Receive, Scope, Send

from trace_node.api.bodies import check_media, read_body
from trace_node.api.pulse import Pulse
from trace_node.errors import TraceNodeError
from trace_node.ledger.sequencer import Candidate, Outcome, Placed
from trace_node.node import Node
from trace_node.trust.statement import decode_statement

PREPARING = 2  # threads that decode and check what comes in bulk
MEDIA = ("application/cose", "application/octet-stream")


class Desk:
    """Hands candidates from the event loop to the intake, and outcomes back."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pulse = Pulse()
        # Of their own: imports that fill the threads which reads share would make
        # every receipt wait. Preparing holds the interpreter, so two are plenty.
        self.preparing = ThreadPoolExecutor(PREPARING, "prepare")

    def check_room(self, *, bulk: bool = False) -> None:
        """Raise when no write is taken now; asked before its body is read.

        Raises:
            Overloaded: it would be answered too late.
            ReadOnly: the center takes no writes.
        """
        self._pulse.start()
        self.node.check_room(bulk=bulk, late=self._pulse.late)

    def put(
        self, candidate: Candidate, *, bulk: bool = False
    ) -> "asyncio.Future[Outcome]":
        """Put a candidate in line; ``bulk`` if it is one of many.

        Raises:
            Overloaded: the line is too long.
        """
        loop = self._loop = asyncio.get_running_loop()
        future: asyncio.Future[Outcome] = loop.create_future()
        self.node.intake.put(candidate, future, self._deliver, bulk=bulk)
        return future

    def _deliver(self, results: list[tuple[Any, Outcome]]) -> None:
        # Called in the sequencer's thread: one wake-up for a whole group.
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(_resolve, results)


def _resolve(results: list[tuple[Any, Outcome]]) -> None:
    for future, outcome in results:
        if not future.done():  # the client may have gone away meanwhile
            future.set_result(outcome)


class Register:
    """``POST /entries`` (SCRAPI): a statement in, its receipt out."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._node = desk.node

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 201 with the receipt once the entry is durable.

        A repeated statement gets its first receipt and the same status: a
        client that lost the answer cannot tell the two apart, and need not.
        """
        placed = await self.register(scope, receive)
        receipt = placed.receipt or b""
        await send(
            {
                "type": "http.response.start",
                "status": 201,
                "headers": [
                    (b"content-type", b"application/cose"),
                    (b"content-length", b"%d" % len(receipt)),
                    (b"location", b"/entries/1.%d" % placed.index),
                    (b"cache-control", b"no-store"),
                ],
            }
        )
        await send({"type": "http.response.body", "body": receipt})

    async def register(self, scope: Scope, receive: Receive) -> Placed:
        """Read, prepare, wait.

        Raises:
            TraceNodeError: it was not registered, and why.
        """
        node = self._node
        self._desk.check_room()
        check_media(scope, *MEDIA)
        settings = node.settings
        body = await read_body(
            scope, receive, settings.entry_bytes, settings.body_seconds
        )
        statement = decode_statement(body)
        if statement.governance_type:  # its record is read from disk
            candidate = await asyncio.to_thread(node.preparer.candidate, statement)
        else:
            candidate = node.preparer.candidate(statement)
        outcome = await self._desk.put(candidate)
        if isinstance(outcome, TraceNodeError):
            raise outcome
        return outcome
