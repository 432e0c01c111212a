"""Public keys, their names, and the port behind which signing keys live.

Two curves: Ed25519 and P-256. A key's name (``kid``) is its COSE thumbprint,
SHA-256 over the deterministic COSE_Key with the public members only (RFC 9679),
so a key has one name everywhere and a name fits one key only.

A ``PublicKey`` that exists is a good one: the point is on its curve, in its
canonical encoding, and not of small order (under such a point one signature
fits many messages).
"""

from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, Literal, Protocol, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    derive_private_key,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from trace_node.errors import BadSignature, Malformed
from trace_node.trust import base64url, cbor
from trace_node.trust.points import COORDINATE_SIZE, check_ed25519, check_p256

# COSE algorithms: fully specified (RFC 9864 §2), and the polymorphic ones that
# older signers write (RFC 9053 §2), for which the curve is checked all the same.
ED25519: Final = -19
ESP256: Final = -9
EDDSA: Final = -8
ES256: Final = -7

Curve = Literal["Ed25519", "P-256"]
PrivateKey = Ed25519PrivateKey | EllipticCurvePrivateKey

SIGNATURE_SIZE: Final = 64  # bytes: R ‖ S (RFC 8032 §5.1.6), r ‖ s (RFC 9053 §2.1)
_CURVE_OF: Final[dict[int, Curve]] = {
    ED25519: "Ed25519",
    EDDSA: "Ed25519",
    ESP256: "P-256",
    ES256: "P-256",
}
_ALG_OF: Final[dict[Curve, int]] = {"Ed25519": ED25519, "P-256": ESP256}
_SHA256: Final = ECDSA(hashes.SHA256())
_SHA256_RFC6979: Final = ECDSA(hashes.SHA256(), deterministic_signing=True)
_P256_ORDER: Final = (
    0xFFFFFFFF_00000000_FFFFFFFF_FFFFFFFF_BCE6FAAD_A7179E84_F3B9CAC2_FC632551
)

