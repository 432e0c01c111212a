"""The log's tree against a naive recursive RFC 9162 tree and foreign vectors."""

import base64
import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trace_node.errors import BadProof, Malformed
from trace_node.ledger.merkle import (
    CompactRange,
    check_consistency,
    compact_range,
    consistency_proof,
    grow,
    inclusion_proof,
    roots_from_consistency,
    subtree_root,
)
from trace_node.trust.merkle import (
    EMPTY_ROOT,
    check_inclusion,
    leaf_hash,
    node_hash,
    root_of,
)

SHARED = Path(__file__).resolve().parents[3].parent / "shared/data/merkle"
LEAVES = [leaf_hash(i.to_bytes(4)) for i in range(70_000)]

# Where the vectors' library has its own convention on empty trees, with ours:
# (their verdict is "error" for each; ours is stated in ledger/merkle.py).
DIFFER = {
    # From an empty tree the empty proof leads anywhere: append-only holds.
    "additional/size1-is-zero-and-size2-is-not-zero",
}


def naive_root(leaves):
    """RFC 9162 §2.1.1, word for word."""
    n = len(leaves)
    if n == 0:
        return EMPTY_ROOT
    if n == 1:
        return leaves[0]
    k = 1
    while k * 2 < n:
        k *= 2
    return node_hash(naive_root(leaves[:k]), naive_root(leaves[k:]))


def naive_path(m, leaves):
    """RFC 9162 §2.1.3.1."""
    n = len(leaves)
    if n == 1:
        return []
    k = 1
    while k * 2 < n:
        k *= 2
    if m < k:
        return [*naive_path(m, leaves[:k]), naive_root(leaves[k:])]
    return [*naive_path(m - k, leaves[k:]), naive_root(leaves[:k])]


def naive_subproof(m, leaves, whole):
    """RFC 9162 §2.1.4.1."""
    n = len(leaves)
    if m == n:
        return [] if whole else [naive_root(leaves)]
    k = 1
    while k * 2 < n:
        k *= 2
    if m <= k:
        return [*naive_subproof(m, leaves[:k], whole), naive_root(leaves[k:])]
    return [*naive_subproof(m - k, leaves[k:], False), naive_root(leaves[:k])]


def naive_node(leaves):
    def node(level, k):
        covered = leaves[k << level : (k + 1) << level]
        assert len(covered) == 1 << level
        return naive_root(covered)

    return node


def test_all_sizes_to_70():
    for size in range(1, 71):
        leaves = LEAVES[:size]
        root, node = naive_root(leaves), naive_node(leaves)
        assert root == root_of(leaves) == subtree_root(0, size, node)
        growth = grow(CompactRange(), leaves)
        assert growth.root == root == growth.frontier.root()
        assert growth.frontier == compact_range(size, node)
        for index in range(size):
            path = naive_path(index, leaves)
            assert path == growth.path(index) == inclusion_proof(index, size, node)
            check_inclusion(leaves[index], index, size, path, root)
        for old in range(1, size + 1):
            proof = consistency_proof(old, size, node)
            assert proof == naive_subproof(old, leaves, True)
            check_consistency(old, naive_root(leaves[:old]), size, root, proof)


def test_growth_in_all_steps_to_40():
    for old in range(41):
        for count in range(41):
            before = grow(CompactRange(), LEAVES[:old]).frontier
            growth = grow(before, LEAVES[old : old + count])
            check_growth(growth, old, count)


def check_growth(growth, old, count):
    size = old + count
    leaves = LEAVES[:size]
    assert (growth.old_size, growth.size) == (old, size)
    assert growth.root == root_of(leaves) == growth.frontier.root()
    for index in range(old, size):
        check_inclusion(leaves[index], index, size, growth.path(index), growth.root)
    for bad in (old - 1, size, -1):
        with pytest.raises(BadProof):
            growth.path(bad)
    for level in range(size.bit_length() + 2):
        first, nodes = growth.new_nodes(level)
        assert first == old >> level
        assert len(nodes) == (size >> level) - first
        for k, node in enumerate(nodes, start=first):
            assert node == root_of(leaves[k << level : (k + 1) << level])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 5_000), st.integers(0, 700))
def test_growth_at_random(old, count):
    before = grow(CompactRange(), LEAVES[:old]).frontier
    growth = grow(before, LEAVES[old : old + count])
    check_growth(growth, old, count)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 300), max_size=12))
def test_growth_in_batches_is_growth_at_once(batches):
    state = CompactRange()
    for count in batches:
        state = grow(state, LEAVES[state.size : state.size + count]).frontier
    assert state == grow(CompactRange(), LEAVES[: state.size]).frontier


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_random_proofs_against_naive(data):
    size = data.draw(st.integers(1, 600))
    index = data.draw(st.integers(0, size - 1))
    old = data.draw(st.integers(1, size))
    leaves = LEAVES[:size]
    node = naive_node(leaves)
    assert inclusion_proof(index, size, node) == naive_path(index, leaves)
    proof = consistency_proof(old, size, node)
    assert proof == naive_subproof(old, leaves, True)
    roots = naive_root(leaves[:old]), naive_root(leaves)
    assert roots_from_consistency(old, roots[0], size, proof) == roots


