import copy
import pickle

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from trust_story import signer

from trace_node.errors import BadSignature, Malformed, TraceNodeError
from trace_node.trust import base64url, cbor
from trace_node.trust.keys import (
    ED25519,
    EDDSA,
    ES256,
    ESP256,
    MemorySigner,
    PublicKey,
)

P = 2**255 - 19
CURVES = ["Ed25519", "P-256"]
# RFC 8032 §7.1, test 1.
RFC8032_SEED = bytes.fromhex(
    "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
)
RFC8032_KEY = bytes.fromhex(
    "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
)
RFC8032_SIGNATURE = bytes.fromhex(
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
    "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
)


@pytest.mark.parametrize("curve", CURVES)
@given(seed=st.binary(min_size=32, max_size=32))
def test_a_key_survives_every_form(curve, seed):
    public = MemorySigner.from_seed(curve, seed).public
    assert PublicKey.from_cose(public.cose) == public
    assert PublicKey.from_jwk(public.jwk()) == public
    assert (
        PublicKey.from_raw(
            curve, public.x if curve == "Ed25519" else b"\x04" + public.x + public.y
        )
        == public
    )
    assert copy.deepcopy(public) == public == pickle.loads(pickle.dumps(public))
    assert base64url.decode(public.kid_text) == public.thumbprint
    assert hash(public) == hash(copy.copy(public))


def test_a_compressed_point_is_the_same_key():
    public = signer("x", "P-256").public
    odd = public.y[-1] & 1
    assert PublicKey.from_raw("P-256", bytes([2 + odd]) + public.x) == public
    assert (
        PublicKey.from_cose(cbor.encode({1: 2, -1: 1, -2: public.x, -3: bool(odd)}))
        == public
    )
    other = PublicKey.from_raw("P-256", bytes([3 - odd]) + public.x)
    assert other != public
    assert other.thumbprint != public.thumbprint


def test_rfc_8032_test_1():
    made = MemorySigner.from_seed("Ed25519", RFC8032_SEED)
    assert made.public.x == RFC8032_KEY
    assert made.sign(b"") == RFC8032_SIGNATURE
    made.public.verify(ED25519, RFC8032_SIGNATURE, b"")


def test_rfc_6979_a_2_5_p256_sha256():
    scalar = 0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721
    made = MemorySigner.from_private_key(ec.derive_private_key(scalar, ec.SECP256R1()))
    assert made.sign(b"sample").hex().upper() == (
        "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716"
        "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8"
    )


def test_rfc_9679_section_6_thumbprint():
    key = PublicKey(
        "P-256",
        bytes.fromhex(
            "65eda5a12577c2bae829437fe338701a10aaa375e1bb5b5de108de439c08551d"
        ),
        bytes.fromhex(
            "1e52ed75701163f7f9e40ddf9f341b3dc9ba860af7e0ca7ca7e9eecd0084d19c"
        ),
    )
    assert (
        key.thumbprint.hex()
        == "496bd8afadf307e5b08c64b0421bf9dc01528a344a43bda88fadd1669da253ec"
    )


@pytest.mark.parametrize("curve", CURVES)
def test_a_signature_fits_one_key_one_message_and_the_curve(curve):
    made = signer("a", curve)
    good = made.sign(b"message")
    assert good == made.sign(b"message")
    assert len(good) == 64
    algs = {"Ed25519": {ED25519, EDDSA}, "P-256": {ESP256, ES256}}[curve]
    for alg in (ED25519, EDDSA, ESP256, ES256, 0, -35, 1):
        if alg in algs:
            made.public.verify(alg, good, b"message")
        else:
            with pytest.raises(BadSignature):
                made.public.verify(alg, good, b"message")
    for key, signature, message in [
        (made.public, good, b"messagf"),
        (signer("b", curve).public, good, b"message"),
        (made.public, good[:63], b"message"),
        (made.public, good + b"\0", b"message"),
        (made.public, bytes(64), b"message"),
        (made.public, b"\xff" * 64, b"message"),
        (made.public, b"", b"message"),
    ]:
        with pytest.raises(BadSignature):
            key.verify(made.alg, signature, message)


def test_ed25519_s_beyond_the_order_is_refused():
    made = signer("a")
    good = made.sign(b"m")
    order = 2**252 + 27742317777372353535851937790883648493
    s = int.from_bytes(good[32:], "little") + order
    with pytest.raises(BadSignature):
        made.public.verify(ED25519, good[:32] + s.to_bytes(32, "little"), b"m")


def ed(y, sign=0):
    return (y | sign << 255).to_bytes(32, "little")


