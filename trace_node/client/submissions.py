"""The bulk door from the client's side: framing, bounded requests, answers.

``POST /submissions`` takes a CBOR sequence of ``[statement, [record, …]]`` and
answers a line of NDJSON for each. The door can stream both ways at once; we send
requests of bounded size instead and read the answer after, so that neither side
can wait for the other with full buffers, and a broken request is sent again as
it was: what was registered the first time gets its first receipt.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import orjson

from trace_node.client.http import Wire
from trace_node.client.problems import problem_error, transient
from trace_node.errors import Malformed, TraceNodeError, Unreachable
from trace_node.ledger.receipt import MAX_RECEIPT
from trace_node.trust import base64url, cbor

MEDIA: Final = "application/cbor-seq"
MAX_STATEMENTS: Final = 64  # in one request
MAX_BYTES: Final = 8 << 20  # of one request, unless one submission is larger
_MAX_LINE: Final = 2 * MAX_RECEIPT + 2_048  # bytes: base64 and a few members

Submission = tuple[bytes, list[bytes]]
Told = tuple[int, bytes] | TraceNodeError  # index and receipt, or why not


def frame(submission: Submission) -> bytes:
    """Return one item of the sequence."""
    statement, records = submission
    return cbor.encode([statement, records])


def requests(items: Iterable[Submission]) -> Iterator[list[Submission]]:
    """Cut ``items`` into what one request carries, in order, lazily."""
    group: list[Submission] = []
    size = 0
    for item in items:
        # Heads take a few bytes each; the bound is one of order, not of bytes.
        weight = len(item[0]) + sum(map(len, item[1]))
        if group and (len(group) == MAX_STATEMENTS or size + weight > MAX_BYTES):
            yield group
            group, size = [], 0
        group.append(item)
        size += weight
    if group:
        yield group


def answer_limit(count: int) -> int:
    """Return the most bytes that an answer about ``count`` statements has."""
    return (count + 1) * _MAX_LINE


def read_answers(body: bytes, count: int) -> list[Told]:
    """Return what the center tells of each of ``count`` submissions, in order.

    An answer may be cut off, or end with a problem about the stream; then there
    are fewer, and the caller sends the rest again.

    Raises:
        Malformed: a line is no answer, or tells of another submission.
    """
    told: list[Told] = []
    for line in body.split(b"\n"):
        if not line:
            continue
        try:
            members = orjson.loads(line)
        except orjson.JSONDecodeError:
            break  # the connection ended within this line
        where = f"answer {len(told)}"
        if (
            not isinstance(members, dict)
            or members.get("position") != len(told)
            or len(told) == count
        ):
            raise Malformed("the center answers what was not asked", where=where)
        told.append(_read(members, where))
    return told


def _read(members: dict[str, Any], where: str) -> Told:
    if "receipt" not in members:
        status = members.get("status")
        error = problem_error(members, status if isinstance(status, int) else 500)
        if error.status in {429, 503} and not hasattr(error, "retry_after"):
            error.retry_after = 0  # type: ignore[attr-defined]
        return error
    index = members.get("index")
    if type(index) is not int or index < 0:
        raise Malformed("an index is a count", where=where)
    return index, base64url.decode(members["receipt"], where=where)


def send(wire: Wire, group: list[Submission]) -> list[Told]:
    """Send a group until the center has told of each.

    Patience is one request's, and begins anew with each answer: the group is
    finite, so a center cannot keep us for ever.

    Raises:
        Unreachable, Overloaded: patience ended.
        Malformed: the answer is none.
    """
    outcomes: dict[int, Told] = {}
    left, attempt = wire.patience, 1
    while waiting := [p for p in range(len(group)) if p not in outcomes]:
        answer = wire.request(
            "POST",
            "/submissions",
            content=b"".join(frame(group[position]) for position in waiting),
            media=MEDIA,
            limit=answer_limit(len(waiting)),
        )
        last: TraceNodeError = _nothing_told()
        before = len(outcomes)
        told = read_answers(answer.body, len(waiting))
        for position, outcome in zip(waiting, told, strict=False):
            if isinstance(outcome, TraceNodeError) and transient(outcome):
                last = outcome
            else:
                outcomes[position] = outcome
        if len(outcomes) > before:  # a center that gets on is not given up
            left, attempt = wire.patience, 1
        if len(outcomes) < len(group):
            pause = wire.pause(last, attempt, left)
            if pause is None:
                raise last
            wire.wait(pause)
            left, attempt = left - pause, attempt + 1
    return [outcomes[position] for position in range(len(group))]


def _nothing_told() -> Unreachable:
    error = Unreachable("the center's answer ended early")
    error.retry_after = 0  # type: ignore[attr-defined]
    return error