def broken(proof):
    """Every proof that differs from ``proof`` by one slip."""
    for i in range(len(proof)):
        yield proof[:i] + proof[i + 1 :]
        yield [*proof[: i + 1], *proof[i:]]
        for bit in range(256):
            flipped = bytearray(proof[i])
            flipped[bit // 8] ^= 1 << bit % 8
            yield [*proof[:i], bytes(flipped), *proof[i + 1 :]]
        yield [*proof[:i], proof[i][:-1], *proof[i + 1 :]]
        yield [*proof[:i], proof[i] + b"\0", *proof[i + 1 :]]
        for j in range(i):
            swapped = list(proof)
            swapped[i], swapped[j] = proof[j], proof[i]
            yield swapped
    yield [*proof, LEAVES[0]]
    yield [b"", *proof]


@pytest.mark.parametrize(("index", "size"), [(0, 1), (0, 7), (6, 7), (5, 8), (64, 65)])
def test_broken_inclusion_is_refused(index, size):
    leaves = LEAVES[:size]
    root, path = root_of(leaves), naive_path(index, leaves)
    for bad in broken(path):
        with pytest.raises(BadProof):
            check_inclusion(leaves[index], index, size, bad, root)
    for other in range(-1, size + 2):
        if other != index:
            with pytest.raises(BadProof):
                check_inclusion(leaves[index], other, size, path, root)


@pytest.mark.parametrize(
    ("old", "size"), [(1, 2), (3, 7), (4, 7), (6, 8), (8, 8), (31, 65)]
)
def test_broken_consistency_is_refused(old, size):
    leaves = LEAVES[:size]
    roots = root_of(leaves[:old]), root_of(leaves)
    proof = naive_subproof(old, leaves, True)
    check_consistency(old, roots[0], size, roots[1], proof)
    for bad in broken(proof):
        with pytest.raises(BadProof):
            check_consistency(old, roots[0], size, roots[1], bad)
    for wrong in (EMPTY_ROOT, b"", roots[0][:31]):
        with pytest.raises(BadProof):
            check_consistency(old, wrong, size, roots[1], proof)
        with pytest.raises(BadProof):
            check_consistency(old, roots[0], size, wrong, proof)
    # Only sizes are told apart that change the shape of the proof; but a wrong
    # size never goes with a larger or a smaller tree of another root.
    with pytest.raises(BadProof):
        check_consistency(size + 1, roots[0], size, roots[1], proof)


def test_empty_trees():
    check_consistency(0, EMPTY_ROOT, 0, EMPTY_ROOT, [])
    check_consistency(0, EMPTY_ROOT, 5, LEAVES[0], [])
    for case in [
        (0, EMPTY_ROOT, 5, LEAVES[0], [LEAVES[1]]),
        (0, LEAVES[0], 5, LEAVES[0], []),
        (0, EMPTY_ROOT, 0, LEAVES[0], []),
        (5, LEAVES[0], 0, EMPTY_ROOT, []),
        (5, LEAVES[0], 5, LEAVES[1], []),
        (-1, EMPTY_ROOT, 5, LEAVES[1], []),
    ]:
        with pytest.raises(BadProof):
            check_consistency(*case)
    assert CompactRange().root() == EMPTY_ROOT == subtree_root(0, 0, naive_node([]))
    assert consistency_proof(0, 7, naive_node(LEAVES[:7])) == []
    with pytest.raises(BadProof):
        inclusion_proof(0, 0, naive_node([]))
    with pytest.raises(BadProof):
        consistency_proof(8, 7, naive_node(LEAVES[:7]))
    with pytest.raises(BadProof):
        roots_from_consistency(0, EMPTY_ROOT, 7, [])


def test_what_is_no_tree():
    for size, nodes in [
        (1, ()),
        (2, (LEAVES[0], LEAVES[1])),
        (1, (b"short",)),
        (-1, ()),
    ]:
        with pytest.raises(Malformed):
            CompactRange(size, nodes)
    with pytest.raises(Malformed):
        grow(CompactRange(), [b"short"])
    for begin, end in [(1, 3), (2, 1), (3, 3), (-1, 0), (2, 6)]:
        with pytest.raises(BadProof):
            subtree_root(begin, end, naive_node(LEAVES[:8]))


def load(name):
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{path} is not there")
    return json.loads(path.read_text())


def hashes(values):
    return [base64.b64decode(value) for value in values or []]


def accepts(check, *args):
    try:
        check(*args)
    except BadProof:
        return False
    return True


def test_foreign_inclusion_vectors():
    for case in load("inclusion.json"):
        leaf, root = hashes([case["leafHash"], case["root"]])
        got = accepts(
            check_inclusion,
            leaf,
            case["leafIdx"],
            case["treeSize"],
            hashes(case["proof"]),
            root,
        )
        assert got is not case["wantErr"], case["name"]


def test_foreign_consistency_vectors():
    different = set()
    for case in load("consistency.json"):
        root1, root2 = hashes([case["root1"], case["root2"]])
        got = accepts(
            check_consistency,
            case["size1"],
            root1,
            case["size2"],
            root2,
            hashes(case["proof"]),
        )
        if got is case["wantErr"]:
            different.add(case["name"])
    assert different == DIFFER


def test_shape_is_checked_before_hashes():
    """A proof of a million hashes costs a length check, not a million hashes."""
    rng = random.Random(1)
    long = [rng.randbytes(32)] * 1_000_000
    with pytest.raises(BadProof):
        check_inclusion(LEAVES[0], 3, 7, long, LEAVES[1])
    with pytest.raises(BadProof):
        check_consistency(3, LEAVES[0], 7, LEAVES[1], long)
