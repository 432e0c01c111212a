"""Verifier keys as one line of text (C2SP signed-note, "Verifier keys").

    example.com/log+9a1b2c3d+Ad4x…     name + key id in hex + base64(alg ‖ key)

This is how policies and witness lists write the keys of logs and witnesses.
Names and key ids only say which key to try; trust comes from the key itself
being configured.
"""

import base64
import binascii
import re
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from trace_node.errors import BadSignature, LimitExceeded, Malformed
from trace_node.trust.keys import ED25519 as COSE_ED25519
from trace_node.trust.keys import PublicKey

ED25519: Final = 0x01
ECDSA: Final = 0x02
COSIGNATURE: Final = 0x04  # Ed25519 with a time (C2SP tlog-cosignature v1)
ML_DSA_44: Final = 0x06  # parsed, not verified here

KEY_ID_SIZE: Final = 4
MAX_VKEY: Final = 8_192  # characters; the longest known key, ML-DSA-44, needs 1,900
_RAW_KEY_SIZE: Final = 32
_NIST: Final = frozenset({"secp256r1", "secp384r1", "secp521r1"})  # signed-note, 0x02
_VKEY = re.compile(r"([^+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+={0,2})")


def decode_base64(text: str, *, where: str = "") -> bytes:
    """Return the bytes of standard, padded base64 in its one canonical spelling.

    Two spellings of the same bytes would let a third party change a signed file
    without breaking it, so non-zero trailing bits are refused (RFC 4648 §3.5).
    """
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise Malformed("this is not base64", where=where) from None
    if encode_base64(data) != text:
        raise Malformed("this is not canonical base64", where=where)
    return data


def encode_base64(data: bytes) -> str:
    """Return ``data`` in standard, padded base64 (RFC 4648 §4)."""
    return base64.b64encode(data).decode("ascii")


def check_key_name(name: str, *, where: str = "") -> None:
    """Check a key name: not empty, no Unicode space, no "+", no control.

    Raises:
        Malformed: it is none (C2SP signed-note, "Format").
    """
    if not name:
        raise Malformed("a key name is not empty", where=where)
    if any(c.isspace() or c == "+" or c < " " or c == "\x7f" for c in name):
        raise Malformed("a key name holds no space, '+' or control", where=where)
    try:
        name.encode()
    except UnicodeEncodeError:
        raise Malformed("a key name is valid Unicode", where=where) from None


def key_id(name: str, alg: int, public: bytes) -> bytes:
    """Return the 4 bytes that name a key in a signature line.

    SHA-256(name ‖ 0x0A ‖ alg ‖ public)[:4]; for ECDSA SHA-256(SPKI)[:4].
    """
    if alg == ECDSA:
        return sha256(public).digest()[:KEY_ID_SIZE]
    named = name.encode() + b"\n" + alg.to_bytes() + public
    return sha256(named).digest()[:KEY_ID_SIZE]


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A named key that signs notes.

    Args:
        name: who signs; for a log, its origin.
        alg: signature type byte; 1 (Ed25519) and 4 (Ed25519 cosignature/v1) can
            be verified, others are carried only.
        public: the key's bytes, 32 for types 1 and 4.

    Raises:
        Malformed: name or key is none.
    """

    name: str
    alg: int
    public: bytes
    key_id: bytes = field(init=False, compare=False)
    _loaded: PublicKey | None = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        check_key_name(self.name, where="vkey")
        if not 0 < self.alg <= 0xFF or not self.public:  # noqa: PLR2004 - one byte
            raise Malformed("no such key type", where="vkey")
        loaded = None
        if self.alg in (ED25519, COSIGNATURE):
            if len(self.public) != _RAW_KEY_SIZE:
                raise Malformed("an Ed25519 key is 32 bytes", where="vkey")
            loaded = PublicKey.from_raw("Ed25519", self.public)
        if self.alg == ECDSA:
            _check_spki(self.public)
        object.__setattr__(self, "_loaded", loaded)
        object.__setattr__(self, "key_id", key_id(self.name, self.alg, self.public))

    def __str__(self) -> str:
        encoded = encode_base64(self.alg.to_bytes() + self.public)
        return f"{self.name}+{self.key_id.hex()}+{encoded}"

    @property
    def can_verify(self) -> bool:
        """Whether this node knows how to check what the key signs."""
        return self._loaded is not None

    def verify(self, signature: bytes, message: bytes) -> None:
        """Check a bare 64-byte Ed25519 signature.

        Raises:
            BadSignature: it does not hold, or keys of this type are not checked.
        """
        if self._loaded is None:
            raise BadSignature(f"no verification of keys of type {self.alg}")
        self._loaded.verify(COSE_ED25519, signature, message)


def _check_spki(data: bytes) -> None:
    """Check that ECDSA key bytes are an SPKI, for its hash is the key's name."""
    try:
        key = load_der_public_key(data)
    except Exception:  # noqa: BLE001 - the library documents no closed set
        raise Malformed("an ECDSA key is written as SPKI", where="vkey") from None
    if not isinstance(key, EllipticCurvePublicKey) or key.curve.name not in _NIST:
        raise Malformed("an ECDSA key is on P-256, P-384 or P-521", where="vkey")


def make_vkey(name: str, alg: int, public: bytes) -> VerifierKey:
    """Return the verifier key with this name, type and raw public key."""
    return VerifierKey(name, alg, public)


def parse_vkey(text: str) -> VerifierKey:
    """Return the key that a line of text writes.

    Raises:
        Malformed: the grammar is broken, or the key id does not fit name and key.
        LimitExceeded: longer than any known key.
    """
    if len(text) > MAX_VKEY:
        raise LimitExceeded("the verifier key is too long", where="vkey")
    found = _VKEY.fullmatch(text)
    if not found:
        raise Malformed("a verifier key is name+hex+base64", where="vkey")
    name, hex_id, encoded = found.groups()
    data = decode_base64(encoded, where="vkey")
    if not data:
        raise Malformed("a verifier key starts with its type", where="vkey")
    key = VerifierKey(name, data[0], data[1:])
    if key.key_id.hex() != hex_id:
        raise Malformed("the key id does not fit name and key", where="vkey")
    return key
