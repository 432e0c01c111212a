"""The way to a center: bounded, patient requests over HTTP.

Every request of ours may be repeated: a statement's identity makes registering
it again the same registration, a record's name is its digest. So a broken
connection, 429 and 503 are tried again, after the time the center asks for or a
growing pause, until patience ends.

Nothing that comes back is believed here, only bounded: bytes and time have
limits, redirects are not followed (one could lead anywhere), compressed answers
are not asked for (a small one may unfold to a huge one), and proxies and
passwords are not taken from the environment.
"""

import secrets
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self

import httpx

from trace_node import __version__
from trace_node.client.problems import plain, read_problem, transient
from trace_node.errors import (
    LimitExceeded,
    Misuse,
    TraceNodeError,
    Unreachable,
)

ATTEMPTS: Final = 8  # of one request
PATIENCE: Final = 60.0  # seconds of pauses in one request, all together
TIMEOUT: Final = 30.0  # seconds without a byte
SMALL: Final = 65_536  # bytes of a problem, and of most answers
_FIRST_PAUSE: Final = 0.1  # seconds; doubles
_LONGEST_PAUSE: Final = 5.0
_GATEWAY: Final = frozenset({502, 504})  # a proxy whose center is starting
_LAST_PORT: Final = 65_535
_SLOWEST: Final = 20  # times the timeout, for one whole answer


@dataclass(frozen=True, slots=True)
class Answer:
    """What a center answered with 2xx."""

    status: int
    headers: httpx.Headers
    body: bytes


class Wire:
    """Requests to one center; a context manager."""

    def __init__(
        self,
        url: str,
        *,
        timeout: float = TIMEOUT,
        patience: float = PATIENCE,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Open connections lazily to the center at ``url``.

        Raises:
            Misuse: it is no http or https URL.
        """
        self.url = _check_url(url)
        self.patience = patience
        self._timeout = timeout
        self._sleep = sleep
        self._client = httpx.Client(
            timeout=timeout,
            transport=transport,
            verify=ssl.create_default_context(),
            trust_env=False,
            follow_redirects=False,
            headers={
                "accept-encoding": "identity",
                "user-agent": f"trace-node/{__version__}",
            },
        )

    def __enter__(self) -> Self:
        """Return the wire itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        content: bytes | None = None,
        media: str = "",
        limit: int = SMALL,
    ) -> Answer:
        """Return the answer to one request, tried as often as patience allows.

        Args:
            method: GET, PUT or POST.
            path: from the center's URL on.
            content: the body.
            media: its media type.
            limit: bytes of the answer beyond which it is refused.

        Raises:
            Unreachable: no answer, or one that no center gives.
            LimitExceeded: the answer is over ``limit``.
            TraceNodeError: the problem that the center told.
        """
        left = self.patience
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._once(method, path, content, media, limit)
            except (TraceNodeError, httpx.TransportError) as error:
                pause = self.pause(error, attempt, left)
                if pause is None:
                    raise self._told(error) from None
            self._sleep(pause)
            left -= pause
        raise AssertionError  # pragma: no cover - the last attempt has no pause

    def pause(self, error: Exception, attempt: int, left: float) -> float | None:
        """Return the seconds to wait before another try; None when it is no use.

        Args:
            error: why the try failed.
            attempt: its number, from 1.
            left: seconds of patience left.
        """
        if attempt >= ATTEMPTS or _hopeless(error):
            return None
        if isinstance(error, TraceNodeError) and not transient(error):
            return None
        asked = getattr(error, "retry_after", None) or 0.0
        own = min(_FIRST_PAUSE * 2 ** (attempt - 1), _LONGEST_PAUSE)
        # Jitter, so that clients that failed together do not return together.
        own *= 0.5 + secrets.randbelow(1000) / 1000
        pause = max(float(asked), own)
        return pause if pause <= left else None

    def wait(self, seconds: float) -> None:
        """Wait, by the clock that was given."""
        self._sleep(seconds)

    def _once(
        self, method: str, path: str, content: bytes | None, media: str, limit: int
    ) -> Answer:
        headers = {"content-type": media} if media else {}
        url = self.url + path
        with self._client.stream(
            method, url, content=content, headers=headers
        ) as response:
            good = response.is_success
            body = self._read(response, limit if good else SMALL)
            if good:
                return Answer(response.status_code, response.headers, body)
            if response.is_redirect:
                raise Unreachable(
                    f"{self.url} sends its callers elsewhere; name the center itself"
                )
            found = response.headers.get("content-type", "").partition(";")[0].strip()
            retry = _retry_after(response.headers.get("retry-after"))
            if response.status_code in _GATEWAY and retry is None:
                retry = 0.0
            raise read_problem(response.status_code, found, body, retry)

    def _read(self, response: httpx.Response, limit: int) -> bytes:
        if response.headers.get("content-encoding", "identity") != "identity":
            raise Unreachable("the center answers in an encoding nobody asked for")
        end = time.monotonic() + _SLOWEST * self._timeout
        parts, size = [], 0
        for part in response.iter_bytes():
            size += len(part)
            if size > limit:
                raise LimitExceeded(f"the center's answer is over {limit} bytes")
            if time.monotonic() > end:
                raise Unreachable("the center answers too slowly")
            parts.append(part)
        return b"".join(parts)

    def _told(self, error: Exception) -> Exception:
        if isinstance(error, TraceNodeError):
            return error
        # It may repeat what the other side sent.
        reason = plain(str(error)) or type(error).__name__
        told = Unreachable(f"no answer from {self.url}: {reason}")
        told.help = "Is the center running, and is this its address?"
        return told


def _hopeless(error: Exception) -> bool:
    """Whether asking again is no use: the other side has no TLS, or another name."""
    if isinstance(error, httpx.UnsupportedProtocol):
        return True
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return True
        if isinstance(cause, ssl.SSLError) and cause.reason == "WRONG_VERSION_NUMBER":
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _check_url(url: str) -> str:
    """Return ``url`` without a slash at its end."""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, TypeError):
        parsed = httpx.URL()
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise Misuse(f"a center's URL looks like http://127.0.0.1:8080, not {url!r}")
    if parsed.query or parsed.fragment or parsed.userinfo:
        raise Misuse("a center's URL has no query, fragment or password")
    if (parsed.port or 0) > _LAST_PORT:
        raise Misuse(f"there is no port {parsed.port}")
    return str(parsed).rstrip("/")


def _retry_after(text: str | None) -> float | None:
    """Return seconds; a date counts as "now", our own pause will do (RFC 9110)."""
    if text is None:
        return None
    if text.isascii() and text.isdigit() and len(text) < 6:  # noqa: PLR2004 - a day
        return float(text)
    return 0.0
