"""Manifests: one signature over up to 10,000 content records.

The preimage is u64be(count) ‖ root, where root is the RFC 9162 §2.1 tree over
the records' digests, each digest a leaf's data. A record is disclosed and proven
alone with count, root and its audit path; the others stay unseen. The count is
signed with the root, so a path has one length and no record can be hidden by
claiming a smaller tree.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from trace_node.errors import BadProof, LimitExceeded, Malformed
from trace_node.trust import merkle

MAX_RECORDS: Final = 10_000


def manifest_preimage(digests: Sequence[bytes]) -> bytes:
    """Return the 40-byte preimage over record digests (32 bytes each), in order.

    Raises:
        Malformed: there is none, or one is not 32 bytes.
        LimitExceeded: there are more than 10,000.
    """
    return _preimage(len(digests), merkle.root_of(_leaves(digests)))


def manifest_path(digests: Sequence[bytes], index: int) -> list[bytes]:
    """Return the audit path of record ``index``, deepest hash first.

    Raises:
        Malformed: as ``manifest_preimage``.
        BadProof: there is no such record.
    """
    leaves = _leaves(digests)
    return merkle.inclusion_path(
        index, len(leaves), lambda begin, end: merkle.root_of(leaves[begin:end])
    )


def check_manifest(
    payload: bytes,
    count: int,
    root: bytes,
    index: int,
    digest: bytes,
    path: Sequence[bytes],
) -> None:
    """Check that the record with ``digest`` is number ``index`` of a manifest.

    Args:
        payload: of the manifest's statement, 32 bytes.
        count: number of records that the manifest is over.
        root: of the tree over them, 32 bytes.
        index: position of the record, from 0.
        digest: of the record, 32 bytes.
        path: its audit path, deepest hash first.

    Raises:
        BadProof: it is not, or this does not show it.
    """
    if not 1 <= count <= MAX_RECORDS or len(root) != merkle.HASH_SIZE:
        raise BadProof("no manifest has this count and root", where="count")
    if sha256(_preimage(count, root)).digest() != payload:
        raise BadProof("count and root are not what was signed", where="payload")
    if len(digest) != merkle.HASH_SIZE:
        raise BadProof("a record digest is 32 bytes", where="digest")
    merkle.check_inclusion(merkle.leaf_hash(digest), index, count, path, root)


def _preimage(count: int, root: bytes) -> bytes:
    return count.to_bytes(8) + root


def _leaves(digests: Sequence[bytes]) -> list[bytes]:
    if not digests:
        raise Malformed("a manifest is over at least one record")
    if len(digests) > MAX_RECORDS:
        raise LimitExceeded(f"a manifest is over at most {MAX_RECORDS} records")
    if any(len(digest) != merkle.HASH_SIZE for digest in digests):
        raise Malformed("a record digest is 32 bytes")
    return [merkle.leaf_hash(digest) for digest in digests]
