"""JSON that reads the same to everyone (RFC 8259 within I-JSON, RFC 7493).

Parsers disagree about repeated keys, large integers, lone surrogates and NUL; a
document built on the difference shows a laboratory one thing and customs
another under one digest. Such documents are refused:

- UTF-8 without a byte order mark, nothing after the value;
- no key twice in an object, compared after unescaping;
- integers within ±(2^53 - 1), no NaN, no Infinity, no number that overflows;
- no lone surrogate, no U+0000; at most 32 arrays and objects inside one another.

orjson parses; what it lets through is found in three steps, each for what the one
before cannot settle. Most records are compact: then orjson writes the very same
bytes back, and nothing was dropped or changed on the way. Else ``_count_keys``
walks over the containers. ``_loads_exact`` parses again, looks at every token,
slowly, and decides.

The walk counts keys, since orjson drops repeated ones silently: in the raw bytes
every key ends in a quote, white space and a colon. Strings may hold the same,
which only raises that count; so equal counts prove that no key was dropped.
"""

import json
from math import isinf
from typing import Any, Final

import orjson

from trace_node.errors import LimitExceeded, Malformed

MAX_RECORD: Final = 1_048_576  # bytes
MAX_DEPTH: Final = 32  # arrays and objects inside one another
MAX_INTEGER: Final = 2**53 - 1  # beyond it doubles skip integers

_MAX_DIGITS: Final = 17  # of an integer in range, with its sign
_NO_MEMORY: Final = "Not enough memory"  # how orjson says so, as a syntax error
_SHOWN: Final = 64  # characters of a key in an error


def loads_strict(data: bytes, *, max_bytes: int = MAX_RECORD) -> Any:
    """Return the value that ``data`` holds, if every reader sees the same.

    Args:
        data: the document.
        max_bytes: the most it may have.

    Raises:
        Malformed: it is not JSON, or not within the limits named above.
        LimitExceeded: it is too large or too deep.
        MemoryError: there is none to read it.
    """
    if len(data) > max_bytes:
        raise LimitExceeded(f"{len(data)} bytes of JSON, at most {max_bytes} are taken")
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        if error.msg.startswith(_NO_MEMORY):
            raise MemoryError from None  # the document may well be sound
        where = f"line {error.lineno}, column {error.colno}"
        raise Malformed(f"not JSON: {error.msg}", where=where) from None
    if b"\\" in data and b"\\u0000" in data:  # the first is found in no time
        return _loads_exact(data)
    if _is_compact(data, value):
        return value
    keys = _count_keys(value)
    if keys is None or keys != _count_key_ends(data):
        return _loads_exact(data)
    return value


def _is_compact(data: bytes, value: Any) -> bool:
    """Return whether ``data`` is what orjson writes for ``value``, and shallow.

    The writer refuses integers beyond 53 bits, and writes those beyond 64, which
    the parser made floats, with a point or an exponent. With no more brackets
    than levels nothing nests too deep.
    """
    if data.count(b"{") + data.count(b"[") > MAX_DEPTH:
        return False
    try:
        return orjson.dumps(value, option=orjson.OPT_STRICT_INTEGER) == data
    except TypeError:
        return False


def _count_keys(value: Any) -> int | None:
    """Return the number of keys in ``value``; None if a number needs a closer look.

    orjson turns integers beyond 64 bits into floats, so a float beyond 2^53 may
    have been written as an integer.
    """
    keys = 0
    level: list[Any] = [[value]]
    for _ in range(MAX_DEPTH + 1):
        inner: list[Any] = []
        for container in level:
            if type(container) is dict:
                keys += len(container)
                members: Any = container.values()
            else:
                members = container
            for member in members:
                kind = type(member)
                if kind is str:
                    continue
                if kind is dict or kind is list:
                    inner.append(member)
                elif (kind is int or kind is float) and (
                    not -MAX_INTEGER <= member <= MAX_INTEGER
                ):
                    return None
        if not inner:
            return keys
        level = inner
    raise LimitExceeded(f"JSON nested deeper than {MAX_DEPTH}")


def _count_key_ends(data: bytes) -> int:
    """Return how often a quote is followed by a colon, white space left out.

    Leaving it out of strings too only makes more of them look like keys.
    """
    return data.translate(None, b" \t\n\r").count(b'":')


def _loads_exact(data: bytes) -> Any:
    """Return the value after checks on every token; the reference for the above.

    Only called with bytes that orjson accepts and whose depth is bounded for all
    that is not hidden behind a repeated key; RecursionError covers that rest.
    """
    try:
        value = json.loads(
            data.decode(),
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=_constant,
        )
    except (ValueError, RecursionError):
        raise Malformed("not JSON") from None
    _check_exact(value, 1)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise Malformed("a key stands twice in an object", where=key[:_SHOWN])
            seen.add(key)
    return made


def _integer(text: str) -> int:
    if len(text) > _MAX_DIGITS or abs(int(text)) > MAX_INTEGER:
        raise Malformed("an integer beyond ±(2^53 - 1)", where=text[:_MAX_DIGITS])
    return int(text)


def _float(text: str) -> float:
    value = float(text)
    if isinf(value):
        raise Malformed("a number beyond every double", where=text[:_MAX_DIGITS])
    return value


def _constant(text: str) -> None:
    raise Malformed("no number of JSON", where=text)


def _check_exact(value: Any, depth: int) -> None:
    """Check strings and depth; ``depth`` counts the container ``value`` may be."""
    if isinstance(value, str):
        if "\0" in value:
            raise Malformed("text with U+0000")
        if not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
            raise Malformed("text with a lone surrogate")
    elif isinstance(value, dict | list):
        if depth > MAX_DEPTH:
            raise LimitExceeded(f"JSON nested deeper than {MAX_DEPTH}")
        for key in value if isinstance(value, dict) else ():
            _check_exact(key, depth)
        for member in value.values() if isinstance(value, dict) else value:
            _check_exact(member, depth + 1)
