"""Statements: who says it, a COSE_Sign1 over the hash of what is said.

A SCITT Signed Statement (RFC 9943) as a hash envelope (RFC 9995), with exactly
one encoding (docs/formats.md, Statement):

    d2 84                                     tag 18, array of 4 (RFC 9052 §4.2)
      protected   { 1: alg, 4: kid, 15: {1: iss, 2: sub, 3: aud [, 6: iat]},
                    16: typ, 258: -16, 259: media type of the preimage }
      a0                                      unprotected, empty
      58 20 …                                 payload, SHA-256 of the preimage
      58 40 …                                 signature

Since nothing in it is optional but ``iat``, reading is comparing with a
template: labels, order and lengths are those of deterministic CBOR (RFC 8949
§4.2.1) or the statement is refused. No byte is there that nobody checks.

The identity of a statement is SHA-256 of the signed bytes. ECDSA has a second
valid signature (r, n - s) for every first; the two are one statement.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Final

from trace_node.errors import BadSignature, LimitExceeded, Malformed
from trace_node.trust import cbor
from trace_node.trust.did import check_did
from trace_node.trust.keys import ED25519, EDDSA, ES256, ESP256, PublicKey, Signer
from trace_node.trust.record import GOVERNANCE_TYPES, RECORD_MEDIA, media_of, ni

STATEMENT_MEDIA: Final = "application/vnd.trace-node.statement+cose"
MANIFEST_MEDIA: Final = "application/vnd.trace-node.manifest"
TICK_MEDIA: Final = "application/vnd.trace-node.tick"
POLICY_MEDIA: Final = media_of("registration-policy")
MAX_STATEMENT: Final = 65_535  # bytes, of an entry of the log
MAX_TEXT: Final = 255  # bytes of iss, aud and the media type
MAX_IAT: Final = 2**53 - 1  # Unix seconds

_GOVERNANCE: Final = {media_of(kind): kind for kind in GOVERNANCE_TYPES}
_MEDIA: Final = {
    media.encode(): media
    for media in (RECORD_MEDIA, MANIFEST_MEDIA, TICK_MEDIA, *_GOVERNANCE)
}
_DATED: Final = frozenset({TICK_MEDIA, POLICY_MEDIA})  # these carry an iat

_ALGS: Final = {cbor.encode(alg)[0]: alg for alg in (ED25519, ESP256, EDDSA, ES256)}
_OPEN: Final = b"\xd2\x84"
_SIGNATURE1: Final = b"\x84\x6aSignature1"  # context of Sig_structure, RFC 9052 §4.4
_MID: Final = b"\xa0\x58\x20"  # unprotected, head of the payload
_SIG: Final = b"\x58\x40"  # head of the signature
_TAIL: Final = len(_MID) + 32 + len(_SIG) + 64  # bytes behind the protected header
_TYP: Final = b"\x10" + cbor.encode(STATEMENT_MEDIA) + b"\x19\x01\x02\x2f\x19\x01\x03"
_SUB: Final = b"\x02\x78\x39"  # label and head of sub, 57 bytes of text
_SHORT, _ONE_BYTE, _TWO_BYTES = 0x60, 0x78, 0x79  # heads of text
_CLAIMS: Final = b"\x0f\xa3\x01"  # label 15, a map of three, label iss
_CLAIMS_DATED: Final = b"\x0f\xa4\x01"  # of four: with iat
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement that is well-formed; nothing is said about its signature.

    Args:
        raw: the bytes, as they stand in the log.
        alg: COSE algorithm.
        kid: thumbprint of the key, 32 bytes.
        iss: DID of the party that says it.
        sub: name of the preimage (``ni``).
        aud: origin of the log it is made for.
        iat: Unix seconds; only a tick and a registration policy carry it.
        media: media type of the preimage.
        payload: SHA-256 of the preimage, 32 bytes.
        signature: 64 bytes.
        signed: the signed bytes (Sig_structure).
        identity: SHA-256 of ``signed``, 32 bytes.
    """

    raw: bytes
    alg: int
    kid: bytes
    iss: str
    sub: str
    aud: str
    iat: int | None
    media: str
    payload: bytes
    signature: bytes
    signed: bytes
    identity: bytes

    @property
    def governance_type(self) -> str | None:
        """The type of the governance record it is about ("party"), if it is."""
        return _GOVERNANCE.get(self.media)

    @property
    def is_manifest(self) -> bool:
        """Whether it is about many content records at once."""
        return self.media == MANIFEST_MEDIA

    @property
    def is_tick(self) -> bool:
        """Whether it tells the time of the log."""
        return self.media == TICK_MEDIA

    @property
    def is_content(self) -> bool:
        """Whether it is about content: one record or a manifest."""
        return self.media in {RECORD_MEDIA, MANIFEST_MEDIA}


