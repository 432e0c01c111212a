"""Verifier keys and policies (C2SP signed-note, tlog-policy)."""

import itertools
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from trace_node.errors import BadSignature, LimitExceeded, Malformed, TraceNodeError
from trace_node.trust.keys import MemorySigner
from trace_node.trust.policy import Group, Policy, dump_policy, parse_policy
from trace_node.trust.vkey import (
    COSIGNATURE,
    ECDSA,
    ED25519,
    ML_DSA_44,
    VerifierKey,
    decode_base64,
    encode_base64,
    key_id,
    make_vkey,
    parse_vkey,
)


def signer(number):
    return MemorySigner.from_seed("Ed25519", sha256(b"%d" % number).digest())


def vkey(number, alg=COSIGNATURE, name=None):
    return make_vkey(name or f"w{number}.example/w", alg, signer(number).public.x)


LOG = vkey(1000, ED25519, "example.com/log")

# ---- verifier keys


def test_a_real_key():
    """The key of tessera's testdata/log, which carries its own key id."""
    text = (
        "example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx"
    )
    key = parse_vkey(text)
    assert (key.name, key.alg, key.key_id.hex()) == (
        "example.com/log/testdata",
        1,
        "33d7b496",
    )
    assert str(key) == text
    assert key.can_verify


def test_key_id_is_the_formula():
    public = bytes(range(32))
    want = sha256(b"example.com/foo\n\x01" + public).digest()[:4]
    assert key_id("example.com/foo", 1, public) == want
    assert key_id("example.com/foo", 4, public) != want
    assert key_id("any", ECDSA, b"spki") == sha256(b"spki").digest()[:4]


def test_other_types_parse_but_do_not_verify():
    key = make_vkey("pq.example", ML_DSA_44, b"k" * 1312)
    assert parse_vkey(str(key)) == key
    assert not key.can_verify
    with pytest.raises(BadSignature):
        key.verify(b"s" * 2420, b"m")
    with pytest.raises(Malformed):
        make_vkey("x.example", ECDSA, b"not spki")


def test_an_ecdsa_key_is_on_a_curve_of_the_specification():
    def spki(key):
        return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    good = make_vkey(
        "x.example", ECDSA, spki(ec.derive_private_key(7, ec.SECP256R1()).public_key())
    )
    assert parse_vkey(str(good)) == good
    for bad in (
        ec.derive_private_key(7, ec.SECP256K1()).public_key(),
        Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key(),
    ):
        with pytest.raises(Malformed):
            make_vkey("x.example", ECDSA, spki(bad))


def test_verify():
    LOG.verify(signer(1000).sign(b"m"), b"m")
    with pytest.raises(BadSignature):
        LOG.verify(signer(1000).sign(b"m"), b"n")


@pytest.mark.parametrize(
    "name",
    ["", "a b", "a+b", "a\nb", "a\u00a0b", "a\u2003b", "a\u0085b", "a\x1cb", "a\x7f", "\ud800"],
)  # fmt: skip
def test_bad_names(name):
    with pytest.raises(Malformed):
        make_vkey(name, ED25519, signer(1).public.x)


def test_bad_vkeys():
    good = str(LOG)
    name, hex_id, encoded = good.split("+", 2)
    assert parse_vkey(good) == LOG
    bad = [
        "", "+", "++", name, f"{name}+{hex_id}", f"{name}+{hex_id}+", f"+{hex_id}+{encoded}",
        f"{name}+{hex_id.upper()}+{encoded}" if hex_id.upper() != hex_id else "",
        f"{name}+00000000+{encoded}", f"{name}x+{hex_id}+{encoded}", f"{good}\n", f" {good}",
        f"{name}+{hex_id}+{encoded}=", f"{name}+{hex_id[:7]}+{encoded}",
        f"a+{key_id('a', 0, b'k').hex()}+{encode_base64(bytes([0, 107]))}", f"a+{'0' * 8}+AQ==",
    ]  # fmt: skip
    for text in bad:
        with pytest.raises(Malformed):
            parse_vkey(text)
    for size in (0, 31, 33):
        with pytest.raises(Malformed):
            VerifierKey("a", ED25519, b"k" * size)
    for alg in (0, 256, -1):
        with pytest.raises(Malformed):
            VerifierKey("a", alg, b"k")
    with pytest.raises(LimitExceeded):
        parse_vkey("a" * 10_000)


