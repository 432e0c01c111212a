"""The log as C2SP tlog-tiles under ``/log``: checkpoint, hash tiles, entries."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Path, Response

from trace_node.errors import Malformed, NotFound
from trace_node.ledger.tiles import (
    TILE_WIDTH,
    encode_entries,
    parse_tile_path,
    tile_width,
)
from trace_node.node import Node

TEXT = "text/plain; charset=utf-8"
OCTETS = "application/octet-stream"
FOREVER = "public, max-age=31536000, immutable"


def read_tile(node: Node, path: str) -> bytes:
    """Return the tile or entry bundle at ``path`` (without ``/log/``).

    Raises:
        NotFound: the path is none, or the published tree has no such tile.
    """
    try:
        level, index, width = parse_tile_path(path)
    except Malformed as error:
        raise NotFound("not the path of a tile", where="path") from error
    if tile_width(level or 0, index, node.tiles.size) < width:
        # Another process of this center may have published further.
        node.publisher.reach()
    if tile_width(level or 0, index, node.tiles.size) < width:
        raise NotFound("the log has no such tile yet")
    if level is not None:
        return node.tiles.read(level, index, width)
    begin = index * TILE_WIDTH
    return encode_entries(node.checked.statements(begin, begin + width))


def router(node: Node) -> APIRouter:
    """Return the routes of ``/log``."""
    routes = APIRouter(tags=["C2SP tlog-tiles"])
    missing: dict[int | str, dict[str, Any]] = {
        404: {"description": "no such tile yet"}
    }

    @routes.get(
        "/log/checkpoint",
        response_class=Response,
        responses={
            200: {"description": "signed note", "content": {"text/plain": {}}},
            404: {"description": "nothing is published yet"},
        },
    )
    async def checkpoint() -> Response:
        """Return the newest published checkpoint."""
        note = await asyncio.to_thread(node.publisher.note)
        if not note:
            raise NotFound("no checkpoint is published yet")
        return Response(
            note, media_type=TEXT, headers={"cache-control": "public, max-age=1"}
        )

    @routes.get(
        "/log/tile/{path:path}",
        response_class=Response,
        responses={200: {"description": "tile", "content": {OCTETS: {}}}, **missing},
    )
    async def tile(
        path: Annotated[
            str, Path(description="L/N[.p/W] or entries/N[.p/W]", max_length=128)
        ],
    ) -> Response:
        """Return a hash tile or an entry bundle."""
        data = await asyncio.to_thread(read_tile, node, f"tile/{path}")
        return Response(data, media_type=OCTETS, headers={"cache-control": FOREVER})

    return routes
