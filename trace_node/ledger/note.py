"""Texts signed by one or more keys (C2SP signed-note).

    example.com/log
    42
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

    — example.com/log Az3grlgt…
    — witness.example/w1 jWbPPwAA…

The text ends with its newline; an empty line parts it from the signatures,
each of them base64(key id ‖ blob). A note says nothing until a key that the
reader already trusts is seen to have signed it: ``verify_note``.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from trace_node.errors import (
    BadSignature,
    LimitExceeded,
    Malformed,
    Misuse,
    Untrusted,
)
from trace_node.trust.keys import ED25519 as COSE_ED25519
from trace_node.trust.keys import Signer
from trace_node.trust.vkey import (
    COSIGNATURE,
    ED25519,
    KEY_ID_SIZE,
    VerifierKey,
    check_key_name,
    decode_base64,
    encode_base64,
    key_id,
)

MAX_NOTE: Final = 65_536  # bytes
MAX_SIGNATURES: Final = 100  # every reader must accept 16
MAX_TIMESTAMP: Final = (1 << 63) - 1  # Unix seconds (C2SP tlog-cosignature)
_TIMESTAMP_SIZE: Final = 8
_LINE = re.compile("\u2014 ([^ \n]+) ([A-Za-z0-9+/]+={0,2})")
_CONTROL = re.compile("[\x00-\x09\x0b-\x1f]")
_UNFIT = re.compile("[\x00-\x09\x0b-\x1f\ud800-\udfff]")  # or not UTF-8

Verified = list[tuple[VerifierKey, "Signature"]]


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line: who, which key (4 bytes), and the signed blob."""

    name: str
    key_id: bytes
    blob: bytes

    def line(self) -> str:
        """Return the line, with its newline."""
        return f"\u2014 {self.name} {encode_base64(self.key_id + self.blob)}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """A text (with its final newline) and the signatures below it."""

    text: str
    signatures: tuple[Signature, ...]


def parse_note(data: bytes) -> Note:
    """Return the note, with nothing verified.

    Raises:
        Malformed: not a note in its one spelling.
        LimitExceeded: over 64 KiB or 100 signatures.
    """
    if len(data) > MAX_NOTE:
        raise LimitExceeded(f"a note has at most {MAX_NOTE} bytes", where="note")
    try:
        whole = data.decode("utf-8")
    except UnicodeDecodeError as error:
        place = f"note byte {error.start}"
        raise Malformed("a note is UTF-8", where=place) from None
    if found := _CONTROL.search(whole):
        place = f"note character {found.start()}"
        raise Malformed("a note holds no control characters", where=place)
    # The last empty line parts text and signatures; the text may hold others.
    text, mark, tail = whole.rpartition("\n\n")
    if not mark or not tail.endswith("\n"):
        raise Malformed("a note has an empty line and signatures", where="note")
    lines = tail[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise LimitExceeded(f"over {MAX_SIGNATURES} signatures", where="note")
    before = text.count("\n") + 3
    signatures = [
        _parse_line(line, f"note line {before + i}") for i, line in enumerate(lines)
    ]
    return Note(text + "\n", tuple(signatures))


def _parse_line(line: str, where: str) -> Signature:
    """Return the signature of a line without its newline."""
    found = _LINE.fullmatch(line)
    if not found:
        raise Malformed("not a signature line", where=where)
    name, encoded = found.groups()
    check_key_name(name, where=where)
    data = decode_base64(encoded, where=where)
    if len(data) <= KEY_ID_SIZE:
        raise Malformed("the signature is empty", where=where)
    return Signature(name, data[:KEY_ID_SIZE], data[KEY_ID_SIZE:])


def note_bytes(note: Note) -> bytes:
    """Return the note as it is sent; ``parse_note`` gives it back."""
    lines = "".join(signature.line() for signature in note.signatures)
    return f"{note.text}\n{lines}".encode()


def cosigned_message(text: str, timestamp: int) -> bytes:
    """Return what a v1 cosignature signs (C2SP tlog-cosignature, Ed25519)."""
    return f"cosignature/v1\ntime {timestamp}\n{text}".encode()


def timestamp_of(signature: Signature) -> int:
    """Return the Unix seconds that a type-4 cosignature states.

    Raises:
        BadSignature: the blob is none, or the time is beyond 2^63 - 1.
    """
    timestamp = int.from_bytes(signature.blob[:_TIMESTAMP_SIZE])
    if len(signature.blob) <= _TIMESTAMP_SIZE or timestamp > MAX_TIMESTAMP:
        raise BadSignature("not a cosignature", where=signature.name)
    return timestamp


def check_signatures(note: Note, keys: Sequence[VerifierKey]) -> Verified:
    """Return the signatures by ``keys``, each verified; perhaps none.

    A line belongs to a key when name and key id both fit; others are ignored,
    and so are keys whose type this node cannot verify.

    Raises:
        BadSignature: a line of a known key does not verify. The whole note is
            refused: somebody changed it (C2SP signed-note, "Signatures").
    """
    known = {(key.name, key.key_id): key for key in keys if key.can_verify}
    verified: Verified = []
    for signature in note.signatures:
        key = known.get((signature.name, signature.key_id))
        if key is None:
            continue
        message, blob = note.text.encode(), signature.blob
        if key.alg == COSIGNATURE:
            message = cosigned_message(note.text, timestamp_of(signature))
            blob = blob[_TIMESTAMP_SIZE:]
        try:
            key.verify(blob, message)
        except BadSignature as error:
            raise BadSignature(error.message, where=f"note, {key.name}") from None
        verified.append((key, signature))
    return verified


def verify_note(data: bytes, keys: Sequence[VerifierKey]) -> tuple[Note, Verified]:
    """Return the note and who of ``keys`` signed it, at least one.

    Raises:
        Malformed: not a note.
        BadSignature: a signature of a known key does not verify.
        Untrusted: no signature is by a known key.
    """
    note = parse_note(data)
    verified = check_signatures(note, keys)
    if not verified:
        raise Untrusted("no known key signed this note")
    return note, verified


def check_note_signer(signer: Signer) -> None:
    """Check that a signer can sign notes: Ed25519 only.

    Raises:
        Misuse: it has another algorithm.
    """
    if signer.alg != COSE_ED25519:
        raise Misuse("notes are signed with Ed25519 keys")


def sign_note(text: str, name: str, signer: Signer) -> Signature:
    """Return an Ed25519 (type 1) signature line over ``text``.

    Raises:
        Malformed: the text or the name cannot stand in a note.
        Misuse: the signer is not Ed25519.
    """
    check_note_signer(signer)
    check_key_name(name)
    if not text.endswith("\n") or _UNFIT.search(text):
        raise Malformed("a note ends with a newline and holds no control characters")
    identity = key_id(name, ED25519, signer.public.x)
    return Signature(name, identity, signer.sign(text.encode()))
