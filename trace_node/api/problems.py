"""Errors on the wire: one place maps an error to a status and a body.

JSON problem details (RFC 9457) everywhere, concise problem details in CBOR
(RFC 9290) on the SCRAPI paths. ``type`` is stable: a client may branch on it.
"""

from http import HTTPStatus
from typing import Any

import orjson

from trace_node.errors import TraceNodeError
from trace_node.trust import cbor

PREFIX = "urn:trace-node:problem:"
JSON = "application/problem+json"
CBOR = "application/concise-problem-details+cbor"
DETAIL = 1_024  # characters of a detail; it may quote what was sent
_SCRAPI = frozenset({"/entries", "/.well-known/scitt-keys"})
_SCRAPI_BELOW = tuple(f"{path}/" for path in sorted(_SCRAPI))


class WireProblem(TraceNodeError):  # noqa: N818 - named like its siblings
    """A problem of HTTP itself: a wrong method, media type or a slow body."""

    def __init__(self, status: int, detail: str, *, where: str = "") -> None:
        super().__init__(detail, where=where)
        self.status = status
        self.type = HTTPStatus(status).phrase.lower().replace(" ", "-")


def problem(error: TraceNodeError) -> dict[str, Any]:
    """Return the RFC 9457 members of ``error``."""
    members: dict[str, Any] = {
        "type": PREFIX + error.type,
        "title": error.type.replace("-", " "),
        "status": error.status,
        "detail": _clean(error.message[:DETAIL]),
    }
    if error.where:
        members["where"] = _clean(error.where[:DETAIL])
    if error.help:
        members["help"] = error.help
    return members


def is_scrapi(path: str) -> bool:
    """Say whether problems on ``path`` are concise problem details in CBOR."""
    return path in _SCRAPI or path.startswith(_SCRAPI_BELOW)


def render(error: TraceNodeError, path: str) -> tuple[int, dict[str, str], bytes]:
    """Return (status, headers, body) of ``error`` for a request on ``path``."""
    headers = {"cache-control": "no-store"}
    retry = getattr(error, "retry_after", None)
    if retry is not None:
        headers["retry-after"] = str(retry)
    if error.status == HTTPStatus.REQUEST_TIMEOUT:
        # RFC 9110 §15.5.9. The rest of a body may come for ever, or never: a
        # connection kept for it is a descriptor that a silent client holds.
        headers["connection"] = "close"
    if is_scrapi(path):
        headers["content-type"] = CBOR
        detail = _clean(str(error)[:DETAIL])
        return error.status, headers, cbor.encode({-1: error.type, -2: detail})
    headers["content-type"] = JSON
    return error.status, headers, orjson.dumps(problem(error))


def _clean(text: str) -> str:
    # A lone surrogate that came in must not fail its own report.
    return text.encode(errors="replace").decode()
