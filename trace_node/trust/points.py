"""Points that a public key may be: what the library loads unseen is checked here.

OpenSSL takes any 32 bytes as an Ed25519 key, points of small order among them
(under such a point one signature fits many messages). For P-256 it does check,
but keeps kilobytes a key; here it is three multiplications. A log has many more
keys than signatures to verify at a time, so both checks are arithmetic and a key
is loaded when it first verifies (``keys``).
"""

from typing import Final

from trace_node.errors import Malformed

COORDINATE_SIZE: Final = 32  # bytes of x, of y, and of a seed

_P25519: Final = 2**255 - 19
_D25519: Final = -121665 * pow(121666, -1, _P25519) % _P25519
_P256: Final = 2**256 - 2**224 + 2**192 + 2**96 - 1
_B256: Final = 0x5AC635D8_AA3A93E7_B3EBBD55_769886BC_651D06B0_CC53B0F6_3BCE3C3E_27D2604B


def check_ed25519(x: bytes, y: bytes) -> None:
    """Check an encoded point (RFC 8032 §5.1.3): canonical, on the curve, not small.

    The curve is -x² + y² = 1 + d x² y², so x² = (y² - 1) / (d y² + 1) = u / v.
    Points of order 1 and 2 have x = 0, of order 4 y = 0, and one of order 8
    doubles to y = 0, which means x² + y² = 0.

    Raises:
        Malformed: it must not be a key.
    """
    if len(x) != COORDINATE_SIZE or y:
        raise Malformed("an Ed25519 key is one encoded point of 32 bytes", where="key")
    value = int.from_bytes(x, "little") & (2**255 - 1)
    square = value * value % _P25519
    u, v = (square - 1) % _P25519, (_D25519 * square + 1) % _P25519
    if value >= _P25519:
        raise Malformed("an Ed25519 point in a second encoding", where="key")
    if u == 0 or value == 0 or (u + v * square) % _P25519 == 0:
        raise Malformed("an Ed25519 point of small order", where="key")
    # v is never 0, and u / v is a square exactly when u * v is.
    if jacobi(u * v % _P25519, _P25519) != 1:
        raise Malformed("not a point of Ed25519", where="key")


def check_p256(x: bytes, y: bytes) -> None:
    """Check that y² = x³ - 3x + b (SP 800-186 §3.2.1.3); every such point will do.

    Raises:
        Malformed: it must not be a key.
    """
    if len(x) != COORDINATE_SIZE or len(y) != COORDINATE_SIZE:
        raise Malformed("a P-256 coordinate is 32 bytes", where="key")
    a, b = int.from_bytes(x), int.from_bytes(y)
    if max(a, b) >= _P256 or (b * b - (a * a - 3) * a - _B256) % _P256:
        raise Malformed("not a point of P-256", where="key")


def jacobi(a: int, n: int) -> int:
    """Return the Jacobi symbol (a / n) for odd ``n`` > 0 and 0 ≤ ``a`` < ``n``.

    For a prime ``n``: 1 where ``a`` is a square, -1 where it is none, 0 for 0.
    By reciprocity, a fifth of the time of Euler's a^((n-1)/2).
    """
    sign = 1
    while a:
        zeros = (a & -a).bit_length() - 1
        a >>= zeros
        if zeros & 1 and n & 7 in (3, 5):
            sign = -sign
        if a & n & 2:  # both are 3 modulo 4
            sign = -sign
        a, n = n % a, a
    return sign if n == 1 else 0
