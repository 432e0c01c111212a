"""Framing of ``/submissions``: a CBOR sequence of [statement, [record, …]].

Works on chunks as they come, and judges every length before it waits for the
bytes, so a hostile prefix never makes the center buffer more than the limits.
Only definite lengths in their shortest form are read (RFC 8949 §4.2.1).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from trace_node.errors import LimitExceeded, Malformed

_BYTES, _ARRAY = 2, 4
_INLINE = 24
_WIDTHS = {24: 1, 25: 2, 26: 4, 27: 8}


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes of a statement, of a record, of a whole item; records in an item."""

    statement: int
    record: int
    item: int
    records: int


class Framer:
    """Cuts a stream into submissions; keeps at most one item unfinished."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._buffer = bytearray()
        self._at = 0  # offset of the buffer's start in the stream
        self._count = 0
        # The item being read: where reading goes on, and what it has so far.
        self._position = 0
        self._parts: list[bytes] = []
        self._records: int | None = None

    def feed(self, data: bytes) -> Iterator[tuple[bytes, list[bytes]]]:
        """Take in a chunk; yield (statement, records) for each finished item.

        Raises:
            Malformed: no submission, with the item and byte where it fails.
            LimitExceeded: a limit is passed.
        """
        self._buffer += data
        while self._step():
            yield self._parts[0], self._parts[1:]
            del self._buffer[: self._position]
            self._at += self._position
            self._position, self._parts, self._records = 0, [], None
            self._count += 1

    def end(self) -> None:
        """Check that the stream ended between two items.

        Raises:
            Malformed: it is cut off.
        """
        if self._buffer:
            raise Malformed("the stream is cut off", where=self._where())

    def _step(self) -> bool:
        """Read on; return True when the item is whole."""
        if self._position == 0 and not self._head(_ARRAY, 2, 2):
            return False
        if not self._parts and not self._bytes(self._limits.statement):
            return False
        if self._records is None:
            count = self._head(_ARRAY, 0, self._limits.records)
            if count is None:
                return False
            self._records = count[0]
        while len(self._parts) <= self._records:
            if not self._bytes(self._limits.record):
                return False
        return True

    def _bytes(self, limit: int) -> bool:
        before = self._position
        found = self._head(_BYTES, 0, limit)
        if found is None:
            return False
        end = self._position + found[0]
        if end > self._limits.item:
            raise LimitExceeded("the item is too large", where=self._where())
        if end > len(self._buffer):
            self._position = before  # read the head again when more is there
            return False
        self._parts.append(bytes(self._buffer[self._position : end]))
        self._position = end
        return True

    def _head(self, major: int, least: int, most: int) -> tuple[int] | None:
        """Read a head; None when it is not all there yet."""
        buffer, at = self._buffer, self._position
        if at >= len(buffer):
            return None
        kind, info = buffer[at] >> 5, buffer[at] & 31
        if kind != major or info > max(_WIDTHS):
            raise Malformed(
                "expected [statement bytes, [record bytes, ...]]", where=self._where()
            )
        width = _WIDTHS.get(info, 0)
        if at + 1 + width > len(buffer):
            return None
        value = int.from_bytes(buffer[at + 1 : at + 1 + width]) if width else info
        if width and value < (_INLINE if width == 1 else 1 << 4 * width):
            raise Malformed("a length not in its shortest form", where=self._where())
        if not least <= value <= most:
            # An array of two that has three is no limit that could be raised.
            error = LimitExceeded if least < most < value else Malformed
            raise error(f"{value} where {least} to {most} may be", where=self._where())
        self._position = at + 1 + width
        return (value,)

    def _where(self) -> str:
        return f"item {self._count}, byte {self._at + self._position}"
