"""What a center answers when it does not do what was asked, as our own errors."""

import re
from typing import Any, Final

import orjson

from trace_node.errors import (
    Conflict,
    LimitExceeded,
    Malformed,
    NotFound,
    Overloaded,
    Refused,
    TraceNodeError,
    Unreachable,
)
from trace_node.trust import cbor

PREFIX: Final = "urn:trace-node:problem:"
_MAX_TEXT: Final = 500  # characters of a stranger's text that we repeat
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]+")
_BY_STATUS: Final[dict[int, type[TraceNodeError]]] = {
    400: Malformed,
    404: NotFound,
    409: Conflict,
    413: LimitExceeded,
    422: Refused,
    429: Overloaded,
    503: Overloaded,
}


def _family(root: type[TraceNodeError]) -> dict[str, type[TraceNodeError]]:
    found = {root.type: root}
    for kind in root.__subclasses__():
        # Subclasses that others define (a refusal's reasons) keep their base.
        if kind.__module__ == TraceNodeError.__module__:
            found |= _family(kind)
    return found


_BY_TYPE: Final = _family(TraceNodeError)


def plain(text: object, most: int = _MAX_TEXT) -> str:
    """Return a stranger's text without what moves a terminal's cursor, cut off."""
    return _CONTROL.sub(" ", str(text))[:most] if isinstance(text, str | int) else ""


def problem_error(members: dict[str, Any], status: int) -> TraceNodeError:
    """Return the error that RFC 9457 ``members`` tell.

    Args:
        members: type, detail, where and help are read; any may be missing.
        status: of the answer; decides where ``type`` is none of ours.
    """
    name = plain(members.get("type", ""), 64).removeprefix(PREFIX)
    kind = _BY_TYPE.get(name)
    if kind is None and name.startswith("refused-"):
        kind = Refused
    if kind is None:
        kind = _BY_STATUS.get(status, Unreachable if status >= 500 else Refused)  # noqa: PLR2004
        name = kind.type
    detail = plain(members.get("detail", "")) or f"answer {status}"
    error = kind(f"the center says: {detail}", where=plain(members.get("where", "")))
    error.type = name
    error.help = plain(members.get("help", "")) or error.help
    return error


def read_problem(
    status: int, media: str, body: bytes, retry_after: float | None
) -> TraceNodeError:
    """Return the error that an answer outside 2xx tells; its body is not trusted."""
    members: dict[str, Any] = {}
    try:
        if media == "application/concise-problem-details+cbor":
            concise = cbor.decode(body)
            if isinstance(concise, dict):
                members = {"type": concise.get(-1), "detail": concise.get(-2)}
        elif media == "application/problem+json":
            parsed = orjson.loads(body)
            members = parsed if isinstance(parsed, dict) else {}
    except (Malformed, orjson.JSONDecodeError):
        members = {}
    error = problem_error(members, status)
    if retry_after is not None:
        error.retry_after = retry_after  # type: ignore[attr-defined]
    return error


def transient(error: TraceNodeError) -> bool:
    """Whether the same request may succeed a little later."""
    return getattr(error, "retry_after", None) is not None
