"""Base64url without padding (RFC 4648 §5), one text for each byte string."""

import base64
import binascii
import re
from typing import Final

from trace_node.errors import Malformed

_ALPHABET: Final = re.compile(r"[A-Za-z0-9_-]*")


def encode(data: bytes) -> str:
    """Return ``data`` as base64url text without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode(text: object, *, size: int | None = None, where: str = "") -> bytes:
    """Return the bytes that ``text`` stands for.

    Python's decoder skips foreign characters and ignores spare bits, so that
    many texts would name the same bytes; only the canonical one is taken.

    Args:
        text: base64url without padding.
        size: the number of bytes it must stand for, or any.
        where: name of the place in errors.

    Raises:
        Malformed: it is no such text, or of another size.
    """
    if not isinstance(text, str) or not _ALPHABET.fullmatch(text):
        raise Malformed("not base64url without padding", where=where)
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        raise Malformed("not base64url without padding", where=where) from None
    if encode(data) != text:
        raise Malformed("base64url with spare bits set", where=where)
    if size is not None and len(data) != size:
        raise Malformed(f"{len(data)} bytes where {size} are needed", where=where)
    return data
