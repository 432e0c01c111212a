"""Writes turned away before a task is made for them.

Under twice the load most of what comes is refused, and what a refusal costs is
taken from what could be registered. Here it costs a look at the line and one write
of bytes that are ready; the body is thrown away as it comes. Such an answer has no
request id and no line in the log: it is counted.
"""

from trace_node.api.figures import Figures
from trace_node.api.problems import render
from trace_node.api.register import Desk
from trace_node.errors import Overloaded, ReadOnly, TraceNodeError

WRITES = {"/entries": False, "/submissions": True}  # path → whether it is bulk
KEPT = 16  # answers; there are few reasons


class Gate:
    """Answers the writes that would be refused anyway."""

    def __init__(self, desk: Desk, figures: Figures) -> None:
        self._desk = desk
        self._figures = figures
        self._ready: dict[tuple[str, str, bool], bytes] = {}

    def refusal(self, method: str, path: str, *, close: bool) -> bytes | None:
        """Return the whole answer to a write that is refused now, else None.

        Args:
            method: of the request.
            path: of the request.
            close: the connection ends after this answer, and it says so.
        """
        if method != "POST" or path not in WRITES:
            return None
        try:
            self._desk.check_room(bulk=WRITES[path])
        except (Overloaded, ReadOnly) as error:
            self._figures.requests[5] += 1
            key = path, error.message, close
            answer = self._ready.get(key)
            if answer is None:
                if len(self._ready) >= KEPT:
                    self._ready.clear()
                answer = self._ready[key] = _made(error, path, close=close)
            return answer
        return None


def _made(error: TraceNodeError, path: str, *, close: bool) -> bytes:
    status, headers, body = render(error, path)
    headers |= {"content-length": str(len(body))}
    if close:
        headers |= {"connection": "close"}
    lines = [f"HTTP/1.1 {status} {error.type}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body
