"""Records: content by its digest, brought before or after its statement."""

import asyncio
from hashlib import sha256
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Path, Query, Request, Response

from trace_node.api.bodies import check_media, read_body
from trace_node.api.problems import WireProblem
from trace_node.errors import Malformed, NotFound
from trace_node.node import Node
from trace_node.services.bundle import record_bundle
from trace_node.services.prepare import check_record
from trace_node.trust.base64url import decode as base64url_decode
from trace_node.trust.record import RECORD_MEDIA, ni, parse_ni

Digest = Annotated[
    str,
    Path(description="SHA-256 as base64url, hex, or its ni: name", max_length=80),
]
JSON = ("application/json", RECORD_MEDIA)
HEX = 64


def parse_digest(text: str) -> bytes:
    """Return the digest that a path names: base64url, hex or ``ni:`` name.

    Raises:
        Malformed: it is none of them.
    """
    if text.startswith("ni:"):
        return parse_ni(text, where="path")
    bare = text.removeprefix("sha-256;")
    try:
        if len(bare) == HEX:
            return bytes.fromhex(bare)
        digest = base64url_decode(bare)
    except (ValueError, Malformed):
        digest = b""
    if len(digest) != sha256().digest_size:
        raise Malformed("no SHA-256 in base64url, hex or as ni: name", where="path")
    return digest


def media_ok(media: str) -> bool:
    """Say whether a body of this media type may be a record."""
    return media in JSON or media.startswith("application/vnd.trace-node.")


def router(node: Node) -> APIRouter:
    """Return the routes of ``/v1/records``."""
    routes = APIRouter(prefix="/v1/records", tags=["Records"])
    settings = node.settings
    document = {"schema": {"type": "object"}}
    body = {"content": {RECORD_MEDIA: document}}
    failures: dict[int | str, dict[str, Any]] = {
        400: {"description": "malformed"},
        503: {"description": "try again later"},
    }

    @routes.put(
        "/{digest:path}",
        status_code=201,
        response_class=Response,
        responses={
            201: {"description": "kept", "content": {JSON[0]: document}},
            204: {"description": "was here already"},
            **failures,
            408: {"description": "the body came too slowly"},
            413: {"description": "over a limit"},
            415: {"description": "not JSON"},
            422: {"description": "does not conform to the rules"},
        },
        openapi_extra={"requestBody": {"required": True, **body}},
    )
    async def put_record(request: Request, digest: Digest) -> Response:
        """Bring a record's bytes; a statement registers them."""
        node.check_room()
        wanted = parse_digest(digest)
        media = request.headers.get("content-type", "").partition(";")[0].strip()
        check_media(request.scope, *JSON, *([media] if media_ok(media) else []))
        data = await read_body(
            request.scope,
            request.receive,
            settings.record_bytes,
            settings.body_seconds,
        )
        if sha256(data).digest() != wanted:
            raise WireProblem(400, "the body has another digest", where="path")
        check_record(data, node.rules)
        new = await asyncio.to_thread(node.vault.stage, wanted, data, node.clock())
        if not new:
            return Response(status_code=204)
        return Response(
            orjson.dumps({"record": ni(wanted), "size": len(data)}),
            status_code=201,
            media_type="application/json",
        )

    @routes.get(
        "/{digest:path}",
        response_class=Response,
        responses={
            200: {
                "description": "the record's bytes, or the bundle",
                "content": {RECORD_MEDIA: document, JSON[0]: document},
            },
            404: {"description": "no such record, or no entry speaks of it"},
            **failures,
        },
    )
    async def get_record(
        digest: Digest,
        format: Annotated[  # noqa: A002 - the parameter's name on the wire
            Literal["record", "bundle"], Query(description="the bytes, or a bundle")
        ] = "record",
    ) -> Response:
        """Return a record as its author made it, or a bundle about it."""
        wanted = parse_digest(digest)
        if format == "bundle":
            data = await asyncio.to_thread(record_bundle, node.library, wanted)
            return Response(data, media_type="application/json")
        data = await asyncio.to_thread(node.vault.read, wanted)
        if not data:
            raise NotFound("this center does not hold that record")
        return Response(
            data, media_type=RECORD_MEDIA, headers={"etag": f'"{wanted.hex()}"'}
        )

    return routes
