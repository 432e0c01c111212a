"""The log: one line an event, readable by machines, with no secret in it.

Two forms: JSON, one object a line, and text for a terminal. Whatever a line is
made of (a message, a traceback, an error of the database that quotes its own
URL) goes through the same two steps, at the one place where lines are made:

1. secrets go: those that the settings and the environment hold, by value, and
   what looks like one (a password in a URL, an Authorization header, a token in
   a query string, a private key);
2. what is not printable goes: a newline or a terminal's escape sequence in
   something a stranger sent must not forge a line or paint over one.

Nothing here is on the way of a request that nobody wants to hear of.
"""

import json
import logging
import os
import re
import sys
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, TextIO
from urllib.parse import quote, unquote

from pydantic import SecretStr

from trace_node.config import Settings

HIDDEN = "***"
SHORTEST = 4  # characters of a secret; a shorter one would hide half of every line
MESSAGE = 8 << 10  # characters of a message
TRACE = 32 << 10  # characters of a traceback
REQUEST: ContextVar[str] = ContextVar("request", default="")
_SECRET_NAME = re.compile(r"pass|secret|token|credential|api_?key", re.IGNORECASE)
_PATTERNS = (
    (
        re.compile(
            r"-----BEGIN [A-Z ]*PRIVATE KEY-----"
            r".*?(-----END [A-Z ]*PRIVATE KEY-----|$)",
            re.DOTALL,
        ),
        HIDDEN,
    ),
    # To the last @ of the word: a password may hold one.
    (re.compile(r"(://[^\s:/@]*:)[^\s]+@"), rf"\1{HIDDEN}@"),
    (
        re.compile(
            r"\b((?:proxy-)?authorization|(?:set-)?cookie)"
            r"(['\"]?\s*[:=,]\s*(?:b?['\"])?)[^'\"\r\n]+",
            re.IGNORECASE,
        ),
        rf"\1\2{HIDDEN}",
    ),
    (re.compile(r"\b(bearer)\s+[\w.~+/=\-]+", re.IGNORECASE), rf"\1 {HIDDEN}"),
    (
        re.compile(
            r"([\w\-]*(?:passw(?:or)?d|passphrase|secret|token|signature|credential"
            r"|(?:api|access|secret)[_\-]?key)[\w\-]*)"
            r"(['\"]?\s*[=:]\s*(?:b?['\"])?)[^\s&'\",;)}\]]+",
            re.IGNORECASE,
        ),
        rf"\1\2{HIDDEN}",
    ),
)


class Redactor:
    """Takes secrets out of text."""

    def __init__(self) -> None:
        self._values: re.Pattern[str] | None = None
        self._known: set[str] = set()

    def learn(self, secrets: Iterable[str]) -> None:
        """Hide these values from now on, in every spelling they may appear in."""
        for secret in secrets:
            if len(secret) >= SHORTEST:
                spellings = (secret, quote(secret, safe=""), quote(secret))
                self._known |= {
                    *spellings,
                    repr(secret)[1:-1],
                    json.dumps(secret)[1:-1],
                }
        longest_first = sorted(self._known, key=len, reverse=True)
        if longest_first:
            self._values = re.compile("|".join(map(re.escape, longest_first)))

    def __call__(self, text: str) -> str:
        """Return ``text`` without secrets."""
        if self._values is not None:
            text = self._values.sub(HIDDEN, text)
        for pattern, instead in _PATTERNS:
            text = pattern.sub(instead, text)
        return text


redact = Redactor()  # one process has one log


def secrets_of(settings: Settings, environment: Mapping[str, str]) -> set[str]:
    """Return what of settings and environment must never be told."""
    found: set[str] = set()
    values = dict(environment)
    for name, value in settings:
        if isinstance(value, SecretStr):
            found.add(value.get_secret_value())
            values[name] = value.get_secret_value()
        elif isinstance(value, str):
            values[name] = value
    found |= {value for name, value in values.items() if _SECRET_NAME.search(name)}
    for value in values.values():  # passwords of URLs
        for secret in re.findall(r"://[^\s:/@]*:([^\s]+)@", value):
            found |= {secret, unquote(secret)}
    return {secret for secret in found if not secret.startswith("/")}  # a file's path


def clean(text: str) -> str:
    """Return ``text`` with everything unprintable spelled out."""
    if text.isprintable():
        return text
    return "".join(
        char
        if char.isprintable()
        else char.encode("unicode_escape", "replace").decode()
        for char in text.encode(errors="backslashreplace").decode()
    )


class Lines(logging.Formatter):
    """Makes the lines; ``fields`` of a record become members of their own."""

    def __init__(self, worker: int | None = None) -> None:
        super().__init__()
        self._worker = worker

    def members(self, record: logging.LogRecord) -> dict[str, Any]:
        """Return what a line says, clean."""
        fields: dict[str, Any] = getattr(record, "fields", {})
        told: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC)
            .isoformat(timespec="milliseconds")
            .replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": getattr(record, "event", record.name),
            "message": self.safe(record.getMessage(), MESSAGE),
        }
        if request := REQUEST.get():
            told["request"] = request
        if self._worker is not None:
            told["worker"] = self._worker
        for name, value in fields.items():
            told[name] = self.safe(value, MESSAGE) if isinstance(value, str) else value
        if record.exc_info:
            trace = self.formatException(record.exc_info)
            told["trace"] = [self.safe(line, MESSAGE) for line in self.trace(trace)]
        return told

    def trace(self, text: str) -> list[str]:
        """Return the lines of a traceback; a secret may go over several."""
        return redact(text[-TRACE:]).split("\n")

    def safe(self, text: str, limit: int) -> str:
        """Return ``text`` as it may be told."""
        return clean(redact(text[:limit]))


class JsonLines(Lines):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of ``record``."""
        return json.dumps(self.members(record), ensure_ascii=False, default=str)


class TextLines(Lines):
    """A line for people: time, level, message, and the fields behind it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of ``record``, and those of its traceback indented."""
        told = self.members(record)
        trace = told.pop("trace", [])
        head = f"{told.pop('time')[11:19]} {told.pop('level'):7} {told.pop('message')}"
        told.pop("event")
        rest = "".join(f" {name}={value}" for name, value in told.items())
        return "\n".join([head + rest, *(f"    {line}" for line in trace)])


def set_up(
    settings: Settings, *, worker: int | None = None, stream: TextIO | None = None
) -> None:
    """Send everything that is logged to ``stream`` (standard error), in our form."""
    stream = stream or sys.stderr
    redact.learn(secrets_of(settings, os.environ))
    form = settings.log
    if form == "auto":
        form = "text" if stream.isatty() else "json"
    handler = logging.StreamHandler(stream)
    handler.setFormatter((JsonLines if form == "json" else TextLines)(worker))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    for library in ("alembic", "asyncio"):
        logging.getLogger(library).setLevel(logging.WARNING)
    # It warns of every request that is none; a stranger must not fill the journal.
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
