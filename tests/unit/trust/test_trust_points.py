"""Points are checked by our arithmetic: the same answers as slower and other ways."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePublicKey,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from trust_story import signer

from trace_node.errors import Malformed
from trace_node.trust.points import check_ed25519, check_p256, jacobi

P25519 = 2**255 - 19
P256 = 2**256 - 2**224 + 2**192 + 2**96 - 1
D = -121665 * pow(121666, -1, P25519) % P25519


def euler(a, p):
    power = pow(a, (p - 1) // 2, p)
    return -1 if power == p - 1 else power


def takes(check, *parts):
    try:
        check(*parts)
    except Malformed:
        return False
    return True


def test_the_symbol_of_small_primes():
    for p in (3, 5, 7, 11, 13, 17, 19, 23, 101, 257):
        squares = {a * a % p for a in range(1, p)}
        for a in range(p):
            assert jacobi(a, p) == (0 if a == 0 else 1 if a in squares else -1)


@settings(max_examples=300)
@given(st.integers(0, P25519 - 1))
def test_the_symbol_is_eulers(a):
    assert jacobi(a, P25519) == euler(a, P25519)
    assert jacobi(a * a % P25519, P25519) == (1 if a else 0)


@settings(max_examples=300)
@given(st.binary(min_size=32, max_size=32))
def test_an_ed25519_point_decodes_as_rfc_8032_says(data):
    y = int.from_bytes(data, "little") & (2**255 - 1)
    u, v = (y * y - 1) % P25519, (D * y * y + 1) % P25519
    square = u * pow(v, -1, P25519) % P25519
    # Section 5.1.3, step 3: the candidate root, or it times sqrt(-1).
    x = pow(square, (P25519 + 3) // 8, P25519)
    if x * x % P25519 != square:
        x = x * pow(2, (P25519 - 1) // 4, P25519) % P25519
    on_curve = y < P25519 and x * x % P25519 == square
    small = 0 in {x, y, (x * x + y * y) % P25519}  # of order 1, 2, 4 or 8
    assert takes(check_ed25519, data, b"") is (on_curve and not small)


def oracle_p256(x, y):
    try:
        EllipticCurvePublicKey.from_encoded_point(SECP256R1(), b"\x04" + x + y)
    except ValueError:
        return False
    return True


@given(
    st.binary(max_size=4), st.integers(0, 63), st.sampled_from((0, 1, 0x80)), st.data()
)
def test_a_p256_point_is_one_where_the_library_says_so(name, at, mask, data):
    public = signer(name.hex(), "P-256").public
    point = bytearray(public.x + public.y)
    point[at] ^= mask
    x, y = bytes(point[:32]), bytes(point[32:])
    assert takes(check_p256, x, y) is oracle_p256(x, y) is (mask == 0)
    other = data.draw(st.binary(min_size=32, max_size=32))
    assert takes(check_p256, public.x, other) is oracle_p256(public.x, other)


def test_p256_has_one_encoding_of_a_coordinate():
    # x and x + p are one point; 2^256 - p leaves small x a second spelling.
    b = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
    for x in range(20):
        square = (x**3 - 3 * x + b) % P256
        y = pow(square, (P256 + 1) // 4, P256)
        if y * y % P256 == square:
            break
    good, again = x.to_bytes(32), (x + P256).to_bytes(32)
    check_p256(good, y.to_bytes(32))
    check_p256(good, (P256 - y).to_bytes(32))
    assert not oracle_p256(again, y.to_bytes(32))
    for bad in ((again, y), (bytes(32), 0), (good, 0)):
        with pytest.raises(Malformed):
            check_p256(bad[0], bad[1].to_bytes(32))
    for parts in ((good, b""), (good[1:], good), (b"", b"")):
        with pytest.raises(Malformed):
            check_p256(*parts)
