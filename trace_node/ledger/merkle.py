"""A log's tree as it grows: compact ranges, roots and proofs (RFC 9162 §2.1).

The shape of the tree is in ``trace_node.trust.merkle``; here is what a log
needs beyond it: to grow by a batch without reading what is old, and to prove
inclusion and consistency from stored nodes.

A *node* ``(level, k)`` is the hash of the perfect subtree over the leaves
``[k * 2**level, (k + 1) * 2**level)``; it never changes once the tree covers
it, so it can be stored. Hashes are 32 bytes, sizes and indices count leaves.

Empty trees, where RFC 9162 is silent: the root is ``EMPTY_ROOT``; from size 0
to any size the consistency proof is empty; between equal sizes it is empty and
the roots are equal; no proof leads to a smaller size.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from trace_node.errors import BadProof, Malformed
from trace_node.trust.merkle import EMPTY_ROOT, HASH_SIZE, inclusion_path, node_hash

# Below this level each leaf looks up its own siblings; from it on, 16
# neighbours share one list.
_SHARED_LEVEL = 4
_PAIR = 2

Node = Callable[[int, int], bytes]


def parents(nodes: Sequence[bytes]) -> list[bytes]:
    """Return the perfect nodes one level up; an odd last node has no parent yet.

    Every hash of a growing log is made here, so the call of ``node_hash`` is
    written out.
    """
    if len(nodes) < _PAIR:
        return []
    digest = sha256
    return [
        digest(b"\x01" + left + right).digest()
        for left, right in zip(nodes[::2], nodes[1::2], strict=False)
    ]


def _fold(nodes: Sequence[bytes]) -> bytes:
    """Return the root over perfect subtrees, largest first; at least one."""
    root = nodes[-1]
    for left in nodes[-2::-1]:
        root = node_hash(left, root)
    return root


@dataclass(frozen=True, slots=True)
class CompactRange:
    """All that a log must remember of its tree to grow and to state its root.

    ``nodes`` are the perfect subtrees left to right, largest first: one for
    each set bit of ``size``.
    """

    size: int = 0
    nodes: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if self.size < 0 or len(self.nodes) != self.size.bit_count():
            raise Malformed(f"{len(self.nodes)} nodes do not make a tree of this size")
        if any(len(node) != HASH_SIZE for node in self.nodes):
            raise Malformed("a node of the tree is not 32 bytes")

    def root(self) -> bytes:
        """Return the root hash (§2.1.1)."""
        return _fold(self.nodes) if self.nodes else EMPTY_ROOT


class Growth:
    """A tree after a batch: the new root, and paths of the new leaves.

    Made by ``grow``. Holds, per level, the perfect nodes that the batch made,
    before them the one old node they may have as left sibling, and after them
    the hash of the ragged right edge. No other old node can be a sibling of
    anything new, which is why growing reads nothing but the compact range.
    """

    __slots__ = ("_levels", "_shared", "frontier", "old_size", "root", "size")

    def __init__(self, old: CompactRange, leaves: Sequence[bytes]) -> None:
        self.old_size = old.size
        self.size = old.size + len(leaves)
        # (index of the first node, nodes, the right edge included)
        self._levels: list[tuple[int, list[bytes]]] = []
        self._shared: dict[int, list[bytes]] = {}
        self.frontier, self.root = self._build(old, leaves)

    def _build(
        self, old: CompactRange, leaves: Sequence[bytes]
    ) -> tuple[CompactRange, bytes]:
        """Fill the levels from below; return the new compact range and root."""
        size = self.size
        waiting = list(old.nodes)  # smallest last
        made = list(leaves)
        edge: bytes | None = None  # root over the leaves right of the last node
        frontier: list[bytes] = []
        for level in range(size.bit_length()):
            if old.size >> level & 1:
                made.insert(0, waiting.pop())
            # A first node always has an even index, so pairs start at 0.
            above = parents(made)
            last = made[-1] if size >> level & 1 else None
            if edge is not None:
                made.append(edge)
            self._levels.append((old.size >> level & ~1, made))
            if last is not None:
                frontier.append(last)
                edge = last if edge is None else node_hash(last, edge)
            made = above
        return CompactRange(size, tuple(frontier[::-1])), edge or EMPTY_ROOT

    def path(self, index: int) -> list[bytes]:
        """Return the inclusion path of a leaf of this batch (§2.1.3.1).

        Raises:
            BadProof: the leaf is not of this batch.
        """
        if not self.old_size <= index < self.size:
            raise BadProof(f"leaf {index} is not in this batch")
        group = index >> _SHARED_LEVEL
        upper = self._shared.get(group)
        if upper is None:
            upper = self._siblings(group, self._levels[_SHARED_LEVEL:])
            self._shared[group] = upper
        return self._siblings(index, self._levels[:_SHARED_LEVEL]) + upper

    @staticmethod
    def _siblings(k: int, levels: list[tuple[int, list[bytes]]]) -> list[bytes]:
        """Return the siblings on the way up from node ``k`` of the first level."""
        found = []
        for first, nodes in levels:
            at = (k ^ 1) - first
            # Past the end: this node is the right edge itself and moves up.
            if at < len(nodes):
                found.append(nodes[at])
            k >>= 1
        return found

    def new_nodes(self, level: int) -> tuple[int, list[bytes]]:
        """Return what the batch adds at ``level``: index of the first, hashes."""
        begin, end = self.old_size >> level, self.size >> level
        if begin == end:
            return begin, []
        first, nodes = self._levels[level]
        return begin, nodes[begin - first : end - first]


def grow(range_: CompactRange, leaves: Sequence[bytes]) -> Growth:
    """Return the tree of ``range_`` after appending ``leaves`` (hashes).

    Costs about one hash and one path step per leaf; 0 leaves are allowed.

    Raises:
        Malformed: a leaf hash is not 32 bytes.
    """
    if set(map(len, leaves)) - {HASH_SIZE}:
        raise Malformed("a leaf hash is not 32 bytes")
    return Growth(range_, leaves)


def _range_nodes(begin: int, end: int, node: Node) -> list[bytes]:
    """Return the perfect subtrees that make up ``[begin, end)``, largest first."""
    nodes = []
    for level in range((end - begin).bit_length() - 1, -1, -1):
        if (end - begin) >> level & 1:
            if begin & ((1 << level) - 1):
                raise BadProof(f"leaves from {begin} do not form a subtree")
            nodes.append(node(level, begin >> level))
            begin += 1 << level
    return nodes


def subtree_root(begin: int, end: int, node: Node) -> bytes:
    """Return the root over leaves ``[begin, end)`` from stored nodes.

    Raises:
        BadProof: no tree has such a subtree.
    """
    if not 0 <= begin <= end or (begin == end != 0):
        raise BadProof(f"no subtree over [{begin}, {end})")
    return _fold(_range_nodes(begin, end, node)) if end else EMPTY_ROOT


def compact_range(size: int, node: Node) -> CompactRange:
    """Return the compact range of a tree of ``size`` leaves from stored nodes."""
    return CompactRange(size, tuple(_range_nodes(0, size, node)))


def inclusion_proof(index: int, size: int, node: Node) -> list[bytes]:
    """Return the inclusion path of leaf ``index`` from stored nodes (§2.1.3.1).

    Raises:
        BadProof: there is no such leaf.
    """
    return inclusion_path(index, size, lambda lo, hi: subtree_root(lo, hi, node))


def consistency_proof(size1: int, size2: int, node: Node) -> list[bytes]:
    """Return the proof that tree ``size2`` extends tree ``size1`` (§2.1.4.1).

    Raises:
        BadProof: ``size1`` is larger than ``size2`` or negative.
    """
    if not 0 <= size1 <= size2:
        raise BadProof(f"a tree of {size2} does not extend one of {size1}")
    if size1 in (0, size2):
        return []
    begin, end, ranges = 0, size2, []
    while size1 != end:
        split = begin + (1 << (end - begin - 1).bit_length() - 1)
        if size1 <= split:
            ranges.append((split, end))
            end = split
        else:
            ranges.append((begin, split))
            begin = split
    if begin:  # the old root itself is known to the verifier and left out
        ranges.append((begin, end))
    return [subtree_root(lo, hi, node) for lo, hi in ranges[::-1]]


def roots_from_consistency(
    size1: int, root1: bytes, size2: int, proof: Sequence[bytes]
) -> tuple[bytes, bytes]:
    """Return the old and the new root that ``proof`` leads to (§2.1.4.2).

    ``root1`` is where the walk starts when ``size1`` is a power of two (the
    proof then leaves it out); otherwise the proof alone decides. Needs
    ``0 < size1 <= size2``: from an empty tree nothing can be computed.

    Raises:
        BadProof: sizes and proof do not fit each other.
    """
    if not 0 < size1 <= size2:
        raise BadProof(f"no consistency proof leads from {size1} to {size2}")
    if any(len(node) != HASH_SIZE for node in proof) or len(root1) != HASH_SIZE:
        raise BadProof("a hash in the proof is not 32 bytes")
    if size1 == size2:
        if proof:
            raise BadProof("between equal sizes the proof is empty")
        return root1, root1
    # §2.1.4.2 step 4: climb while the last old leaf is a right child.
    height = (size1 ^ (size1 - 1)).bit_length() - 1
    last1, last2 = (size1 - 1) >> height, (size2 - 1) >> height
    hashes = [root1, *proof] if size1.bit_count() == 1 else list(proof)
    # Fixed by the sizes; checked first, so that the walk never runs off an end.
    inner = (last1 ^ last2).bit_length()
    if len(hashes) != 1 + inner + (last1 >> inner).bit_count():
        raise BadProof(f"the proof has {len(proof)} hashes, another number is needed")
    old = new = hashes[0]
    for level, sibling in enumerate(hashes[1 : inner + 1]):
        if last1 >> level & 1:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
        else:
            new = node_hash(new, sibling)
    for sibling in hashes[inner + 1 :]:
        old, new = node_hash(sibling, old), node_hash(sibling, new)
    return old, new


def check_consistency(
    size1: int, root1: bytes, size2: int, root2: bytes, proof: Sequence[bytes]
) -> None:
    """Check that the tree (size2, root2) extends (size1, root1) (§2.1.4.2).

    Size 0 needs ``EMPTY_ROOT`` and an empty proof; equal sizes need equal roots
    and an empty proof.

    Raises:
        BadProof: it does not, or the proof does not show it.
    """
    for size, root in ((size1, root1), (size2, root2)):
        if size == 0 and root != EMPTY_ROOT:
            raise BadProof("the root of an empty tree is SHA-256 of nothing")
    if size1 == 0 <= size2:
        if proof:
            raise BadProof("from an empty tree the proof is empty")
        return
    if roots_from_consistency(size1, root1, size2, proof) != (root1, root2):
        raise BadProof("the proof does not lead from the old root to the new one")