def test_every_changed_character_of_a_vkey_is_refused():
    good = str(LOG)
    for i in range(len(good)):
        for other in "aA0+/=\n \u00e9":
            if other != good[i]:
                with pytest.raises(Malformed):
                    parse_vkey(good[:i] + other + good[i + 1 :])


def test_base64_has_one_spelling():
    assert decode_base64("AA==") == b"\0"
    for bad in ("AB==", "AA", "AA=", "A A==", "AA==\n", "é", "-_=="):
        with pytest.raises(Malformed):
            decode_base64(bad)


@given(st.binary(max_size=40))
def test_base64_round_trip(data):
    assert decode_base64(encode_base64(data)) == data


@settings(max_examples=300)
@given(st.text(max_size=80))
def test_any_vkey_text(text):
    try:
        key = parse_vkey(text)
    except TraceNodeError:
        return
    assert str(key) == text


# ---- policies

SPEC = f"""\
# the example of the specification
log {LOG} https://example.com/log

witness X1 {vkey(1)}
\twitness  X2\t{vkey(2)} https://x2.example/
witness X3 {vkey(3)}
group X-witnesses 2 X1 X2 X3
  # indented comment
witness Y1 {vkey(4)}
witness Y2 {vkey(5)}
witness Y3 {vkey(6)}
group Y-witnesses any Y1 Y2 Y3

group X-and-Y all X-witnesses Y-witnesses
quorum X-and-Y
"""


def test_the_example():
    policy = parse_policy(SPEC)
    assert policy.log_for("example.com/log") == [LOG]
    assert policy.log_for("example.com") == []
    assert policy.logs[0][1] == "https://example.com/log"
    assert policy.witnesses["X2"] == (vkey(2), "https://x2.example/")
    assert policy.groups["X-witnesses"] == Group(2, ("X1", "X2", "X3"))
    assert policy.satisfied({"X1", "X3", "Y2"})
    assert not policy.satisfied({"X1", "X2", "X3"})
    assert not policy.satisfied({"X1", "Y1", "Y2", "Y3", "stranger"})
    result = policy.explain(["X1"])
    assert not result.satisfied
    assert result.have == ("X1",)
    assert result.missing == (
        "X-and-Y: 2 more of X-witnesses, Y-witnesses",
        "X-witnesses: 1 more of X2, X3",
        "Y-witnesses: 1 more of Y1, Y2, Y3",
    )
    assert "1 more of X2, X3" in str(result)
    assert str(policy.explain(["X1", "X2", "Y1"])) == "quorum met by X1, X2, Y1"
    assert parse_policy(dump_policy(policy)) == policy
    assert dump_policy(parse_policy(dump_policy(policy))) == dump_policy(policy)


def test_quorum_none_and_quorum_of_one():
    assert parse_policy("quorum none").satisfied([])
    assert parse_policy("quorum none").explain([]).satisfied
    one = parse_policy(f"witness W {vkey(1)}\nquorum W\n")
    assert not one.satisfied([])
    assert one.satisfied(["W"])
    assert one.explain([]).missing == ("W",)
    assert parse_policy(dump_policy(one)) == one


W = f"witness A {vkey(1)}\nwitness B {vkey(2)}\n"
BAD = {
    "": "end",
    "quorum X": "line 1",
    "quorum none\nquorum none": "line 2",
    "quorum": "line 1",
    "quorum none none": "line 1",
    "frob": "line 1",
    "Quorum none": "line 1",
    "quorum none # comment": "line 1",
    f"log {LOG}\nlog {LOG}\nquorum none": "line 2",
    f"log {LOG} u v\nquorum none": "line 1",
    "log\nquorum none": "line 1",
    f"log {vkey(1)}\nquorum none": "line 1",
    f"witness A {LOG}\nquorum none": "line 1",
    f"witness none {vkey(1)}\nquorum none": "line 1",
    f"witness A {vkey(1)}\nwitness A {vkey(2)}\nquorum A": "line 2",
    f"witness A {vkey(1)}\nwitness B {vkey(1, name='other.example')}\nquorum A": "line 2",
    f"witness A {vkey(1)}x\nquorum A": "line 1",
    W + "group G all\nquorum G": "line 3",
    W + "group G\nquorum G": "line 3",
    W + "group G 0 A B\nquorum G": "line 3",
    W + "group G 3 A B\nquorum G": "line 3",
    W + "group G 01 A B\nquorum G": "line 3",
    W + "group G -1 A B\nquorum G": "line 3",
    W + "group G \u0661 A B\nquorum G": "line 3",
    W + "group G two A B\nquorum G": "line 3",
    W + "group G all A A\nquorum G": "line 3",
    W + "group G all A C\nquorum G": "line 3",
    W + "group G all A none\nquorum none": "line 3",
    W + "group none all A B\nquorum none": "line 3",
    W + "group A all B\nquorum A": "line 3",
    W + "group G all G\nquorum G": "line 3",
    W + "group G any A B\ngroup H any A\nquorum G": "line 4",
    W + "group G any H\ngroup H any A\nquorum G": "line 3",
    "quorum G\n" + W + "group G any A": "line 1",
    "quorum none\r\n": "line 1",
    "# \x07\nquorum none": "line 1",
    "quorum\u00a0none": "line 1",
    "#\x7f\nquorum none": "line 1",
}


