"""The RFC 9162 §2.1 hash tree: leaf and node hashes, roots, inclusion.

One tree shape serves the log and the manifests of statements, so the shape
lives here, below both. Growing a log, consistency proofs and tiles are in
``trace_node.ledger``.

Empty tree: ``root([])`` is SHA-256 of nothing (§2.1.1). No inclusion proof
exists in an empty tree; asking for one is an error, and so is checking one.
"""

from collections.abc import Callable, Sequence
from hashlib import sha256

from trace_node.errors import BadProof

HASH_SIZE = 32
EMPTY_ROOT = sha256().digest()


def leaf_hash(data: bytes) -> bytes:
    """Return SHA-256(0x00 ‖ data), the hash of one leaf (RFC 9162 §2.1.1)."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return SHA-256(0x01 ‖ left ‖ right), the hash of two subtrees."""
    return sha256(b"\x01" + left + right).digest()


def root_of(leaf_hashes: Sequence[bytes]) -> bytes:
    """Return the root over ``leaf_hashes`` (32 bytes each), in O(n).

    Level by level; an odd last node moves up unhashed, which yields the same
    tree as the recursive definition with its split at the largest power of two.
    """
    if not leaf_hashes:
        return EMPTY_ROOT
    level = list(leaf_hashes)
    while len(level) > 1:
        paired = [
            node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)
        ]
        if len(level) & 1:
            paired.append(level[-1])
        level = paired
    return level[0]


def inclusion_nodes(index: int, size: int) -> list[tuple[int, int]]:
    """Return the (begin, end) leaf ranges whose roots prove leaf ``index``.

    Deepest sibling first, as RFC 9162 §2.1.3.1 orders the path.

    Raises:
        BadProof: there is no such leaf.
    """
    if not 0 <= index < size:
        raise BadProof(f"no leaf {index} in a tree of {size}")
    begin, end, ranges = 0, size, []
    while end - begin > 1:
        split = begin + (1 << (end - begin - 1).bit_length() - 1)
        if index < split:
            ranges.append((split, end))
            end = split
        else:
            ranges.append((begin, split))
            begin = split
    return ranges[::-1]


def inclusion_path(
    index: int, size: int, subtree: Callable[[int, int], bytes]
) -> list[bytes]:
    """Return the audit path of leaf ``index`` in a tree of ``size`` leaves.

    Args:
        index: position of the leaf, from 0.
        size: number of leaves.
        subtree: gives the root over leaves [begin, end).
    """
    return [subtree(begin, end) for begin, end in inclusion_nodes(index, size)]


def root_from_inclusion(
    leaf: bytes, index: int, size: int, path: Sequence[bytes]
) -> bytes:
    """Return the root that ``path`` leads to from ``leaf`` (RFC 9162 §2.1.3.2).

    Raises:
        BadProof: index, size and path do not fit each other.
    """
    if not 0 <= index < size:
        raise BadProof(f"no leaf {index} in a tree of {size}")
    if any(len(node) != HASH_SIZE for node in path) or len(leaf) != HASH_SIZE:
        raise BadProof("a hash in the proof is not 32 bytes")
    # The length is fixed by index and size; checked first so that the walk
    # below never runs off either end.
    inner = (index ^ (size - 1)).bit_length()
    if len(path) != inner + (index >> inner).bit_count():
        raise BadProof(f"the proof has {len(path)} hashes, another number is needed")
    node = leaf
    for level, sibling in enumerate(path[:inner]):
        left = index >> level & 1
        node = node_hash(sibling, node) if left else node_hash(node, sibling)
    for sibling in path[inner:]:
        node = node_hash(sibling, node)
    return node


def check_inclusion(
    leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes
) -> None:
    """Check that ``leaf`` stands at ``index`` in the tree with ``root``.

    Raises:
        BadProof: it does not, or the path does not show it.
    """
    if root_from_inclusion(leaf, index, size, path) != root:
        raise BadProof("the proof does not lead to the root")