def order_eight():
    """Return the y of a point of order 8: it doubles to y = 0, so x² = -y²."""
    d = -121665 * pow(121666, -1, P) % P
    # -x² + y² = 1 + d x² y² with x² = -y²: d y⁴ + 2 y² - 1 = 0.
    root = pow(1 + d, (P + 3) // 8, P)
    if root * root % P != (1 + d) % P:
        root = root * pow(2, (P - 1) // 4, P) % P
    assert root * root % P == (1 + d) % P
    for candidate in (root, -root):
        square = (candidate - 1) * pow(d, -1, P) % P
        y = pow(square, (P + 3) // 8, P)
        if y * y % P != square:
            y = y * pow(2, (P - 1) // 4, P) % P
        if y * y % P == square:
            return y
    raise AssertionError


@pytest.mark.parametrize(
    "point",
    [
        *(ed(y, s) for y in (0, 1, P - 1, P, P + 1, P + 18, 2**255 - 1) for s in (0, 1)),
        *(ed(y, s) for y in (order_eight(), P - order_eight()) for s in (0, 1)),
        ed(2), ed(7), b"", bytes(31), bytes(33),
    ],
)  # fmt: skip
def test_ed25519_points_that_are_none_or_weak_are_refused(point):
    with pytest.raises(Malformed):
        PublicKey("Ed25519", point)


def test_about_half_of_all_ys_are_points_and_match_the_group():
    good = sum(1 for y in range(2, 400) if accepted(ed(y)))
    assert 150 < good < 250
    for n in range(50):
        assert accepted(
            Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32)
            .public_key()
            .public_bytes_raw()
        )


def accepted(point):
    try:
        PublicKey("Ed25519", point)
    except Malformed:
        return False
    return True


def test_p256_points_off_the_curve_are_refused():
    public = signer("a", "P-256").public
    prime = 2**256 - 2**224 + 2**192 + 2**96 - 1
    for x, y in [
        (public.x, public.x), (bytes(32), bytes(32)), (public.x[1:], public.y),
        (public.x, public.y + b"\0"), (b"\xff" * 32, public.y), (public.x, b""),
        (prime.to_bytes(32), public.y),
    ]:  # fmt: skip
        with pytest.raises(Malformed):
            PublicKey("P-256", x, y)
    for data in (
        b"",
        b"\0",
        b"\x04" + public.x,
        b"\x05" + public.x,
        b"\x06" + public.x + public.y,
    ):
        with pytest.raises(Malformed):
            PublicKey.from_raw("P-256", data)
    with pytest.raises(Malformed):
        PublicKey("P-384", public.x, public.y)
    with pytest.raises(Malformed):
        PublicKey("Ed25519", signer("a").public.x, b"\0")


def test_a_jwk_is_public_and_whole():
    jwk = signer("a").public.jwk()
    assert PublicKey.from_jwk(jwk | {"use": "sig", "kid": "x", "alg": "EdDSA"})
    for bad in [
        None, [], "x", {}, jwk | {"d": "AA"}, jwk | {"kty": "EC"}, jwk | {"crv": "X25519"},
        jwk | {"x": jwk["x"] + "="}, jwk | {"x": jwk["x"][:-1]}, jwk | {"x": 1}, jwk | {"kty": ["OKP"]},
        jwk | {"crv": {}}, jwk | {"x": "\u00e9" * 43}, {"kty": "EC", "crv": "P-256", "x": jwk["x"]},
    ]:  # fmt: skip
        with pytest.raises(Malformed):
            PublicKey.from_jwk(bad)


def test_a_cose_key_is_public_and_whole():
    x = signer("a").public.x
    assert PublicKey.from_cose(cbor.encode({1: 1, 2: b"kid", 3: -19, -1: 6, -2: x}))
    for bad in [
        {}, {1: 1, -1: 6}, {1: 1, -1: 6, -2: x, -4: x}, {1: 2, -1: 6, -2: x}, {1: 1, -1: 4, -2: x},
        {1: 1, -1: 6, -2: x, -3: x}, {1: 2, -1: 1, -2: x}, {1: [], -1: {}, -2: x}, [], None,
        {1: 2, -1: 1, -2: x, -3: 1},
    ]:  # fmt: skip
        with pytest.raises(Malformed):
            PublicKey.from_cose(cbor.encode(bad))
    for more in ({3: -8}, {4: [2]}, {3: -19, 4: [1, "verify"]}):
        assert PublicKey.from_cose(cbor.encode({1: 1, -1: 6, -2: x} | more)).x == x
    for more in ({3: -9}, {3: []}, {3: True}, {4: [1]}, {4: []}, {4: 2}, {4: [[2]]}):
        with pytest.raises(Malformed):
            PublicKey.from_cose(cbor.encode({1: 1, -1: 6, -2: x} | more))
    point = signer("b", "P-256").public
    for bad in (
        {1: True, -1: 6, -2: x},
        {1: 2, -1: True, -2: point.x, -3: point.y},
    ):
        with pytest.raises(Malformed):
            PublicKey.from_cose(cbor.encode(bad))


@given(st.binary(max_size=120))
def test_any_bytes_are_a_key_or_refused(data):
    for read in (
        PublicKey.from_cose,
        lambda d: PublicKey.from_raw("Ed25519", d),
        lambda d: PublicKey.from_raw("P-256", d),
    ):
        try:
            read(data)
        except TraceNodeError:
            continue


def test_other_curves_and_seeds_do_not_sign():
    with pytest.raises(Malformed):
        MemorySigner.from_private_key(ec.derive_private_key(7, ec.SECP384R1()))
    for curve in CURVES:
        with pytest.raises(Malformed):
            MemorySigner.from_seed(curve, bytes(31))


@pytest.mark.parametrize("curve", CURVES)
def test_a_signer_is_rebuilt_from_its_private_key(curve):
    made = signer("a", curve)
    again = MemorySigner.from_private_key(made.private_key)
    assert again.public == made.public
    assert again.sign(b"m") == made.sign(b"m")


@given(st.binary(max_size=64))
def test_base64url_has_one_text_for_each_bytes(data):
    text = base64url.encode(data)
    assert base64url.decode(text, size=len(data)) == data


@pytest.mark.parametrize(
    "text", ["A", "AA=", "AB", "AA\n", "A A", "+/AA", "é", 1, None, "AAAAA", b"AA"]
)
def test_other_base64_is_refused(text):
    with pytest.raises(Malformed):
        base64url.decode(text)
