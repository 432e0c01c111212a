"""COSE receipts (RFC 9942) and proof files (C2SP tlog-proof)."""

import io
from hashlib import sha256

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trace_node.errors import (
    BadProof,
    BadSignature,
    LimitExceeded,
    Malformed,
    TraceNodeError,
    Untrusted,
)
from trace_node.ledger.keyset import decode_key_set, encode_key_set
from trace_node.ledger.merkle import CompactRange, consistency_proof, grow
from trace_node.ledger.receipt import (
    attach_receipts,
    decode_consistency_receipt,
    decode_receipt,
    detach,
    encode_consistency_receipt,
    encode_receipt,
    receipt_protected,
    sign_root,
    verify_consistency_receipt,
    verify_receipt,
)
from trace_node.trust import cbor
from trace_node.trust.keys import MemorySigner
from trace_node.trust.merkle import leaf_hash, root_of

ENTRIES = [b"entry %d" % i for i in range(300)]
LEAVES = [leaf_hash(entry) for entry in ENTRIES]
SIGNERS = {
    "Ed25519": MemorySigner.from_seed("Ed25519", b"1" * 32),
    "P-256": MemorySigner.from_seed("P-256", b"2" * 32),
}
SIGNER = SIGNERS["P-256"]
KEY = SIGNER.public
ISS, SUB = "did:web:example.com", "example.com/log"
PROTECTED = receipt_protected(SIGNER.alg, KEY.thumbprint, ISS, SUB)
SIGNED = {
    n: sign_root(SIGNER, PROTECTED, root_of(LEAVES[:n])) for n in (1, 2, 7, 8, 300)
}


def receipt(index=5, size=7):
    path = grow(CompactRange(), LEAVES[:size]).path(index)
    return encode_receipt(PROTECTED, SIGNED[size], size, index, path)


def node(level, k):
    return root_of(LEAVES[k << level : (k + 1) << level])


@pytest.mark.parametrize("curve", SIGNERS)
@pytest.mark.parametrize(
    ("index", "size"), [(0, 1), (1, 2), (5, 7), (6, 7), (0, 300), (299, 300)]
)
def test_receipts_verify(curve, index, size):
    signer = SIGNERS[curve]
    protected = receipt_protected(signer.alg, signer.public.thumbprint, ISS, SUB)
    growth = grow(CompactRange(), LEAVES[:size])
    signature = sign_root(signer, protected, growth.root)
    data = encode_receipt(protected, signature, size, index, growth.path(index))
    got = verify_receipt(data, ENTRIES[index], signer.public)
    assert (got.alg, got.kid, got.iss, got.sub) == (
        signer.alg,
        signer.public.thumbprint,
        ISS,
        SUB,
    )
    assert (got.size, got.index, list(got.path)) == (size, index, growth.path(index))
    assert got.protected == protected


def test_the_form_that_rfc_9942_gives():
    """Read by another CBOR library and put together by the text of the RFC."""
    data = receipt()
    tag = cbor2.loads(data)
    assert tag.tag == 18
    protected, unprotected, payload, signature = tag.value
    header = cbor2.loads(protected)
    assert header == {1: -9, 4: KEY.thumbprint, 15: {1: ISS, 2: SUB}, 395: 1}
    assert payload is None
    size, index, path = cbor2.loads(unprotected[396][-1][0])
    assert (size, index) == (7, 5)
    assert list(path) == grow(CompactRange(), LEAVES[:7]).path(5)
    to_be_signed = cbor2.dumps(["Signature1", protected, b"", root_of(LEAVES[:7])])
    KEY.verify(-9, signature, to_be_signed)
    proof = cbor.encode([7, 5, list(path)])
    assert data == b"\xd2" + cbor.encode(
        [protected, {396: {-1: [proof]}}, None, signature]
    )


@given(
    st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1), st.lists(st.binary(min_size=32, max_size=32), max_size=63)
)  # fmt: skip
def test_encoding_by_hand_is_deterministic_cbor(size, index, path):
    data = encode_receipt(PROTECTED, b"s" * 64, size, index, path)
    got = decode_receipt(data)
    assert (got.size, got.index, list(got.path)) == (size, index, path)
    inner = cbor.encode([size, index, path])
    assert data == b"\xd2" + cbor.encode(
        [PROTECTED, {396: {-1: [inner]}}, None, b"s" * 64]
    )