def decode_statement(raw: bytes) -> Statement:
    """Return the statement that ``raw`` is, to its last byte.

    Raises:
        Malformed: it is none; ``where`` names the field.
        LimitExceeded: it, or a text in it, is too long.
    """
    if len(raw) > MAX_STATEMENT:
        raise LimitExceeded(f"a statement has at most {MAX_STATEMENT} bytes")
    # The tail has one length, so the protected header is what lies before it.
    cut = len(raw) - _TAIL
    begin = 4 if raw[2:3] == b"\x58" else 5
    if raw[:2] != _OPEN or raw[2:begin] != cbor.head(2, max(cut - begin, 0)):
        raise Malformed("not a tagged COSE_Sign1 of our lengths", where="statement")
    if raw[cut : cut + 3] != _MID or raw[cut + 35 : cut + 37] != _SIG:
        raise Malformed(
            "empty unprotected header, payload of 32 bytes, signature of 64",
            where="statement",
        )
    protected, payload = raw[begin:cut], raw[cut + 3 : cut + 35]
    alg, kid, pos = _read_key(protected)
    sub = ni(payload)
    iss, aud, iat, pos = _read_claims(protected, pos, sub)
    media = _read_media(protected, pos)
    if (iat is not None) != (media in _DATED):
        raise Malformed("ticks and registration policies carry iat", where="iat")
    signed = b"".join(
        (_SIGNATURE1, raw[2:cut], b"\x40", raw[cut + 1 : cut + 35])  # no external data
    )
    identity = sha256(signed).digest()
    return Statement(
        raw, alg, kid, iss, sub, aud, iat, media, payload, raw[-64:], signed, identity
    )


def payload_of(raw: bytes) -> bytes:
    """Return the payload of a statement that was decoded when it came in.

    Its place is fixed from the end, so a reader of a long log need not decode.

    Raises:
        Malformed: no payload is there.
    """
    cut = len(raw) - _TAIL
    if cut < 0 or raw[cut : cut + 3] != _MID or raw[cut + 35 : cut + 37] != _SIG:
        raise Malformed("no payload where a statement has it", where="statement")
    return raw[cut + 3 : cut + 35]


def sign_statement(
    signer: Signer,
    *,
    iss: str,
    aud: str,
    media: str,
    preimage: bytes | None = None,
    payload: bytes | None = None,
    iat: int | None = None,
) -> bytes:
    """Return the bytes of a signed statement.

    Args:
        signer: the key; its thumbprint becomes ``kid``.
        iss: DID of the party.
        aud: origin of the log.
        media: media type of the preimage.
        preimage: what it is about; or
        payload: its SHA-256, one of the two.
        iat: Unix seconds, for a tick or a registration policy.

    Raises:
        Malformed: ``decode_statement`` would refuse the result.
    """
    if preimage is not None:
        payload = sha256(preimage).digest()
    if payload is None:
        raise Malformed("a statement is about something", where="payload")
    claims: dict[int, str | int] = {1: iss, 2: ni(payload), 3: aud}
    if iat is not None:
        claims[6] = iat
    try:
        protected = cbor.encode(_header(signer, claims, media))
    except ValueError:  # a lone surrogate, or an iat beyond 64 bits
        raise Malformed("a claim that CBOR cannot hold", where="protected") from None
    body = cbor.encode(payload)
    signature = signer.sign(_SIGNATURE1 + protected + b"\x40" + body)
    raw = _OPEN + protected + b"\xa0" + body + cbor.encode(signature)
    return decode_statement(raw).raw


