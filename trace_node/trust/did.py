"""DIDs, the names of parties: did:key and did:web, parsed and never fetched.

A party has one text as its name: where the methods allow several spellings of
the same thing (upper-case hosts, spare percent-encoding) only one is taken.

did:key carries its key (W3C CCG did:key): multibase base58btc over a multicodec
prefix and the public key. did:web names a document on a host (W3C CCG did:web);
the document is bytes that somebody else has fetched.
"""

import re
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote, unquote

from trace_node.errors import LimitExceeded, Malformed
from trace_node.trust.keys import Curve, PublicKey
from trace_node.trust.record import loads_strict

MAX_DID: Final = 255  # characters
MAX_DOCUMENT: Final = 65_536  # bytes of a did:web document
MAX_METHODS: Final = 64  # verification methods in it

_KEY: Final = "did:key:"
_WEB: Final = "did:web:"
_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_DIGIT: Final = {letter: value for value, letter in enumerate(_BASE58)}
_MAX_MULTIBASE: Final = 64  # characters; a key of ours takes at most 49
# Multicodec varints: ed25519-pub is 0xed, p256-pub is 0x1200 (compressed point).
_CODECS: Final[dict[bytes, Curve]] = {b"\xed\x01": "Ed25519", b"\x80\x24": "P-256"}

_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST: Final = re.compile(rf"({_LABEL}(?:\.{_LABEL})*)(?:%3A([1-9][0-9]{{0,4}}))?")
_SEGMENT: Final = re.compile(r"(?:[A-Za-z0-9._-]|%[0-9A-F]{2})+")
_MAX_HOST: Final = 253  # characters (RFC 1035 §2.3.4, as text)
_MAX_PORT: Final = 65_535


def check_did(text: object, *, where: str = "did") -> str:
    """Return ``text`` if it is a DID that a party may have.

    Raises:
        Malformed: it is none; the message says why.
    """
    if not isinstance(text, str) or not text.startswith((_KEY, _WEB)):
        raise Malformed("a did:key or did:web is needed", where=where)
    if len(text) > MAX_DID:
        raise LimitExceeded(f"a DID has at most {MAX_DID} characters", where=where)
    try:
        if text.startswith(_KEY):
            key_of_did_key(text)
        else:
            _split_web(text)
    except Malformed as error:
        raise Malformed(error.message, where=where) from None
    return text


def did_key(public: PublicKey) -> str:
    """Return the did:key of a key."""
    if public.curve == "Ed25519":
        point = b"\xed\x01" + public.x
    else:
        point = b"\x80\x24" + bytes((2 + (public.y[-1] & 1),)) + public.x
    return f"{_KEY}z{_to_base58(point)}"


def key_of_did_key(did: str) -> PublicKey:
    """Return the key that a did:key carries.

    Raises:
        Malformed: it carries none, or spells it in a second way.
    """
    public = _multikey(did.removeprefix(_KEY)) if did.startswith(_KEY) else None
    if public is None:
        raise Malformed("no did:key of Ed25519 or P-256", where="did")
    return public


def did_web(host: str, *path: str) -> str:
    """Return the did:web of a host, such as "127.0.0.1:8080", and path segments.

    Raises:
        Malformed: the host or a segment cannot stand in a DID.
    """
    parts = [host.replace(":", "%3A"), *map(_quoted, path)]
    return check_did(_WEB + ":".join(parts))


def web_document_url(did: str) -> str:
    """Return the https URL of the document of a did:web (did:web §2.5.2, Read)."""
    host, path = _split_web(did)
    return f"https://{host}/{'/'.join(path or ['.well-known'])}/did.json"


def parse_web_document(data: bytes, did: str) -> list[PublicKey]:
    """Return the keys with which ``did`` may make assertions, each once.

    Only methods under ``assertionMethod`` that ``did`` itself controls count;
    kinds of keys that we do not know are passed over.

    Args:
        data: the document, strict JSON of at most 64 KiB.
        did: the DID it was fetched for.

    Raises:
        Malformed: it is no such document, or one of our kinds of key in it is bad.
    """
    document = loads_strict(data, max_bytes=MAX_DOCUMENT)
    if not isinstance(document, dict) or document.get("id") != did:
        raise Malformed("the document is not about this DID", where="id")
    methods = _objects(document.get("verificationMethod", []), "verificationMethod")
    asserted = _list(document.get("assertionMethod", []), "assertionMethod")
    named = {name if name[:1] != "#" else did + name for name in _texts(asserted)}
    embedded = _objects(
        [entry for entry in asserted if not isinstance(entry, str)], "assertionMethod"
    )
    chosen = [entry for entry in methods if _method_id(entry, did) in named]
    found: dict[bytes, PublicKey] = {}
    for entry in chosen + embedded:
        public = _method_key(entry) if entry.get("controller") == did else None
        if public is not None:
            found[public.thumbprint] = public
    return list(found.values())


