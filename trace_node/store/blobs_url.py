"""``s3://BUCKET[/PREFIX][?…]``: where a bucket is and how to talk to it."""

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from trace_node.errors import Misuse

_OPTIONS = {"endpoint", "region", "style", "create", "timeout"}
_PLACE = re.compile(
    r"s3://([a-z0-9][a-z0-9.\-]{1,61}[a-z0-9])"
    r"((?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._\-]+)*)/?"
)
_REGION = re.compile(r"[a-z0-9\-]{1,32}")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the bucket is and how to talk to it; holds no credentials."""

    bucket: str
    prefix: str
    endpoint: str
    region: str
    virtual: bool
    create: bool
    timeout: float


def parse_url(url: str) -> Place:
    """Return what ``s3://BUCKET[/PREFIX][?option=value&…]`` says.

    Options: ``endpoint`` (URL of a server that is not AWS), ``region``,
    ``style`` (``path`` or ``virtual``), ``create`` (``yes``, or ``no`` for a server
    that takes If-None-Match and does not mean it), ``timeout`` (seconds).

    Raises:
        Misuse: it says something else; the message never quotes a value.
    """
    text, mark, query = url.partition("?")
    try:
        pairs = parse_qsl(query, strict_parsing=True) if mark else []
    except ValueError:
        pairs = [("", "")]
    options = dict(pairs)
    if set(options) - _OPTIONS or len(options) < len(pairs):
        raise Misuse(
            f"setting blobs: only {', '.join(sorted(_OPTIONS))} may stand in the URL, "
            "each once; credentials come from the environment"
        )
    found = _PLACE.fullmatch(text)
    endpoint, region = options.get("endpoint", ""), options.get("region", "")
    style, create = options.get("style", "path"), options.get("create", "yes")
    if (
        found is None
        or not _endpoint(endpoint)
        or (region and not _REGION.fullmatch(region))
        or style not in {"path", "virtual"}
        or create not in {"yes", "no"}
    ):
        raise Misuse("setting blobs: s3://BUCKET[/PREFIX][?endpoint=URL&region=NAME]")
    return Place(
        found[1],
        found[2].strip("/"),
        endpoint,
        region,
        style == "virtual",
        create == "yes",
        _seconds(options.get("timeout", "5")),
    )


def _endpoint(text: str) -> bool:
    try:
        parts = urlsplit(text)
        sound = parts.port != 0
    except ValueError:
        return False
    plain = "@" not in text and not parts.query and not parts.fragment
    host = parts.scheme in {"http", "https"} and bool(parts.hostname)
    return not text or (sound and plain and host)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    least, most = 0.1, 60.0
    if not least <= value <= most:
        raise Misuse(f"setting blobs: timeout is {least} to {most} seconds")
    return value
