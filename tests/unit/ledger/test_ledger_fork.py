"""Evidence of a log that told two stories; and that no honest log can be accused."""

import base64
import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trace_node.errors import BadProof, Malformed, TraceNodeError, Untrusted
from trace_node.ledger.checkpoint import sign_checkpoint
from trace_node.ledger.cosignature import add_signatures
from trace_node.ledger.fork import (
    ForkProof,
    from_json,
    make_fork_proof,
    to_json,
    verify_fork_proof,
)
from trace_node.ledger.merkle import consistency_proof
from trace_node.ledger.note import Signature
from trace_node.trust.keys import MemorySigner
from trace_node.trust.merkle import EMPTY_ROOT, leaf_hash, root_of
from trace_node.trust.vkey import ED25519, make_vkey

ORIGIN = "example.com/log"
SIGNER = MemorySigner.from_seed("Ed25519", b"1" * 32)
OTHER = MemorySigner.from_seed("Ed25519", b"2" * 32)
KEYS = [make_vkey(ORIGIN, ED25519, SIGNER.public.x)]
TRUE = [leaf_hash(b"true %d" % i) for i in range(40)]
LIE = [*TRUE[:3], *(leaf_hash(b"lie %d" % i) for i in range(3, 40))]


def head(leaves, size, signer=SIGNER, origin=ORIGIN):
    return sign_checkpoint(origin, size, root_of(leaves[:size]), signer)


def consistency(leaves, old, new):
    return consistency_proof(
        old, new, lambda level, k: root_of(leaves[k << level : (k + 1) << level])
    )


def accuse(old, new, a=TRUE, b=LIE):
    return make_fork_proof(
        head(a, old), head(b, new), KEYS, consistency(b, old, new), root_of(b[:old])
    )


def test_same_size():
    proof = make_fork_proof(head(TRUE, 7), head(LIE, 7), KEYS)
    assert proof.kind == "same-size"
    data = to_json(proof)
    assert from_json(data) == proof == verify_fork_proof(data, KEYS)
    assert make_fork_proof(head(LIE, 7), head(TRUE, 7), KEYS) == proof


@pytest.mark.parametrize(
    "roots",
    [(bytes(32), EMPTY_ROOT), (EMPTY_ROOT, b"\1" * 32), (bytes(32), b"\1" * 32)],
)
def test_two_heads_of_an_empty_tree(roots):
    """What is made convicts: also when none of the roots is the empty tree's."""
    a, b = (sign_checkpoint(ORIGIN, 0, root, SIGNER) for root in roots)
    proof = make_fork_proof(a, b, KEYS)
    assert proof.kind == "same-size"
    assert verify_fork_proof(to_json(proof), KEYS) == proof
    for bad in (
        replace(proof, consistency=(bytes(32),)),
        replace(proof, b_root_at_a_size=b"\2" * 32),
    ):
        with pytest.raises(BadProof):
            verify_fork_proof(to_json(bad), KEYS)


def test_not_a_prefix_at_all_sizes():
    for old in range(40):
        for new in range(old + 1, 40):
            proof = accuse(old, new)
            if old <= 3:  # the two stories agree so far
                assert proof is None
                continue
            assert proof.kind == "not-a-prefix"
            assert verify_fork_proof(to_json(proof), KEYS) == proof
            # The order of the heads does not matter, and below a power of two
            # the proof alone is enough.
            again = make_fork_proof(
                head(LIE, new), head(TRUE, old), KEYS, consistency(LIE, old, new)
            )
            assert again == (None if old.bit_count() == 1 else proof)


def test_an_empty_tree_with_entries():
    nonsense = sign_checkpoint(ORIGIN, 0, TRUE[0], SIGNER)
    proof = make_fork_proof(nonsense, head(TRUE, 5), KEYS, [])
    assert proof.b_root_at_a_size == EMPTY_ROOT
    assert verify_fork_proof(to_json(proof), KEYS) == proof
    assert make_fork_proof(nonsense, head(TRUE, 5), KEYS, [TRUE[0]]) is None


def test_nothing_to_say():
    a, b = head(TRUE, 5), head(LIE, 9)
    assert make_fork_proof(a, a, KEYS) is None
    assert make_fork_proof(a, head(TRUE, 9), KEYS, consistency(TRUE, 5, 9)) is None
    assert make_fork_proof(a, b, KEYS) is None
    assert make_fork_proof(a, b, KEYS, consistency(TRUE, 5, 9)) is None
    assert make_fork_proof(a, b, KEYS, []) is None
    assert make_fork_proof(a, b, KEYS, [b"short"]) is None
    elsewhere = [*KEYS, make_vkey("other.example/log", ED25519, OTHER.public.x)]
    foreign = head(LIE, 5, OTHER, "other.example/log")
    assert make_fork_proof(a, foreign, elsewhere) is None


def test_heads_of_strangers_are_no_evidence():
    with pytest.raises(Untrusted):
        make_fork_proof(head(TRUE, 5), head(LIE, 5, OTHER), KEYS)
    both = [*KEYS, make_vkey(ORIGIN, ED25519, OTHER.public.x)]
    proof = make_fork_proof(head(TRUE, 5), head(LIE, 5, OTHER), both)
    assert verify_fork_proof(to_json(proof), both) == proof
    with pytest.raises(Untrusted):
        verify_fork_proof(to_json(proof), KEYS)