def _header(signer: Signer, claims: dict[int, str | int], media: str) -> bytes:
    """Return the protected header, a map in its encoding."""
    return cbor.encode(
        {
            1: signer.alg,
            4: signer.public.thumbprint,
            15: claims,
            16: STATEMENT_MEDIA,
            258: -16,
            259: media,
        }
    )


def verify_statement(statement: Statement, key: PublicKey) -> None:
    """Check that ``key`` signed the statement; not that it was entitled to.

    Raises:
        BadSignature: it is another key, or the signature does not fit.
    """
    if statement.kid != key.thumbprint:
        raise BadSignature("the statement names another key", where="kid")
    key.verify(statement.alg, statement.signature, statement.signed)


# Parties are few and statements many; a bound, because strangers choose the text.
@lru_cache(maxsize=8192)
def _check_iss(text: str) -> None:
    check_did(text, where="iss")


def _read_key(protected: bytes) -> tuple[int, bytes, int]:
    """Return alg, kid and the offset behind them (labels 1 and 4)."""
    if protected[:2] != b"\xa6\x01":
        raise Malformed("six labels, the first is alg", where="protected")
    alg = _ALGS.get(protected[2]) if len(protected) > 2 else None  # noqa: PLR2004
    if alg is None:
        raise Malformed("not an algorithm we verify", where="alg")
    if protected[3:6] != b"\x04\x58\x20" or len(protected) < 38:  # noqa: PLR2004
        raise Malformed("a key thumbprint of 32 bytes is needed", where="kid")
    return alg, protected[6:38], 38


def _read_claims(
    protected: bytes, pos: int, sub: str
) -> tuple[str, str, int | None, int]:
    """Return iss, aud, iat and the offset behind the claims (label 15)."""
    opened = protected[pos : pos + 3]
    dated = opened == _CLAIMS_DATED
    if not dated and opened != _CLAIMS:
        raise Malformed("the claims are iss, sub and aud", where="claims")
    iss, pos = _read_text(protected, pos + 3, "iss")
    _check_iss(iss)
    expected = _SUB + sub.encode() + b"\x03"
    if not protected.startswith(expected, pos):
        raise Malformed("sub is the name of the payload", where="sub")
    aud, pos = _read_text(protected, pos + len(expected), "aud")
    if not aud or _CONTROL.search(aud):
        raise Malformed("empty, or with control characters", where="aud")
    if not dated:
        return iss, aud, None, pos
    if protected[pos : pos + 1] != b"\x06":
        raise Malformed("the fourth claim is iat", where="iat")
    try:
        iat, pos = cbor.decode_first(protected, pos + 1)
    except Malformed as error:
        raise Malformed(error.message, where="iat") from None
    if type(iat) is not int or not 0 <= iat <= MAX_IAT:
        raise Malformed("iat is Unix seconds, below 2^53", where="iat")
    return iss, aud, iat, pos


def _read_media(protected: bytes, pos: int) -> str:
    """Return the media type of the preimage (labels 16, 258 and 259, the last)."""
    if not protected.startswith(_TYP, pos):
        raise Malformed("typ, SHA-256 and media type follow", where="protected")
    pos += len(_TYP)
    begin = pos + (1 if protected[pos : pos + 1] < b"\x78" else 2)
    media = _MEDIA.get(protected[begin:])
    if media is None or protected[pos:begin] != cbor.head(3, len(media)):
        raise Malformed("not a media type of ours", where="media")
    return media


def _read_text(data: bytes, pos: int, where: str) -> tuple[str, int]:
    """Return the text at ``pos``, at most 255 bytes, and the offset behind it."""
    first = data[pos] if pos < len(data) else 0
    if first == _TWO_BYTES:
        raise LimitExceeded(f"text of more than {MAX_TEXT} bytes", where=where)
    if _SHORT <= first < _ONE_BYTE:
        begin, size = pos + 1, first - _SHORT
    elif first == _ONE_BYTE and data[pos + 1 : pos + 2] >= b"\x18":
        begin, size = pos + 2, data[pos + 1]
    else:
        raise Malformed("not text, or not in the shortest encoding", where=where)
    if begin + size > len(data):
        raise Malformed("the text runs past the header", where=where)
    try:
        return data[begin : begin + size].decode(), begin + size
    except UnicodeDecodeError:
        raise Malformed("text that is not UTF-8", where=where) from None
