"""Proofs to carry away: entry, path and checkpoint in one text (C2SP tlog-proof).

    c2sp.org/tlog-proof@v1
    extra YWdl                        optional, authenticated by nothing
    index 73894
    gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=      path, leaf's sibling first

    example.com/fancylog              the checkpoint, verbatim
    …

Whoever has the entry, this file and a policy checks it with no network.
"""

from collections.abc import Sequence
from typing import Final

from trace_node.errors import LimitExceeded, Malformed, Untrusted
from trace_node.ledger.checkpoint import (
    MAX_SIZE,
    Checkpoint,
    open_checkpoint,
    parse_checkpoint_text,
    parse_decimal,
    parse_hash,
)
from trace_node.ledger.cosignature import check_quorum
from trace_node.ledger.note import MAX_NOTE, parse_note
from trace_node.trust.merkle import HASH_SIZE, check_inclusion, leaf_hash
from trace_node.trust.policy import Policy
from trace_node.trust.vkey import decode_base64, encode_base64

MAX_PATH: Final = 63  # hashes: a tree of 2^63 entries
MAX_EXTRA: Final = 65_536  # bytes
MAX_PROOF: Final = 2 * MAX_EXTRA + MAX_NOTE  # bytes; extra is base64
_HEADER: Final = "c2sp.org/tlog-proof@v1"


def encode_proof(
    index: int, path: Sequence[bytes], checkpoint: bytes, extra: bytes | None = None
) -> bytes:
    """Return a proof file.

    Args:
        index: position of the entry.
        path: inclusion path in the checkpoint's tree, from the leaf up.
        checkpoint: the note, with its cosignatures.
        extra: opaque bytes that nothing authenticates, or ``None``.

    Raises:
        Malformed: a part cannot stand in a proof.
        LimitExceeded: a part is larger than readers accept.
    """
    if not 0 <= index <= MAX_SIZE or any(len(node) != HASH_SIZE for node in path):
        raise Malformed("index or path cannot stand in a proof")
    if len(path) > MAX_PATH or len(extra or b"") > MAX_EXTRA:
        raise LimitExceeded("path or extra data are too long")
    parse_checkpoint_text(parse_note(checkpoint).text)
    lines = [_HEADER]
    if extra is not None:
        lines.append(f"extra {encode_base64(extra)}")
    lines += [f"index {index}", *map(encode_base64, path), "", ""]
    return "\n".join(lines).encode() + checkpoint


def parse_proof(data: bytes) -> tuple[bytes | None, int, list[bytes], bytes]:
    """Return (extra, index, path, checkpoint note), with nothing verified.

    Raises:
        Malformed: not a proof in its one spelling.
        LimitExceeded: longer than any sensible proof.
    """
    if len(data) > MAX_PROOF:
        raise LimitExceeded(f"a proof has at most {MAX_PROOF} bytes", where="proof")
    # No line before the checkpoint is empty, so the first empty line parts them.
    top, mark, checkpoint = data.partition(b"\n\n")
    if not mark:
        raise Malformed("a proof has an empty line and a checkpoint", where="proof")
    try:
        lines = top.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise Malformed(
            "a proof is ASCII above its checkpoint", where="proof"
        ) from None
    if lines.pop(0) != _HEADER:
        raise Malformed(f"a proof starts with {_HEADER}", where="proof line 1")
    extra = None
    at = 2
    if lines and lines[0].startswith("extra "):
        extra = decode_base64(lines.pop(0).removeprefix("extra "), where="proof line 2")
        at = 3
    if not lines or not lines[0].startswith("index "):
        raise Malformed("the index line is missing", where=f"proof line {at}")
    index = parse_decimal(lines[0].removeprefix("index "), where=f"proof line {at}")
    if len(lines) - 1 > MAX_PATH or len(extra or b"") > MAX_EXTRA:
        raise LimitExceeded("path or extra data are too long", where="proof")
    path = [
        parse_hash(line, where=f"proof line {at + i}")
        for i, line in enumerate(lines[1:], start=1)
    ]
    parse_checkpoint_text(parse_note(checkpoint).text)
    return extra, index, path, checkpoint


def verify_tlog_proof(
    data: bytes, entry: bytes, policy: Policy
) -> tuple[Checkpoint, int, list[tuple[str, int]]]:
    """Return what a proof proves about ``entry`` to whoever holds ``policy``.

    Returns:
        The checkpoint, the entry's index in it, and (name, Unix seconds) of the
        witnesses of the policy that cosigned.

    Raises:
        Malformed: not a proof.
        Untrusted: the policy does not know the log, or the quorum is not met.
        BadSignature: a signature of a known key does not verify.
        BadProof: the entry is not there.
    """
    _, index, path, note = parse_proof(data)
    origin = parse_checkpoint_text(parse_note(note).text).origin
    keys = policy.log_for(origin)
    if not keys:
        raise Untrusted(f"the policy does not name the log {origin!r}")
    checkpoint, _, _ = open_checkpoint(note, keys)
    cosigners = check_quorum(note, policy)
    leaf = leaf_hash(entry)
    check_inclusion(leaf, index, checkpoint.size, path, checkpoint.root)
    return checkpoint, index, cosigners