# COSE_Key labels and values (RFC 9052 §7.1, RFC 9053 §7.1 and §7.2).
_KTY, _ALG, _KEY_OPS, _CRV, _X, _Y, _D = 1, 3, 4, -1, -2, -3, -4
_VERIFY: Final = 2  # a key operation
_OKP, _EC2 = 1, 2
_CRV_P256, _CRV_ED25519 = 1, 6
# A COSE_Key around its coordinates, so that a key's name costs one hash.
_ZERO: Final = bytes(COORDINATE_SIZE)
_ED25519_X: Final = cbor.encode({_KTY: _OKP, _CRV: _CRV_ED25519, _X: _ZERO})[:-32]
_P256_XY: Final = cbor.encode({_KTY: _EC2, _CRV: _CRV_P256, _X: _ZERO, _Y: _ZERO})
_P256_X: Final = _P256_XY[: _P256_XY.index(_ZERO)]
_P256_Y: Final = _P256_XY[len(_P256_X) + 32 : -32]


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A verifying key.

    Args:
        curve: "Ed25519" or "P-256".
        x: 32 bytes: the encoded point (RFC 8032 §5.1.2), or the x coordinate.
        y: 32 bytes, big-endian, for P-256; empty for Ed25519.

    Raises:
        Malformed: no such point, or one that must not be used.
    """

    curve: Curve
    x: bytes
    y: bytes = b""
    thumbprint: bytes = field(init=False, compare=False, repr=False)
    # Loaded when it first verifies: most keys of a log rest, and a loaded one of
    # P-256 takes two kilobytes. Two threads may both load it; that is harmless.
    _loaded: Ed25519PublicKey | EllipticCurvePublicKey | None = field(
        init=False, compare=False, repr=False
    )

    def __post_init__(self) -> None:
        if self.curve == "Ed25519":
            check_ed25519(self.x, self.y)
        elif self.curve == "P-256":
            check_p256(self.x, self.y)
        else:
            raise Malformed(f"no curve {self.curve!r} here", where="key")
        object.__setattr__(self, "_loaded", None)
        object.__setattr__(self, "thumbprint", sha256(self.cose).digest())

    def __reduce__(self) -> tuple[object, ...]:
        """Copy and pickle by the parts; the loaded key of the library cannot."""
        return PublicKey, (self.curve, self.x, self.y)

    @property
    def cose(self) -> bytes:
        """The deterministic COSE_Key with public members only (RFC 9679 §3)."""
        if self.curve == "Ed25519":
            return _ED25519_X + self.x
        return _P256_X + self.x + _P256_Y + self.y

    @property
    def kid_text(self) -> str:
        """The thumbprint in base64url, 43 characters."""
        return base64url.encode(self.thumbprint)

    def jwk(self) -> dict[str, str]:
        """Return the key as a JWK (RFC 7517, RFC 8037) with public members only."""
        x = base64url.encode(self.x)
        if self.curve == "Ed25519":
            return {"kty": "OKP", "crv": "Ed25519", "x": x}
        return {"kty": "EC", "crv": "P-256", "x": x, "y": base64url.encode(self.y)}

    @classmethod
    def from_raw(cls, curve: Curve, data: bytes) -> Self:
        """Return the key at a point: 32 bytes, or SEC 1 of 33 or 65 for P-256."""
        if curve == "Ed25519":
            return cls(curve, data)
        point = _load_p256(data).public_bytes(
            Encoding.X962, PublicFormat.UncompressedPoint
        )
        return cls("P-256", point[1:33], point[33:])

    @classmethod
    def from_cose(cls, data: bytes) -> Self:
        """Return the key of an encoded COSE_Key; other public members are ignored.

        Where it says what it is for, that must be to verify (RFC 9053 §2.1, §2.2).
        """
        members = cbor.decode(data, where="key")
        if not isinstance(members, dict) or _D in members:
            raise Malformed("not a public COSE_Key", where="key")
        public = cls._of_members(members)
        if _ALG in members and members[_ALG] not in _algs_of(public.curve):
            raise Malformed("a COSE_Key for another algorithm", where="key")
        uses = members.get(_KEY_OPS, [_VERIFY])
        if not isinstance(uses, list) or not (_VERIFY in uses or "verify" in uses):
            raise Malformed("a COSE_Key that does not verify", where="key")
        return public

    @classmethod
    def _of_members(cls, members: dict[Any, Any]) -> Self:
        x, y = members.get(_X), members.get(_Y)
        kind = members.get(_KTY), members.get(_CRV)
        if not isinstance(x, bytes):
            raise Malformed("a COSE_Key without its point", where="key")
        if bool in map(type, kind):  # true equals 1 here, and nowhere else
            raise Malformed("a COSE_Key names its type and curve", where="key")
        if kind == (_OKP, _CRV_ED25519) and y is None:
            return cls("Ed25519", x)
        if kind == (_EC2, _CRV_P256) and isinstance(y, bool):
            return cls.from_raw("P-256", (b"\x03" if y else b"\x02") + x)
        if kind == (_EC2, _CRV_P256) and isinstance(y, bytes):
            return cls("P-256", x, y)
        raise Malformed("no COSE_Key on Ed25519 or P-256", where="key")

    @classmethod
    def from_jwk(cls, value: object) -> Self:
        """Return the key of a parsed JWK; members we do not know are ignored."""
        if not isinstance(value, dict):
            raise Malformed("a JWK is a JSON object", where="jwk")
        if "d" in value:
            raise Malformed("a private key has no place here", where="jwk.d")
        kind = value.get("kty"), value.get("crv")
        if kind not in (("OKP", "Ed25519"), ("EC", "P-256")):
            raise Malformed("no JWK on Ed25519 or P-256", where="jwk")
        x = base64url.decode(value.get("x"), size=COORDINATE_SIZE, where="jwk.x")
        if kind == ("OKP", "Ed25519"):
            return cls("Ed25519", x)
        y = base64url.decode(value.get("y"), size=COORDINATE_SIZE, where="jwk.y")
        return cls("P-256", x, y)

    def verify(self, alg: int, signature: bytes, message: bytes) -> None:
        """Check that this key signed ``message``.

        Args:
            alg: COSE algorithm; it must fit the curve, or one key could be
                led to check under rules it was not made for.
            signature: 64 bytes.
            message: the signed bytes.

        Raises:
            BadSignature: it did not.
        """
        if _CURVE_OF.get(alg) != self.curve or len(signature) != SIGNATURE_SIZE:
            raise BadSignature("algorithm or signature does not fit the key")
        loaded = self._loaded or self._load()
        try:
            if isinstance(loaded, Ed25519PublicKey):
                loaded.verify(signature, message)
            else:
                der = encode_dss_signature(
                    int.from_bytes(signature[:32]), int.from_bytes(signature[32:])
                )
                loaded.verify(der, message, _SHA256)
        except InvalidSignature:
            raise BadSignature("the signature does not fit key and bytes") from None

    def _load(self) -> Ed25519PublicKey | EllipticCurvePublicKey:
        loaded: Ed25519PublicKey | EllipticCurvePublicKey
        if self.curve == "Ed25519":
            loaded = Ed25519PublicKey.from_public_bytes(self.x)
        else:
            loaded = _load_p256(b"\x04" + self.x + self.y)
        object.__setattr__(self, "_loaded", loaded)
        return loaded


class Signer(Protocol):
    """Signs with one key, wherever that key lives (memory, file, HSM)."""

    @property
    def public(self) -> PublicKey:
        """The key that verifies."""

    @property
    def alg(self) -> int:
        """The COSE algorithm of the signatures."""

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature over ``message``."""


