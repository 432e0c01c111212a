"""Records: what is said, a JSON document whose digest is its name.

``{"type", "profile", "issued", "salt", "body"}`` (docs/formats.md, Record). The
bytes are the record: they are kept as their author made them, and their SHA-256
is the name. So two readers must never see different things in the same bytes,
which is what ``strictjson`` sees to.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final

import orjson

from trace_node.errors import Malformed
from trace_node.trust import base64url
from trace_node.trust.strictjson import MAX_RECORD, loads_strict

__all__ = [
    "CONTENT_TYPES",
    "GOVERNANCE_TYPES",
    "MAX_RECORD",
    "RECORD_MEDIA",
    "Record",
    "check_issued",
    "loads_strict",
    "make_record",
    "media_of",
    "ni",
    "parse_ni",
    "parse_record",
    "read_members",
]

GOVERNANCE_TYPES: Final = frozenset(
    {
        "registration-policy",
        "rules",
        "party",
        "key",
        "accreditation",
        "sanction",
        "agreement",
        "policy",
        "charter",
        "peer-head",
        "fork-proof",
        "erasure",
    }
)
CONTENT_TYPES: Final = frozenset(
    {
        "product",
        "document",
        "code",
        "event",
        "attestation",
        "request",
        "declaration",
        "correction",
        "withdrawal",
        "dispute",
        "grant",
        "access-receipts",
        "transfer",
        "rule",
        "risk-hit",
        "task",
        "alert",
        "disposition",
        "recall",
        "notice",
        "sampling",
        "complaint",
        "settlement",
    }
)
RECORD_MEDIA: Final = "application/vnd.trace-node.record+json"
SALT_SIZE: Final = 16  # bytes

_KEYS: Final = {"type", "profile", "issued", "salt", "body"}
_MAX_PROFILE: Final = 64  # characters
_PROFILE: Final = re.compile(r"[0-9]-[a-z-]+@[0-9]+")
_ISSUED: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2})(?:\.[0-9]{1,9})?Z"
)
# 21 characters are 126 bits; of the last one's six, four are spare and zero.
_SALT: Final = re.compile(r"[A-Za-z0-9_-]{21}[AQgw]")
_NI: Final = "ni:///sha-256;"


@dataclass(frozen=True, slots=True)
class Record:
    """A parsed record.

    Args:
        type: one of ``GOVERNANCE_TYPES`` or ``CONTENT_TYPES``.
        profile: the rules it claims to follow ("4-segments@1").
        issued: when its author says it was made, RFC 3339 UTC.
        salt: 16 bytes.
        body: what is said; its shape depends on ``type`` and ``profile``.
        raw: the bytes that were parsed.
    """

    type: str
    profile: str
    issued: str
    salt: bytes
    body: dict[str, Any]
    raw: bytes

    @property
    def digest(self) -> bytes:
        """SHA-256 over the bytes, 32 bytes."""
        return sha256(self.raw).digest()


def parse_record(data: bytes) -> Record:
    """Return the record that ``data`` holds; the body is any JSON object.

    Raises:
        Malformed: it is none; ``where`` names the member.
        LimitExceeded: it is too large or too deep.
    """
    value = read_members(data)
    salt = base64url.decode(value["salt"], size=SALT_SIZE, where="salt")
    return Record(
        value["type"], value["profile"], value["issued"], salt, value["body"], data
    )


def read_members(data: bytes) -> dict[str, Any]:
    """Return the members of the record that ``data`` holds, all of them checked.

    As ``parse_record``, and raises as it does; for who takes in thousands and
    needs no ``Record`` of each.
    """
    value = loads_strict(data)
    if not isinstance(value, dict) or value.keys() != _KEYS:
        raise Malformed("a record has exactly type, profile, issued, salt and body")
    kind, profile, salt = value["type"], value["profile"], value["salt"]
    if not isinstance(kind, str) or not (
        kind in CONTENT_TYPES or kind in GOVERNANCE_TYPES
    ):
        raise Malformed("no such type of record", where="type")
    if not isinstance(profile, str) or not _is_profile(profile):
        raise Malformed('a profile looks like "4-segments@1"', where="profile")
    check_issued(value["issued"])
    if not isinstance(salt, str) or not _SALT.fullmatch(salt):
        base64url.decode(salt, size=SALT_SIZE, where="salt")  # says what is wrong
    if not isinstance(value["body"], dict):
        raise Malformed("the body is a JSON object", where="body")
    return value


# Of a manifest's records most have the profile, and many the second, of the one
# before. Bounded, because strangers choose the text.
@lru_cache(maxsize=256)
def _is_profile(text: str) -> bool:
    return len(text) <= _MAX_PROFILE and _PROFILE.fullmatch(text) is not None


@lru_cache(maxsize=1024)
def _is_issued(text: str) -> bool:
    match = _ISSUED.fullmatch(text)
    try:
        if match is not None:
            datetime.fromisoformat(match[1])
    except ValueError:
        return False
    return match is not None


def make_record(
    type: str,  # noqa: A002 - the name of the member
    profile: str,
    issued: str,
    salt: bytes,
    body: dict[str, Any],
) -> bytes:
    """Return the bytes of a record, compact, in the order of the format.

    What is made is read back, so no record leaves here that ``parse_record``
    of another center refuses.

    Raises:
        Malformed: a part is not what a record may hold.
    """
    value = {
        "type": type,
        "profile": profile,
        "issued": issued,
        "salt": base64url.encode(salt),
        "body": body,
    }
    try:
        data = orjson.dumps(value)
    except TypeError as error:
        raise Malformed(f"not JSON: {error}", where="body") from None
    parse_record(data)
    return data


def check_issued(text: object, *, where: str = "issued") -> str:
    """Return ``text`` if it is a time in RFC 3339 UTC, "2026-11-23T08:00:00Z".

    At most nine digits of a second. A leap second (":60") is refused: no clock
    that we compare with can show one.
    """
    if isinstance(text, str) and _is_issued(text):
        return text
    raise Malformed("not a time like 2026-11-23T08:00:00Z", where=where)


def media_of(type: str) -> str:  # noqa: A002
    """Return the media type of a record of ``type``; all content shares one.

    Raises:
        Malformed: there is no such type.
    """
    if type in CONTENT_TYPES:
        return RECORD_MEDIA
    if type in GOVERNANCE_TYPES:
        return f"application/vnd.trace-node.{type}+json"
    raise Malformed("no such type of record", where="type")


def ni(digest: bytes) -> str:
    """Return the name of content with this SHA-256 (RFC 6920 §3), 57 characters."""
    return _NI + base64url.encode(digest)


def parse_ni(text: object, *, where: str = "") -> bytes:
    """Return the 32-byte digest in a name that ``ni`` made."""
    if not isinstance(text, str) or not text.startswith(_NI):
        raise Malformed("a name looks like ni:///sha-256;…", where=where)
    return base64url.decode(text.removeprefix(_NI), size=32, where=where)
