"""Proof files (C2SP tlog-proof)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trace_node.errors import (
    BadProof,
    LimitExceeded,
    Malformed,
    TraceNodeError,
    Untrusted,
)
from trace_node.ledger.checkpoint import Checkpoint, sign_checkpoint
from trace_node.ledger.cosignature import add_signatures, cosign
from trace_node.ledger.merkle import CompactRange, grow
from trace_node.ledger.note import parse_note
from trace_node.ledger.tlogproof import encode_proof, parse_proof, verify_tlog_proof
from trace_node.trust.keys import MemorySigner
from trace_node.trust.merkle import check_inclusion, leaf_hash, root_of
from trace_node.trust.policy import parse_policy
from trace_node.trust.vkey import COSIGNATURE, ED25519, make_vkey

ENTRIES = [b"entry %d" % i for i in range(100)]
LEAVES = [leaf_hash(entry) for entry in ENTRIES]
PATH = grow(CompactRange(), LEAVES[:7]).path(5)

ORIGIN = "example.com/log"
LOG_SIGNER = MemorySigner.from_seed("Ed25519", b"3" * 32)
WITNESS = MemorySigner.from_seed("Ed25519", b"4" * 32)
HEAD = sign_checkpoint(ORIGIN, 7, root_of(LEAVES[:7]), LOG_SIGNER)
NOTE = add_signatures(
    HEAD, [cosign(parse_note(HEAD).text, "w.example", WITNESS, 1_700_000_000)]
)
POLICY = parse_policy(
    f"log {make_vkey(ORIGIN, ED25519, LOG_SIGNER.public.x)}\n"
    f"witness W {make_vkey('w.example', COSIGNATURE, WITNESS.public.x)}\nquorum W\n"
)


@pytest.mark.parametrize("extra", [None, b"", b"more"])
def test_proof_files(extra):
    data = encode_proof(5, PATH, NOTE, extra)
    assert parse_proof(data) == (extra, 5, PATH, NOTE)
    want = Checkpoint(ORIGIN, 7, root_of(LEAVES[:7])), 5, [("W", 1_700_000_000)]
    assert verify_tlog_proof(data, ENTRIES[5], POLICY) == want


def test_proof_of_a_tree_of_one():
    head = sign_checkpoint(ORIGIN, 1, LEAVES[0], LOG_SIGNER)
    data = encode_proof(0, [], head)
    policy = parse_policy(
        f"log {make_vkey(ORIGIN, ED25519, LOG_SIGNER.public.x)}\nquorum none"
    )
    assert verify_tlog_proof(data, ENTRIES[0], policy)[1] == 0


def test_every_changed_bit_of_a_proof_is_refused():
    data = encode_proof(5, PATH, NOTE)
    for i in range(len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[i] ^= 1 << bit
            with pytest.raises(TraceNodeError):
                verify_tlog_proof(bytes(changed), ENTRIES[5], POLICY)
        with pytest.raises(TraceNodeError):
            verify_tlog_proof(data[:i], ENTRIES[5], POLICY)
    for path in (PATH[::-1], PATH[1:], PATH[:-1], [*PATH, PATH[0]], [PATH[0], *PATH]):
        with pytest.raises(BadProof):
            verify_tlog_proof(encode_proof(5, path, NOTE), ENTRIES[5], POLICY)
    for index in (0, 4, 6, 7, 2**62):
        with pytest.raises(BadProof):
            verify_tlog_proof(encode_proof(index, PATH, NOTE), ENTRIES[5], POLICY)
    with pytest.raises(BadProof):
        verify_tlog_proof(data, ENTRIES[4], POLICY)


def test_whom_a_proof_convinces():
    with pytest.raises(Untrusted, match="W"):
        verify_tlog_proof(encode_proof(5, PATH, HEAD), ENTRIES[5], POLICY)
    with pytest.raises(Untrusted, match="does not name"):
        verify_tlog_proof(
            encode_proof(5, PATH, NOTE), ENTRIES[5], parse_policy("quorum none")
        )


@pytest.mark.parametrize(
    "change",
    [
        ("@v1", "@v2"), ("@v1\n", "@v1\r\n"), ("index 5", "index 05"), ("index 5", "Index 5"),
        ("index 5", "index  5"), ("index 5\n", ""), ("index 5", "index 5\nindex 5"),
        ("index 5", "index 5\nextra AA=="), ("index 5", "extra AA==\nextra AA==\nindex 5"),
        ("index 5", "extra AB==\nindex 5"), ("index 5", "extra\nindex 5"), ("index 5", "index 5\n"),
        ("index 5", "index 5\nAAAA"), ("index 5", "index é"), ("\n\n", "\n"),
    ],
)  # fmt: skip
def test_not_a_proof(change):
    data = encode_proof(5, PATH, NOTE).decode()
    with pytest.raises(Malformed):
        parse_proof(data.replace(*change, 1).encode())


def test_proof_limits():
    for args in [
        (-1, PATH, NOTE),
        (2**63, PATH, NOTE),
        (5, [b"x"], NOTE),
        (5, PATH, b"note"),
    ]:
        with pytest.raises(Malformed):
            encode_proof(*args)
    for args in [(5, [LEAVES[0]] * 64, NOTE), (5, PATH, NOTE, bytes(65_537))]:
        with pytest.raises(LimitExceeded):
            encode_proof(*args)
    long = encode_proof(5, PATH, NOTE).replace(
        b"index 5\n", b"index 5\n" + b"A" * 43 + b"=\n"
    )
    assert len(parse_proof(long)[2]) == 4
    with pytest.raises(LimitExceeded):
        parse_proof(b"x" * 300_000)
    many = b"index 5\n" + (b"A" * 43 + b"=\n") * 64
    too_long = encode_proof(5, [], NOTE).replace(b"index 5\n", many)
    with pytest.raises(LimitExceeded):
        parse_proof(too_long)


@settings(max_examples=300)
@given(
    st.binary(max_size=80).map(lambda b: b"c2sp.org/tlog-proof@v1\n" + b)
    | st.binary(max_size=99)
)
def test_random_proofs(data):
    with pytest.raises(TraceNodeError):
        parse_proof(data)


def test_a_signed_size_leaves_one_index():
    """Unlike a receipt, whose numbers stand outside its signature."""
    for size in (5, 7, 100):
        root = root_of(LEAVES[:size])
        for index in range(size):
            found = grow(CompactRange(), LEAVES[:size]).path(index)
            for other in set(range(size)) - {index}:
                with pytest.raises(BadProof):
                    check_inclusion(LEAVES[index], other, size, found, root)