def test_every_changed_bit_is_refused():
    data = receipt()
    for i in range(len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[i] ^= 1 << bit
            with pytest.raises(TraceNodeError):
                verify_receipt(bytes(changed), ENTRIES[5], KEY)
    for i in range(len(data)):
        for cut in (
            data[:i],
            data[:i] + data[i + 1 :],
            data[:i] + data[i : i + 1] + data[i:],
        ):
            with pytest.raises(TraceNodeError):
                verify_receipt(cut, ENTRIES[5], KEY)
    with pytest.raises(TraceNodeError):
        verify_receipt(data + b"\0", ENTRIES[5], KEY)


def test_changed_paths_entries_and_keys_are_refused():
    path = grow(CompactRange(), LEAVES[:7]).path(5)
    wrong = [
        path[::-1],
        path[1:],
        path[:-1],
        [*path, path[0]],
        [path[0], *path],
        [*path[:-1], path[0]],
    ]
    for bad in wrong:
        with pytest.raises((BadProof, BadSignature)):
            verify_receipt(
                encode_receipt(PROTECTED, SIGNED[7], 7, 5, bad), ENTRIES[5], KEY
            )
    for size, index in [(7, 4), (9, 5), (5, 5), (7, 6), (0, 0)]:
        with pytest.raises((BadProof, BadSignature)):
            verify_receipt(
                encode_receipt(PROTECTED, SIGNED[7], size, index, path), ENTRIES[5], KEY
            )
    with pytest.raises(BadSignature):
        verify_receipt(receipt(), ENTRIES[4], KEY)
    with pytest.raises(Untrusted):
        verify_receipt(receipt(), ENTRIES[5], SIGNERS["Ed25519"].public)
    # The kid of one key, the signature of another.
    forged = encode_receipt(PROTECTED, SIGNERS["Ed25519"].sign(b"x"), 7, 5, path)
    with pytest.raises(BadSignature):
        verify_receipt(forged, ENTRIES[5], KEY)


def test_what_a_receipt_does_not_bind():
    """Size and index stand outside the signature (RFC 9942): the shape is bound,
    the numbers are not. A proof file binds them (test_ledger_tlogproof.py).
    """
    path = grow(CompactRange(), LEAVES[:7]).path(5)
    same_shape = encode_receipt(PROTECTED, SIGNED[7], 8, 5, path)
    assert verify_receipt(same_shape, ENTRIES[5], KEY).size == 8


def build(**changes):
    """A receipt with parts replaced, signed correctly all the same."""
    header = {1: -9, 4: KEY.thumbprint, 15: {1: ISS, 2: SUB}, 395: 1} | changes.get(
        "header", {}
    )
    header = {k: v for k, v in header.items() if v is not ...}
    protected = cbor2.dumps(header, canonical=True)
    path = grow(CompactRange(), LEAVES[:7]).path(5)
    proof = cbor.encode(changes.get("proof", [7, 5, path]))
    unprotected = changes.get("unprotected", {396: {-1: [proof]}})
    signature = changes.get(
        "signature", sign_root(SIGNER, protected, root_of(LEAVES[:7]))
    )
    return b"\xd2" + cbor.encode(
        [protected, unprotected, changes.get("payload"), signature]
    )


PATH = grow(CompactRange(), LEAVES[:7]).path(5)
PROOF = cbor.encode([7, 5, PATH])


@pytest.mark.parametrize(
    "changes",
    [
        {"header": {1: ...}}, {"header": {4: ...}}, {"header": {15: ...}}, {"header": {395: ...}},
        {"header": {1: True}}, {"header": {1: "ES256"}}, {"header": {4: "kid"}}, {"header": {395: 2}},
        {"header": {395: True}}, {"header": {2: [1]}}, {"header": {6: 1}}, {"header": {15: {1: ISS}}},
        {"header": {15: {1: ISS, 2: 2}}}, {"header": {15: {1: ISS, 2: SUB, 3: "x"}}}, {"header": {15: 1}},
        {"payload": b""}, {"payload": root_of(LEAVES[:7])}, {"signature": "text"},
        {"unprotected": {}}, {"unprotected": {396: {}}}, {"unprotected": {396: []}},
        {"unprotected": {396: {-1: []}}}, {"unprotected": {396: {-1: [PROOF, PROOF]}}},
        {"unprotected": {396: {-1: PROOF}}}, {"unprotected": {396: {-1: [[7, 5, PATH]]}}},
        {"unprotected": {396: {-2: [PROOF]}}}, {"unprotected": {396: {-1: [PROOF], -2: [PROOF]}}},
        {"unprotected": {396: {-1: [PROOF]}, 1: 2}}, {"unprotected": [PROOF]},
        {"proof": [7, 5]}, {"proof": [7, 5, PATH, 1]}, {"proof": {}}, {"proof": [7, -5, PATH]},
        {"proof": [True, 5, PATH]}, {"proof": [7, 5, "x"]}, {"proof": [7, 5, [b"x"]]},
        {"proof": [7, 5, [*PATH[:-1], "x" * 32]]}, {"proof": [7, 5, [PATH[0]] * 64]},
    ],
)  # fmt: skip
def test_other_forms_are_malformed(changes):
    verify_receipt(build(), ENTRIES[5], KEY)
    with pytest.raises(Malformed):
        verify_receipt(build(**changes), ENTRIES[5], KEY)


def test_untagged_other_tags_and_size():
    data = receipt()
    for bad in (
        data[1:],
        b"\xd1" + data[1:],
        b"\xd2" + data,
        b"",
        b"\xd2",
        b"\xd2\x84",
    ):
        with pytest.raises(Malformed):
            decode_receipt(bad)
    with pytest.raises(LimitExceeded):
        decode_receipt(data + bytes(9_000))


@settings(max_examples=300)
@given(
    st.binary(max_size=200).flatmap(
        lambda b: st.sampled_from([b, b"\xd2\x84" + b, b"\xd2\x84\x43\xa1\x01\x26" + b])
    )
)
def test_random_bytes(data):
    for parse in (decode_receipt, decode_consistency_receipt, detach, decode_key_set):
        try:
            parse(data)
        except TraceNodeError:
            continue


@pytest.mark.parametrize(
    ("old", "new"), [(1, 2), (2, 7), (7, 8), (7, 300), (8, 8), (256, 300)]
)
def test_consistency_receipts(old, new):
    proof = consistency_proof(old, new, node)
    data = encode_consistency_receipt(PROTECTED, SIGNED[new], old, new, proof)
    old_root, new_root = root_of(LEAVES[:old]), root_of(LEAVES[:new])
    got, root = verify_consistency_receipt(data, old_root, KEY)
    assert (got.size1, got.size2, list(got.path), root) == (old, new, proof, new_root)
    with pytest.raises(TraceNodeError):
        verify_consistency_receipt(data, leaf_hash(b"other"), KEY)
    with pytest.raises(TraceNodeError):
        verify_consistency_receipt(data, old_root, SIGNERS["Ed25519"].public)
    for i in range(len(data)):
        changed = bytearray(data)
        changed[i] ^= 1 << i % 8
        try:
            other, root = verify_consistency_receipt(bytes(changed), old_root, KEY)
        except TraceNodeError:
            continue
        # Sizes of the same shape are not bound; roots and path are.
        assert (root, other.path, other.signature) == (
            new_root,
            got.path,
            got.signature,
        )
    with pytest.raises(Malformed):
        decode_receipt(data)


def test_no_consistency_receipt_from_nothing():
    data = encode_consistency_receipt(PROTECTED, SIGNED[7], 0, 7, [])
    with pytest.raises(BadProof):
        verify_consistency_receipt(data, sha256().digest(), KEY)


# ---- transparent statements

STATEMENT = b"\xd2" + cbor.encode([b"protected", {}, b"p" * 32, b"s" * 64])


def test_transparent_statements():
    receipts = [receipt(), receipt(6)]
    transparent = attach_receipts(STATEMENT, receipts)
    assert list(cbor2.loads(transparent).value[1][394]) == receipts
    assert detach(transparent) == (STATEMENT, receipts)
    assert detach(STATEMENT) == (STATEMENT, [])
    with pytest.raises(Malformed):
        attach_receipts(transparent, receipts)
    with pytest.raises(Malformed):
        attach_receipts(STATEMENT, [])
    with pytest.raises(LimitExceeded):
        attach_receipts(STATEMENT, receipts * 9)
    for bad in (
        {394: []},
        {394: receipts, 1: 2},
        {395: receipts},
        {394: receipts[0]},
        {394: [1]},
    ):
        with pytest.raises(Malformed):
            detach(b"\xd2" + cbor.encode([b"protected", bad, b"p", b"s"]))
    with pytest.raises(Malformed):
        detach(b"\x84" + STATEMENT[2:])


# ---- key sets


def test_key_sets():
    keys = [signer.public for signer in SIGNERS.values()]
    data = encode_key_set(keys)
    assert decode_key_set(data) == keys
    members = cbor2.load(io.BytesIO(data))
    assert [m[2] for m in members] == [key.thumbprint for key in keys]
    assert [m[3] for m in members] == [-19, -9]
    assert [m[1] for m in members] == [1, 2]
    for bad in [b"\x80", b"", b"\xa0", data[:-1], data.replace(keys[0].thumbprint, keys[1].thumbprint),
                cbor.encode([1]), cbor.encode([cbor.decode(data)[0]] * 2),
                cbor.encode([cbor.decode(data)[0] | {3: -9}]), cbor.encode([cbor.decode(data)[0] | {-4: b"d"}]),
                cbor.encode([{2: b"k", 3: -19}])]:  # fmt: skip
        with pytest.raises(Malformed):
            decode_key_set(bad)
    with pytest.raises(LimitExceeded):
        encode_key_set(keys * 100)
