"""Evidence that a log told two stories: two signed heads that cannot both be true.

- ``same-size``: equal size, other root. The two notes are all there is to say.
- ``not-a-prefix``: the smaller head ``a`` is no prefix of the larger ``b``. A
  consistency proof into ``b`` shows the root that ``b``'s tree had at ``a``'s
  size; it is not ``a``'s. The proof leads to the root that the log signed, so
  the evidence convinces anyone without trust in who reports it.

That a log does not answer, or gives no proof, is no evidence of a fork.

Encoded as canonical JSON (sorted keys, no spaces, base64 values), so that the
same evidence is the same bytes.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, Literal

from trace_node.errors import BadProof, LimitExceeded, Malformed
from trace_node.ledger.checkpoint import Checkpoint, open_checkpoint, parse_hash
from trace_node.ledger.merkle import check_consistency, roots_from_consistency
from trace_node.ledger.note import MAX_NOTE, parse_note
from trace_node.trust.merkle import EMPTY_ROOT, HASH_SIZE
from trace_node.trust.vkey import VerifierKey, decode_base64, encode_base64

MAX_PATH: Final = 64  # hashes of a consistency proof between trees below 2^63
MAX_FORK_PROOF: Final = 4 * MAX_NOTE  # bytes
_TYPE: Final = "fork-proof/v1"
_MEMBERS: Final = frozenset(
    {"type", "origin", "kind", "a", "b", "b_root_at_a_size", "consistency"}
)

Kind = Literal["same-size", "not-a-prefix"]


@dataclass(frozen=True, slots=True)
class ForkProof:
    """Two notes by one log, ``a`` not larger than ``b``, and why they conflict.

    ``b_root_at_a_size`` is the root of ``b``'s tree at ``a``'s size (for
    ``same-size`` simply ``b``'s root), ``consistency`` the RFC 9162 §2.1.4 proof
    from there to ``b``.
    """

    origin: str
    kind: Kind
    a: bytes
    b: bytes
    b_root_at_a_size: bytes
    consistency: tuple[bytes, ...]

    @property
    def id(self) -> str:
        """One name for one fork: hex SHA-256 over the two texts.

        Over the texts and not the notes: signature lines of strangers are
        authenticated by nothing, so anyone could mint new ids for an old fork.
        """
        texts = (parse_note(self.a).text, parse_note(self.b).text)
        # No text of a checkpoint has an empty line, so this has one reading.
        return sha256("\n".join((_TYPE, *sorted(texts))).encode()).hexdigest()


def make_fork_proof(
    a: bytes,
    b: bytes,
    keys: Sequence[VerifierKey],
    consistency: Sequence[bytes] | None = None,
    root_at_smaller: bytes | None = None,
) -> ForkProof | None:
    """Return evidence if two heads of one log cannot both be true.

    Args:
        a: a checkpoint note.
        b: another; the order does not matter.
        keys: the log's keys.
        consistency: proof from the smaller size into the larger head, made from
            the larger head's own tree; not needed for equal sizes.
        root_at_smaller: root of that tree at the smaller size; only needed when
            that is a power of two, for then the proof leaves it out.

    Returns:
        ``None`` when both may be true, and also when nothing is decided: heads
        of different logs, a proof that is missing or leads elsewhere.

    Raises:
        Malformed, BadSignature, Untrusted: a head is not the log's.
    """
    (first, small), (second, large) = sorted(
        ((open_checkpoint(note, keys)[0], note) for note in (a, b)),
        key=lambda pair: (pair[0].size, pair[1]),
    )
    if first.origin != second.origin:
        return None
    if first.size == second.size:
        kind: Kind = "same-size"
        path: tuple[bytes, ...] = ()
        root: bytes | None = second.root
    else:
        kind, path = "not-a-prefix", tuple(consistency or ())
        root = _root_at(first.size, second, consistency, root_at_smaller)
    if root is None or root == first.root:
        return None
    return ForkProof(first.origin, kind, small, large, root, path)


def _root_at(
    size: int,
    head: Checkpoint,
    consistency: Sequence[bytes] | None,
    given: bytes | None,
) -> bytes | None:
    """Return the root of ``head``'s tree at a smaller ``size``, if it is shown."""
    if size == 0:
        return EMPTY_ROOT if not consistency else None
    if consistency is None or (given is None and size.bit_count() == 1):
        return None
    try:
        start = given or bytes(HASH_SIZE)
        old, new = roots_from_consistency(size, start, head.size, consistency)
    except BadProof:
        return None
    return old if new == head.root else None


def verify_fork_proof(data: bytes, keys: Sequence[VerifierKey]) -> ForkProof:
    """Return the evidence after checking that it convicts the log of ``keys``.

    Raises:
        Malformed: not a fork proof.
        BadSignature, Untrusted: a head is not signed by the log.
        BadProof: both heads can be true, or they are of different logs.
    """
    proof = from_json(data)
    a, b = (open_checkpoint(note, keys)[0] for note in (proof.a, proof.b))
    if not a.origin == b.origin == proof.origin:
        raise BadProof("the heads are of different logs")
    if (a.size == b.size) != (proof.kind == "same-size"):
        raise BadProof("the kind does not fit the sizes of the heads")
    if proof.b_root_at_a_size == a.root:
        raise BadProof("both heads can be true")
    root = proof.b_root_at_a_size
    if a.size != b.size:
        check_consistency(a.size, root, b.size, b.root, proof.consistency)
    elif proof.consistency or root != b.root:
        # Not check_consistency: it refuses an empty tree's wrong root, and that
        # may be the very lie (two heads of size 0).
        raise BadProof("between equal sizes only b's own root stands here")
    return proof


def to_json(proof: ForkProof) -> bytes:
    """Return the one encoding of the evidence."""
    value = {
        "type": _TYPE,
        "origin": proof.origin,
        "kind": proof.kind,
        "a": encode_base64(proof.a),
        "b": encode_base64(proof.b),
        "b_root_at_a_size": encode_base64(proof.b_root_at_a_size),
        "consistency": [encode_base64(node) for node in proof.consistency],
    }
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


def from_json(data: bytes) -> ForkProof:
    """Return the evidence that ``to_json`` wrote, with nothing verified.

    Raises:
        Malformed: not the one encoding of a fork proof.
        LimitExceeded: over 256 KiB.
    """
    if len(data) > MAX_FORK_PROOF:
        raise LimitExceeded(f"a fork proof has at most {MAX_FORK_PROOF} bytes")
    try:
        value: Any = json.loads(data.decode())
    except (ValueError, RecursionError):
        raise Malformed("not JSON", where="fork proof") from None
    if not isinstance(value, dict) or value.keys() != _MEMBERS:
        raise Malformed("not the members of a fork proof", where="fork proof")
    kind = value["kind"]
    path = value["consistency"]
    if value["type"] != _TYPE or kind not in ("same-size", "not-a-prefix"):
        raise Malformed("not a kind of fork proof we know", where="kind")
    if not isinstance(path, list) or len(path) > MAX_PATH:
        raise Malformed("not a consistency proof", where="consistency")
    proof = ForkProof(
        _text(value, "origin"),
        kind,
        decode_base64(_text(value, "a"), where="a"),
        decode_base64(_text(value, "b"), where="b"),
        parse_hash(_text(value, "b_root_at_a_size"), where="b_root_at_a_size"),
        tuple(
            parse_hash(_text(path, i), where="consistency") for i in range(len(path))
        ),
    )
    # Also refuses members that stand twice, and every other spelling.
    if to_json(proof) != data:
        raise Malformed("not the canonical encoding", where="fork proof")
    return proof


def _text(container: Any, at: str | int) -> str:
    """Return the valid Unicode text at a key or position."""
    value = container[at]
    if not isinstance(value, str):
        raise Malformed("text is missing", where=str(at))
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Malformed("a lone surrogate is no text", where=str(at)) from None
    return value
