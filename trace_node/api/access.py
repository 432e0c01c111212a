"""Requests told one by one: each has a name, and those that went badly a line.

The name (``X-Request-Id``) is the caller's where it is a plain word, else ours; it
comes back in the answer and stands in every line that is logged on the way. What
is logged is the route's template, never the path or the query: both are written
by strangers, and either may hold a secret.

A request that goes well costs two closures here. One that does not may be one of
thousands a second, so lines have a budget; what was left out is counted.
"""

import logging
import re
import secrets
import time
from itertools import count

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trace_node.api.bodies import header
from trace_node.api.figures import Figures
from trace_node.api.gate import Gate
from trace_node.api.logs import REQUEST
from trace_node.config import Settings

LOGGER = logging.getLogger("trace_node.access")
NAME = re.compile(r"[A-Za-z0-9._\-]{1,64}")
BUDGET = 20  # lines a second of either kind, refused and failed
GONE = 499  # what a request counts as whose client went away before the answer
FAILED = 500


class Budget:
    """So many lines a second; says how many there would have been."""

    def __init__(self, lines: int) -> None:
        self._lines = lines
        self._second = 0
        self._used = 0
        self.missed = 0

    def take(self, now: float) -> bool:
        """Say whether a line may be written at ``now`` (seconds, monotonic)."""
        if int(now) != self._second:
            self._second, self._used = int(now), 0
        self._used += 1
        if self._used > self._lines:
            self.missed += 1
            return False
        return True


class Access:
    """Outermost: names requests, counts them, logs the ones worth a line."""

    def __init__(self, app: ASGIApp, settings: Settings, figures: Figures) -> None:
        self._app = app
        self.gate: Gate | None = None  # for the wire below
        self._figures = figures
        self._slow = settings.slow_seconds
        self._problems = settings.access_log != "off"
        self._every = settings.access_every if settings.access_log == "all" else 0
        self._prefix = secrets.token_hex(4)  # tells the names of processes apart
        self._numbers = count(1)
        self._budgets = {False: Budget(BUDGET), True: Budget(BUDGET)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        number = next(self._numbers)
        given = header(scope, b"x-request-id")
        name = given if NAME.fullmatch(given) else f"{self._prefix}-{number:x}"
        REQUEST.set(name)
        begin = time.perf_counter()
        status = size = 0

        def noting(message: Message) -> "object":
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
                pair = (b"x-request-id", name.encode())
                message["headers"] = [*message.get("headers", ()), pair]
            else:
                size += len(message.get("body", b""))
            return send(message)

        try:
            await self._app(scope, receive, noting)  # type: ignore[arg-type]
        except BaseException:
            status = max(status, FAILED)
            raise
        finally:
            seconds = time.perf_counter() - begin
            status = status or GONE
            self._figures.requests[status // 100] += 1
            if self._worth(number, status, seconds):
                self._tell(scope, status, seconds, size)

    def _worth(self, number: int, status: int, seconds: float) -> bool:
        if self._problems and (status >= 400 or seconds >= self._slow):  # noqa: PLR2004 - where problems begin
            budget = self._budgets[status >= FAILED]
            return budget.take(time.monotonic())
        return bool(self._every) and number % self._every == 0

    def _tell(self, scope: Scope, status: int, seconds: float, size: int) -> None:
        budget = self._budgets[status >= FAILED]
        fields = {
            "method": scope["method"],
            "route": template(scope),
            "status": status,
            "seconds": round(seconds, 4),
            "bytes": size,
            "client": (scope.get("client") or ("",))[0],
        }
        if budget.missed:
            fields["missed"] = budget.missed
            budget.missed = 0
        LOGGER.log(
            logging.WARNING if status >= FAILED else logging.INFO,
            "%s %s %d",
            scope["method"],
            fields["route"],
            status,
            extra={"event": "request", "fields": fields},
        )


def template(scope: Scope) -> str:
    """Return the route's path with its parameters unnamed; "-" where there is none."""
    if scope["path"] == "/entries":  # the short cut below the framework
        return "/entries"
    return getattr(scope.get("route"), "path", "-")