class MemorySigner:
    """A signing key in memory; the same message gets the same signature."""

    __slots__ = ("_private", "alg", "public")

    def __init__(self, private: PrivateKey) -> None:
        self._private = private
        point = private.public_key()
        if isinstance(point, Ed25519PublicKey):
            self.public = PublicKey("Ed25519", point.public_bytes_raw())
        else:
            if not isinstance(point.curve, SECP256R1):
                raise Malformed(f"no curve {point.curve.name} here", where="key")
            encoded = point.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
            self.public = PublicKey.from_raw("P-256", encoded)
        self.alg = _ALG_OF[self.public.curve]

    @classmethod
    def from_seed(cls, curve: Curve, seed: bytes) -> Self:
        """Return the key that 32 bytes of randomness stand for.

        Ed25519: the seed is the private key (RFC 8032 §5.1.5). P-256: the scalar
        is the seed as a big-endian integer, modulo n - 1, plus 1; the bias is
        below 2^-32 and n - 1 values remain.
        """
        if len(seed) != COORDINATE_SIZE:
            raise Malformed("a seed is 32 bytes", where="seed")
        if curve == "Ed25519":
            return cls(Ed25519PrivateKey.from_private_bytes(seed))
        scalar = int.from_bytes(seed) % (_P256_ORDER - 1) + 1
        return cls(derive_private_key(scalar, SECP256R1()))

    @classmethod
    def from_private_key(cls, key: PrivateKey) -> Self:
        """Return the signer of a key that the store has decrypted."""
        return cls(key)

    @property
    def private_key(self) -> PrivateKey:
        """The library's key, for the store to encrypt; it goes nowhere else."""
        return self._private

    def sign(self, message: bytes) -> bytes:
        """Return R ‖ S, or r ‖ s made deterministically (RFC 6979 §3.2)."""
        if isinstance(self._private, Ed25519PrivateKey):
            return self._private.sign(message)
        r, s = decode_dss_signature(self._private.sign(message, _SHA256_RFC6979))
        return r.to_bytes(32) + s.to_bytes(32)


def _algs_of(curve: Curve) -> list[int]:
    return [alg for alg, its in _CURVE_OF.items() if its == curve]


def _load_p256(point: bytes) -> EllipticCurvePublicKey:
    try:
        return EllipticCurvePublicKey.from_encoded_point(SECP256R1(), point)
    except ValueError:
        raise Malformed("not a point of P-256", where="key") from None
