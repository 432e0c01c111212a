"""CBOR with one encoding for each value, so that equal values are equal bytes.

RFC 8949 §4.2.1, core deterministic encoding: shortest heads, definite lengths,
map keys in the bytewise order of their encodings. The values are what COSE and
our formats use: integers of 64 bits, byte and text strings, arrays, maps keyed
by one of the first three, true, false and null. No floats, no other simple
values, and no tags when decoding: a library that turns tags into dates, regular
expressions or huge decimals does work that a stranger asked for. COSE's outer
tag is one byte that its reader checks by hand.

cbor2 is not used to encode: its canonical mode sorts keys by length first (the
older RFC 7049 §3.9). It is the oracle of the tests instead.
"""

from typing import Any, Final

from cbor2 import CBORTag

from trace_node.errors import Malformed

MAX_DEPTH: Final = 16  # arrays and maps inside one another
_UINT, _NINT, _BYTES, _TEXT, _ARRAY, _MAP, _TAG, _SIMPLE = range(8)
_SIMPLES: Final = {20: False, 21: True, 22: None}
_WIDTH: Final = {24: 1, 25: 2, 26: 4, 27: 8}  # bytes after the initial one
_INLINE: Final = 24  # arguments below it stand in the initial byte
_MIN: Final = {24: 24, 25: 1 << 8, 26: 1 << 16, 27: 1 << 32}  # else a shorter head does


def encode(value: Any) -> bytes:
    """Return the one deterministic encoding of ``value``.

    Raises:
        TypeError: a type that our formats do not use (a float, a set).
        ValueError: an integer beyond 64 bits, or text with a lone surrogate.
    """
    out = bytearray()
    _write(out, value)
    return bytes(out)


def decode(data: bytes, *, where: str = "") -> Any:
    """Return the one item that ``data`` encodes, deterministically, to its end.

    Memory is at most proportional to ``data``: a length is compared with the
    bytes that are there before anything of that length is made.

    Args:
        data: the whole encoding.
        where: name of the input, put before the byte offset in errors.

    Raises:
        Malformed: anything else; no other error leaves this function.
    """
    try:
        value, end = _read(data, 0, 0)
        if end != len(data):
            raise _bad("more bytes follow the item", end)
    except Malformed as error:
        if where:
            raise Malformed(error.message, where=f"{where}, {error.where}") from None
        raise
    return value


def decode_first(data: bytes, offset: int = 0) -> tuple[Any, int]:
    """Return the item at ``offset`` and the offset behind it (RFC 8742 sequences).

    Raises:
        Malformed: as ``decode``.
    """
    return _read(data, offset, 0)


def head(major: int, argument: int) -> bytes:
    """Return the shortest initial bytes of an item (RFC 8949 §3).

    Args:
        major: major type, 0..7.
        argument: value, length, count or tag number, 0..2^64-1.
    """
    if argument < _INLINE:
        return bytes((major << 5 | argument,))
    for info, width in _WIDTH.items():
        if argument < 1 << (8 * width):
            return bytes((major << 5 | info,)) + argument.to_bytes(width)
    raise ValueError("a CBOR argument has at most 64 bits")


def _write(out: bytearray, value: Any) -> None:
    match value:
        case None:
            out.append(0xF6)
        case bool():
            out.append(0xF5 if value else 0xF4)
        case int():
            out += head(_UINT, value) if value >= 0 else head(_NINT, -1 - value)
        case bytes():
            out += head(_BYTES, len(value))
            out += value
        case str():
            text = value.encode()
            out += head(_TEXT, len(text))
            out += text
        case list() | tuple():
            out += head(_ARRAY, len(value))
            for item in value:
                _write(out, item)
        case dict():
            _write_map(out, value)
        case CBORTag():
            out += head(_TAG, value.tag)
            _write(out, value.value)
        case _:
            raise TypeError(f"no CBOR for {type(value).__name__}")


def _write_map(out: bytearray, value: dict[Any, Any]) -> None:
    if any(type(key) not in {int, str, bytes} for key in value):
        raise TypeError("a CBOR map key is an integer, bytes or text")
    out += head(_MAP, len(value))
    for key, item in sorted((encode(key), item) for key, item in value.items()):
        out += key
        _write(out, item)


def _bad(message: str, position: int) -> Malformed:
    return Malformed(message, where=f"byte {position}")


def _read_head(data: bytes, pos: int) -> tuple[int, int, int]:
    """Return major type, argument and the offset behind the head."""
    if pos >= len(data):
        raise _bad("the bytes end too early", pos)
    info = data[pos] & 31
    major = data[pos] >> 5
    if info < _INLINE:
        return major, info, pos + 1
    width = _WIDTH.get(info)
    if width is None:
        raise _bad("indefinite and reserved lengths are not used", pos)
    end = pos + 1 + width
    if end > len(data):
        raise _bad("the bytes end too early", pos)
    argument = int.from_bytes(data[pos + 1 : end])
    if argument < _MIN[info] or major == _SIMPLE:
        raise _bad("not the shortest encoding, or a value we do not use", pos)
    return major, argument, end


def _read(data: bytes, start: int, depth: int) -> tuple[Any, int]:
    """Return the item at ``start`` inside ``depth`` containers, and its end."""
    major, argument, pos = _read_head(data, start)
    if major == _UINT:
        return argument, pos
    if major == _NINT:
        return -1 - argument, pos
    if major == _TAG:
        raise _bad("tags are not used here", start)
    if major == _SIMPLE:
        if argument not in _SIMPLES:
            raise _bad("only the simple values true, false and null", start)
        return _SIMPLES[argument], pos
    # Every byte, item or pair announced needs at least one byte that is there.
    if argument > len(data) - pos:
        raise _bad("a length runs past the end", start)
    if major == _BYTES:
        return data[pos : pos + argument], pos + argument
    if major == _TEXT:
        return _text(data, pos, pos + argument), pos + argument
    return _read_container(data, pos, argument, depth + 1, is_map=major == _MAP)


def _read_container(
    data: bytes, pos: int, count: int, depth: int, *, is_map: bool
) -> tuple[Any, int]:
    """Return the array or map of ``count`` items or pairs at ``pos``."""
    if depth > MAX_DEPTH:
        raise _bad(f"nested deeper than {MAX_DEPTH}", pos)
    if is_map:
        return _read_map(data, pos, count, depth)
    items = []
    for _ in range(count):
        item, pos = _read(data, pos, depth)
        items.append(item)
    return items, pos


def _text(data: bytes, pos: int, end: int) -> str:
    try:
        return data[pos:end].decode()
    except UnicodeDecodeError:
        raise _bad("text that is not UTF-8", pos) from None


def _read_map(data: bytes, pos: int, count: int, depth: int) -> tuple[Any, int]:
    """Return the map of ``count`` pairs at ``pos``; keys must rise, so none repeats."""
    pairs: dict[Any, Any] = {}
    last = b""
    for _ in range(count):
        start = pos
        key, pos = _read(data, start, depth)
        if type(key) not in {int, bytes, str}:
            raise _bad("a map key is an integer, bytes or text", start)
        raw = data[start:pos]
        if raw <= last:
            raise _bad("map keys out of order or repeated", start)
        last = raw
        pairs[key], pos = _read(data, pos, depth)
    return pairs, pos
