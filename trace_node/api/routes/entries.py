"""Entries: SCRAPI registration and receipts, statements and tlog-proofs."""

import asyncio
import re
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from trace_node.api.register import Register
from trace_node.errors import NotFound
from trace_node.ledger.keyset import encode_key_set
from trace_node.node import Node

COSE = "application/cose"
LAST = (1 << 63) - 1  # no index is this large: a size must fit 63 bits, too
_ID = re.compile(r"1\.(0|[1-9][0-9]{0,18})")
EntryId = Annotated[str, Path(description="1.<index>", max_length=32, examples=["1.0"])]


def entry_index(entry_id: str) -> int:
    """Return the index in an entry id ``1.<index>``.

    Raises:
        NotFound: no entry has such an id.
    """
    found = _ID.fullmatch(entry_id)
    index = int(found[1]) if found else -1
    if not 0 <= index < LAST:
        raise NotFound("entry ids are 1.<index>", where="path")
    return index


def router(node: Node, register: Register) -> APIRouter:
    """Return the routes of ``/entries`` and ``/.well-known/scitt-keys``."""
    routes = APIRouter(tags=["SCRAPI"])
    binary: dict[str, Any] = {
        "content": {COSE: {"schema": {"type": "string", "format": "binary"}}}
    }
    problem: dict[str, Any] = {
        "content": {"application/concise-problem-details+cbor": {}}
    }
    failures: dict[int | str, dict[str, Any]] = {
        404: {"description": "no such entry", **problem},
        503: {"description": "try again later", **problem},
    }

    @routes.post(
        "/entries",
        status_code=201,
        response_class=Response,
        responses={
            201: {"description": "the receipt", **binary},
            400: {"description": "malformed", **problem},
            408: {"description": "the body came too slowly", **problem},
            413: {"description": "over a limit", **problem},
            415: {"description": "not application/cose", **problem},
            422: {"description": "refused, or the signature is bad", **problem},
            503: {"description": "try again later", **problem},
        },
        openapi_extra={"requestBody": {"required": True, **binary}},
    )
    async def register_statement(request: Request) -> Response:
        """Register a signed statement; answer its receipt once it is durable."""
        placed = await register.register(request.scope, request.receive)
        headers = {"location": f"/entries/1.{placed.index}"}
        return Response(placed.receipt, 201, headers, COSE)

    @routes.get(
        "/entries/{entry_id}",
        response_class=Response,
        responses={200: {"description": "the first receipt", **binary}, **failures},
    )
    async def receipt(entry_id: EntryId) -> Response:
        """Return the receipt of an entry, byte for byte the first one."""
        index = entry_index(entry_id)
        data = await asyncio.to_thread(node.receipts.receipt, index)
        return Response(data, media_type=COSE)

    @routes.get(
        "/entries/{entry_id}/statement",
        response_class=Response,
        responses={200: {"description": "the statement", **binary}, **failures},
    )
    async def statement(entry_id: EntryId) -> Response:
        """Return the signed statement of an entry."""
        index = entry_index(entry_id)
        entry = await asyncio.to_thread(node.checked.entry, index)
        return Response(entry.statement, media_type=COSE)

    @routes.get(
        "/entries/{entry_id}/proof",
        response_class=Response,
        responses={
            200: {"description": "C2SP tlog-proof", "content": {"text/plain": {}}},
            **failures,
        },
    )
    async def proof(entry_id: EntryId) -> Response:
        """Return the tlog-proof of an entry to the newest head."""
        index = entry_index(entry_id)
        data = await asyncio.to_thread(node.receipts.tlog_proof, index)
        return Response(data, media_type="text/plain; charset=utf-8")

    @routes.get(
        "/.well-known/scitt-keys",
        response_class=Response,
        responses={
            200: {"description": "COSE_KeySet", "content": {"application/cbor": {}}}
        },
    )
    async def keys() -> Response:
        """Return the keys that receipts are signed with."""
        return Response(
            encode_key_set([node.keys.receipt.public]), media_type="application/cbor"
        )

    @routes.get(
        "/.well-known/scitt-keys/{kid}",
        response_class=Response,
        responses={
            200: {"description": "COSE_Key", "content": {"application/cbor": {}}},
            404: {"description": "no such key", **problem},
        },
    )
    async def key(
        kid: Annotated[str, Path(description="base64url thumbprint", max_length=64)],
    ) -> Response:
        """Return one receipt key by its thumbprint."""
        public = node.keys.receipt.public
        if kid != public.kid_text:
            raise NotFound("no such key", where="path")
        return Response(public.cose, media_type="application/cbor")

    return routes
