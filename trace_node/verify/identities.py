"""Find a statement that stands twice in a log, in 16 bytes an entry."""

from typing import Final

_KEPT: Final = 16  # bytes: no stranger finds two statements that share so many
_SIZE: Final = 32


class Identities:
    """The identities of the entries so far, sorted by their first byte."""

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts = [bytearray() for _ in range(256)]

    def add(self, joined: bytes | bytearray) -> None:
        """Take in identities, 32 bytes each."""
        parts = self._parts
        for at in range(0, len(joined), _SIZE):
            parts[joined[at]] += joined[at : at + _KEPT]

    def repeated(self) -> list[bytes]:
        """Return the first 16 bytes of every identity that came again."""
        found: list[bytes] = []
        for part in self._parts:
            seen: set[bytes] = set()
            for at in range(0, len(part), _KEPT):
                kept = bytes(part[at : at + _KEPT])
                if kept in seen:
                    found.append(kept)
                seen.add(kept)
        return found
