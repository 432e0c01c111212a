"""Request bodies: read with a limit on bytes and on patience."""

import asyncio
from collections.abc import AsyncIterator

from starlette.types import Receive, Scope

from trace_node.api.problems import WireProblem
from trace_node.errors import LimitExceeded


class Disconnected(Exception):  # noqa: N818 - it is no error of ours
    """The client went away; nobody is left to answer."""


def header(scope: Scope, name: bytes) -> str:
    """Return a request header, empty when absent."""
    for key, value in scope["headers"]:
        if key == name:
            return str(value.decode("latin-1"))
    return ""


def check_media(scope: Scope, *accepted: str) -> None:
    """Refuse a body that says it is something else.

    Raises:
        WireProblem: 415; or 415 for a content coding, which we never inflate.
    """
    media = header(scope, b"content-type").partition(";")[0].strip().lower()
    if media and media not in accepted:
        raise WireProblem(415, f"send {accepted[0]}", where="header content-type")
    coding = header(scope, b"content-encoding").strip().lower()
    if coding not in {"", "identity"}:
        # An inflated body has no honest length, so none is inflated.
        raise WireProblem(
            415, "send the body without a coding", where="header content-encoding"
        )


def check_length(scope: Scope, limit: int) -> None:
    """Refuse a body by its announced length, before reading any of it.

    Raises:
        LimitExceeded: it is over ``limit`` bytes.
        WireProblem: the header is no number.
    """
    announced = header(scope, b"content-length")
    if not announced:
        return
    if not (announced.isascii() and announced.isdigit()) or len(announced) > 18:  # noqa: PLR2004 - fits 64 bits
        raise WireProblem(400, "no number", where="header content-length")
    if int(announced) > limit:
        raise LimitExceeded(f"the body is over {limit} bytes", where="body")


async def _next(receive: Receive, idle: float) -> tuple[bytes, bool]:
    """Return the next part of the body, and whether more may come."""
    try:
        async with asyncio.timeout(idle):
            message = await receive()
    except TimeoutError:
        raise WireProblem(408, f"no byte came for {idle:g} s") from None
    if message["type"] == "http.disconnect":
        raise Disconnected
    return message.get("body", b""), message.get("more_body", False)


async def chunks(receive: Receive, idle: float) -> AsyncIterator[bytes]:
    """Yield the body as it comes.

    Raises:
        WireProblem: 408, no byte came for ``idle`` seconds.
        Disconnected: the client went away.
    """
    more = True
    while more:
        data, more = await _next(receive, idle)
        if data:
            yield data


async def read_body(scope: Scope, receive: Receive, limit: int, idle: float) -> bytes:
    """Return the whole body, at most ``limit`` bytes within a bounded time.

    Slow in small steps is slow all the same: twenty times ``idle`` is the end.

    Raises:
        LimitExceeded: over the limit.
        WireProblem: too slow.
        Disconnected: the client went away.
    """
    check_length(scope, limit)
    data, more = await _next(receive, idle)
    if not more and len(data) <= limit:
        return data  # nearly every statement comes in one piece
    parts, size = [data], len(data)
    try:
        async with asyncio.timeout(20 * idle):
            while more and size <= limit:
                data, more = await _next(receive, idle)
                size += len(data)
                parts.append(data)
    except TimeoutError:
        raise WireProblem(408, "the body came too slowly") from None
    if size > limit:
        raise LimitExceeded(f"the body is over {limit} bytes", where="body")
    return b"".join(parts)