def refused(proof, error=BadProof, keys=KEYS):
    with pytest.raises(error):
        verify_fork_proof(to_json(proof), keys)


def test_forged_accusations_are_refused():
    good = accuse(6, 9)
    # The honest log: every way to dress up two heads that can both be true.
    a, b = head(TRUE, 6), head(TRUE, 9)
    path, root = tuple(consistency(TRUE, 6, 9)), root_of(TRUE[:6])
    lie = root_of(LIE[:6])
    for accusation in [
        ForkProof(ORIGIN, "not-a-prefix", a, b, root, path),
        ForkProof(ORIGIN, "not-a-prefix", a, b, lie, path),
        ForkProof(ORIGIN, "not-a-prefix", a, b, lie, tuple(consistency(LIE, 6, 9))),
        ForkProof(ORIGIN, "not-a-prefix", a, b, lie, ()),
        ForkProof(ORIGIN, "same-size", a, b, lie, ()),
        ForkProof(ORIGIN, "same-size", a, a, lie, ()),
        ForkProof(ORIGIN, "same-size", a, a, root, ()),
        ForkProof(ORIGIN, "not-a-prefix", b, a, lie, path),
        ForkProof(ORIGIN, "not-a-prefix", a, a, lie, ()),
    ]:
        refused(accusation)
    # A true accusation with a part changed.
    for changes in [
        {"kind": "same-size"}, {"b_root_at_a_size": root_of(TRUE[:6])}, {"consistency": ()},
        {"consistency": good.consistency[1:]}, {"consistency": good.consistency[::-1]},
        {"origin": "other.example/log"}, {"a": good.b, "b": good.a}, {"b": head(TRUE, 9)},
    ]:  # fmt: skip
        refused(replace(good, **changes))
    same = make_fork_proof(head(TRUE, 7), head(LIE, 7), KEYS)
    refused(replace(same, consistency=(TRUE[0],)))
    refused(replace(same, kind="not-a-prefix"))
    refused(replace(same, b_root_at_a_size=TRUE[0]))
    refused(replace(same, a=same.a[:-1]), Malformed)
    refused(same, Untrusted, [])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 39), st.integers(0, 39), st.data())
def test_no_honest_log_is_ever_convicted(old, new, data):
    """Whatever proof and root an accuser makes up."""
    node = st.sampled_from([*TRUE, *LIE, root_of(TRUE[:old]), root_of(LIE[:old])])
    path = data.draw(st.lists(node, max_size=8))
    root = data.draw(node)
    a, b = sorted((head(TRUE, old), head(TRUE, new)))
    assert make_fork_proof(a, b, KEYS, path, root) is None
    kind = "same-size" if old == new else "not-a-prefix"
    refused(
        ForkProof(ORIGIN, kind, head(TRUE, old), head(TRUE, new), root, tuple(path))
    )


def test_every_changed_byte_is_refused():
    data = to_json(accuse(6, 9))
    for i in range(len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[i] ^= 1 << bit
            with pytest.raises(TraceNodeError):
                verify_fork_proof(bytes(changed), KEYS)
    for i in range(0, len(data), 7):
        with pytest.raises(Malformed):
            from_json(data[:i])


def test_the_id_names_the_fork_and_not_the_envelope():
    proof = accuse(6, 9)
    noise = Signature("stranger.example", b"\1\2\3\4", b"s" * 64)
    dressed = make_fork_proof(
        add_signatures(head(LIE, 9), [noise]),
        head(TRUE, 6),
        KEYS,
        consistency(LIE, 6, 9),
    )
    assert dressed != proof
    assert dressed.id == proof.id
    assert len(proof.id) == 64
    assert accuse(6, 10).id != proof.id


def test_other_spellings():
    good = json.loads(to_json(accuse(6, 9)))
    dump = {"sort_keys": True, "separators": (",", ":")}
    assert from_json(json.dumps(good, **dump).encode())
    for changes in [
        {"type": "fork-proof/v2"}, {"kind": "rollback"}, {"kind": []}, {"origin": 1}, {"a": None},
        {"a": "é"}, {"b_root_at_a_size": "AAAA"}, {"consistency": {}}, {"consistency": [1]},
        {"consistency": ["AA=="]}, {"consistency": [good["b_root_at_a_size"]] * 65},
        {"more": 1}, {"origin": "\ud800"},
    ]:  # fmt: skip
        with pytest.raises(Malformed):
            from_json(json.dumps(good | changes, **dump).encode())
    for text in ["", "[]", "null", "[" * 5_000, "1" * 5_000, "NaN", json.dumps(good), json.dumps(good, **dump)[:-1] + ',"a":""}']:  # fmt: skip
        with pytest.raises(Malformed):
            from_json(text.encode())
    with pytest.raises(Malformed):
        from_json(b"\xff")
    with pytest.raises(Malformed):
        from_json(b"x" * 300_000)
    assert base64.b64decode(good["a"]).startswith(b"example.com/log\n6\n")