@pytest.mark.parametrize(("text", "where"), BAD.items())
def test_bad_policies_name_the_line(text, where):
    with pytest.raises(Malformed) as caught:
        parse_policy(text)
    assert caught.value.where == where


def test_two_keys_that_a_note_could_not_tell_apart():
    """Same name and key id: brute force would find such a pair; forged here."""
    key = vkey(1)
    twin = vkey(2, name=key.name)
    object.__setattr__(twin, "key_id", key.key_id)
    with pytest.raises(Malformed):
        parse_policy(f"witness A {key}\nwitness B {twin}\nquorum A")


def test_sizes():
    names = [f"n{i}" for i in range(40)]
    text = "".join(
        f"log {vkey(100 + i, ED25519, f'l{i}.example')}\n" for i in range(40)
    )
    text += "".join(f"witness {n} {vkey(i)}\n" for i, n in enumerate(names))
    text += "group g0 any n0\n" + "".join(
        f"group g{i} any g{i - 1} n{i}\n" for i in range(1, 40)
    )
    policy = parse_policy(text + "quorum g39\n")
    assert policy.satisfied(["n0"])
    with pytest.raises(LimitExceeded):
        parse_policy("\n" * 1001 + "quorum none")
    with pytest.raises(LimitExceeded):
        parse_policy("#" * (1 << 20) + "\nquorum none")


def test_a_deep_chain_of_groups():
    text = (
        W
        + "group g0 any A\n"
        + "".join(f"group g{i} all g{i - 1}\n" for i in range(1, 990))
    )
    policy = parse_policy(text + "quorum g989")
    assert policy.satisfied(["A"])
    assert len(policy.explain(["B"]).missing) == 990


def brute(policy, name, names):
    """The recursive definition."""
    if name in policy.witnesses:
        return name in names
    group = policy.groups[name]
    return sum(brute(policy, m, names) for m in group.members) >= group.threshold


def all_policies():
    """Deterministic shapes over six witnesses."""
    text = "".join(f"witness w{i} {vkey(i)}\n" for i in range(6))
    for a, b, c in itertools.product(range(1, 4), range(1, 3), range(1, 4)):
        yield (
            text
            + f"group a {a} w0 w1 w2\ngroup b {b} w3 w4\ngroup c {c} a b w5\nquorum c\n"
        )
    yield text + "group a 4 w0 w1 w2 w3 w4 w5\nquorum a\n"
    yield text + "group a any w0\ngroup b all a w1\nquorum b\n"
    yield text + "quorum w3\n"
    yield text + "quorum none\n"


def test_quorum_against_brute_force_over_all_subsets():
    for text in all_policies():
        policy = parse_policy(text)
        assert parse_policy(dump_policy(policy)) == policy
        for bits in range(64):
            names = {f"w{i}" for i in range(6) if bits >> i & 1}
            want = policy.quorum is None or brute(policy, policy.quorum, names)
            result = policy.explain(names)
            assert policy.satisfied(names) == want == result.satisfied
            assert bool(result.missing) == (not want)
            assert set(result.have) == names
            # Monotone: one more witness never hurts.
            if want:
                assert all(policy.satisfied(names | {f"w{i}"}) for i in range(6))


@settings(max_examples=300)
@given(st.text(alphabet="lognewitsup qum#\n\taylA12+=\x00é", max_size=120))
def test_any_policy_text(text):
    try:
        policy = parse_policy(text)
    except TraceNodeError:
        return
    assert isinstance(policy, Policy)
