"""What witnesses add to a checkpoint (C2SP tlog-cosignature, Ed25519 v1).

A cosignature says: at this time, the largest consistent head I know of this
log is this one. A client that demands a quorum of them cannot be shown a
private fork, unless the quorum colludes.

Line: ``— name base64(key id ‖ u64be Unix seconds ‖ signature)``; the signature
is over ``cosignature/v1``, the time, and the whole text of the checkpoint.
"""

from collections.abc import Sequence

from trace_node.errors import LimitExceeded, Malformed, Untrusted
from trace_node.ledger.note import (
    MAX_NOTE,
    MAX_SIGNATURES,
    MAX_TIMESTAMP,
    Note,
    Signature,
    check_note_signer,
    check_signatures,
    cosigned_message,
    note_bytes,
    parse_note,
    timestamp_of,
)
from trace_node.trust.keys import Signer
from trace_node.trust.policy import Policy
from trace_node.trust.vkey import COSIGNATURE, check_key_name, key_id


def cosign(note_text: str, name: str, signer: Signer, timestamp: int) -> Signature:
    """Return a v1 cosignature line.

    Whoever calls this has checked that the head extends the last one it
    cosigned, and has stored it durably (C2SP tlog-witness).

    Args:
        note_text: text of the checkpoint, with its final newline.
        name: key name of the witness.
        signer: an Ed25519 key that cosigns only: the message does not name the
            witness, so two witnesses never share a key.
        timestamp: Unix seconds.

    Raises:
        Malformed: name or time cannot stand in a cosignature.
        Misuse: the signer is not Ed25519.
    """
    check_note_signer(signer)
    check_key_name(name)
    if not 0 < timestamp <= MAX_TIMESTAMP:
        raise Malformed("a cosignature states a time after 1970")
    identity = key_id(name, COSIGNATURE, signer.public.x)
    signed = signer.sign(cosigned_message(note_text, timestamp))
    return Signature(name, identity, timestamp.to_bytes(8) + signed)


def add_signatures(data: bytes, signatures: Sequence[Signature]) -> bytes:
    """Return the note with more signature lines; a line never stands twice.

    Raises:
        Malformed: ``data`` is not a note.
        LimitExceeded: the note would be larger than readers accept.
    """
    note = parse_note(data)
    merged = tuple(dict.fromkeys((*note.signatures, *signatures)))
    grown = note_bytes(Note(note.text, merged))
    if len(merged) > MAX_SIGNATURES or len(grown) > MAX_NOTE:
        raise LimitExceeded("no reader accepts a note with so many signatures")
    return grown


def check_quorum(data: bytes, policy: Policy) -> list[tuple[str, int]]:
    """Check that a note's cosignatures satisfy the quorum of ``policy``.

    The log's own signature is not looked at: that is ``open_checkpoint``.

    Returns:
        (name in the policy, Unix seconds) of every witness that cosigned, in
        the order of the policy; the latest time when one cosigned twice.

    Raises:
        Untrusted: they do not; the message says what is missing.
        BadSignature: a cosignature of a known witness does not verify.
        Malformed: ``data`` is not a note.
    """
    names = {key: name for name, (key, _) in policy.witnesses.items()}
    times: dict[str, int] = {}
    for key, signature in check_signatures(parse_note(data), list(names)):
        name = names[key]
        times[name] = max(times.get(name, 0), timestamp_of(signature))
    result = policy.explain(times)
    if not result.satisfied:
        raise Untrusted(str(result))
    return [(name, times[name]) for name in policy.witnesses if name in times]