def _split_web(did: str) -> tuple[str, list[str]]:
    """Return host with port as in a URL, and the path segments still encoded."""
    host, *path = did.removeprefix(_WEB).split(":")
    match = _HOST.fullmatch(host) if did.startswith(_WEB) else None
    if match is None or len(match[1]) > _MAX_HOST:
        raise Malformed("did:web needs a lower-case host, a port after %3A")
    if match[2] and int(match[2]) > _MAX_PORT:
        raise Malformed("did:web with a port beyond 65535")
    for segment in path:
        _check_segment(segment)
    return host.replace("%3A", ":"), path


def _quoted(text: str) -> str:
    """Return ``text`` as a segment; a DID holds "~" only encoded (DID Core §3.1)."""
    return quote(text, safe="").replace("~", "%7E")


def _check_segment(segment: str) -> None:
    """Refuse a segment that is empty, climbs, or has another spelling."""
    try:
        plain = unquote(segment, errors="strict")
    except UnicodeDecodeError:
        plain = ""
    if (
        not _SEGMENT.fullmatch(segment)
        or _quoted(plain) != segment
        or plain in {".", ".."}
        or any(c in "/\\" or c < " " or "\x7f" <= c <= "\x9f" for c in plain)
    ):
        raise Malformed("did:web with a path segment that is not plain")


def _list(value: object, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise Malformed("a list is needed", where=where)
    if len(value) > MAX_METHODS:
        raise LimitExceeded(f"more than {MAX_METHODS} methods", where=where)
    return value


def _objects(value: object, where: str) -> list[dict[str, Any]]:
    entries = _list(value, where)
    if not all(isinstance(entry, dict) for entry in entries):
        raise Malformed("a verification method is an object", where=where)
    return entries


def _texts(values: list[Any]) -> Iterator[str]:
    return (value for value in values if isinstance(value, str))


def _method_id(entry: dict[str, Any], did: str) -> str:
    name = entry.get("id")
    if not isinstance(name, str):
        raise Malformed("a method needs an id", where="verificationMethod")
    return did + name if name.startswith("#") else name


def _method_key(entry: dict[str, Any]) -> PublicKey | None:
    """Return the key of one method; None if it is of a kind we do not know."""
    kind = entry.get("type")
    if kind == "Multikey":
        return _multikey(entry.get("publicKeyMultibase"))
    if kind not in ("JsonWebKey", "JsonWebKey2020"):
        return None
    jwk = entry.get("publicKeyJwk")
    if isinstance(jwk, dict) and jwk.get("crv") not in ("Ed25519", "P-256"):
        return None
    return PublicKey.from_jwk(jwk)


def _multikey(text: object) -> PublicKey | None:
    """Return the key in a multibase text; None for another multicodec."""
    if not isinstance(text, str) or not text.startswith("z"):
        raise Malformed("a key in base58btc starts with z", where="key")
    if len(text) > _MAX_MULTIBASE:
        return None
    data = _from_base58(text[1:])
    curve = _CODECS.get(data[:2])
    if curve is None:
        return None
    public = PublicKey.from_raw(curve, data[2:])
    if did_key(public) != _KEY + text:  # a leading zero, a point uncompressed
        raise Malformed("a second spelling of a key", where="key")
    return public


def _to_base58(data: bytes) -> str:
    """Return base58btc; our inputs never start with a zero byte."""
    number, digits = int.from_bytes(data), ""
    while number:
        number, digit = divmod(number, 58)
        digits = _BASE58[digit] + digits
    return digits


def _from_base58(text: str) -> bytes:
    """Return the bytes of base58btc text; leading zero bytes are never ours."""
    number = 0
    for letter in text:
        digit = _DIGIT.get(letter)
        if digit is None:
            raise Malformed("not base58btc", where="key")
        number = number * 58 + digit
    return number.to_bytes((number.bit_length() + 7) // 8)
