"""Signed heads of a log (C2SP tlog-checkpoint).

    example.com/behind-the-sofa                      origin: which log
    20852163                                         how many entries
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=     root over them

as the text of a signed note. Our logs write no extension lines; those of
others are kept, because signatures cover them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from trace_node.errors import Malformed, Untrusted
from trace_node.ledger.note import Note, Verified, note_bytes, sign_note, verify_note
from trace_node.trust.keys import Signer
from trace_node.trust.merkle import HASH_SIZE
from trace_node.trust.vkey import (
    COSIGNATURE,
    VerifierKey,
    check_key_name,
    decode_base64,
    encode_base64,
)

MAX_SIZE: Final = (1 << 63) - 1
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_MANDATORY_LINES: Final = 3


def parse_decimal(text: str, *, where: str = "") -> int:
    """Return a count: ASCII decimal without leading zeros, below 2^63.

    Raises:
        Malformed: it is none.
    """
    if not _DECIMAL.fullmatch(text) or int(text) > MAX_SIZE:
        raise Malformed("not a decimal number below 2^63", where=where)
    return int(text)


def parse_hash(text: str, *, where: str = "") -> bytes:
    """Return a SHA-256 hash from canonical base64.

    Raises:
        Malformed: it is none.
    """
    data = decode_base64(text, where=where)
    if len(data) != HASH_SIZE:
        raise Malformed("a hash is 32 bytes", where=where)
    return data


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A head: the log's name, its size, and the root over its entries.

    Raises:
        Malformed: a part cannot stand in a checkpoint.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.size <= MAX_SIZE or len(self.root) != HASH_SIZE:
            raise Malformed("size or root cannot stand in a checkpoint")
        if not all(line and "\n" not in line for line in self.lines()):
            raise Malformed("a line of a checkpoint is not empty")

    def lines(self) -> tuple[str, ...]:
        """Return the lines of the text, without newlines."""
        return (
            self.origin,
            str(self.size),
            encode_base64(self.root),
            *self.extensions,
        )

    def text(self) -> str:
        """Return the text that is signed; ends with a newline."""
        return "\n".join(self.lines()) + "\n"


def parse_checkpoint_text(text: str) -> Checkpoint:
    """Return the checkpoint that the text of a note states.

    Raises:
        Malformed: it states none.
    """
    lines = text.split("\n")
    if lines.pop() != "" or len(lines) < _MANDATORY_LINES or not all(lines):
        raise Malformed("a checkpoint is three or more lines", where="checkpoint")
    origin, size, root, *extensions = lines
    return Checkpoint(
        origin,
        parse_decimal(size, where="checkpoint line 2"),
        parse_hash(root, where="checkpoint line 3"),
        tuple(extensions),
    )


def sign_checkpoint(origin: str, size: int, root: bytes, signer: Signer) -> bytes:
    """Return a checkpoint as a note signed by the log; the key's name is ``origin``.

    Whoever calls this has made sure that no other head of this size was or will
    be signed: two of them are proof of a fork (``ledger.fork``).

    Raises:
        Malformed: ``origin`` is not a key name, size or root do not fit.
        Misuse: the signer is not Ed25519.
    """
    check_key_name(origin, where="origin")
    text = Checkpoint(origin, size, root).text()
    return note_bytes(Note(text, (sign_note(text, origin, signer),)))


def open_checkpoint(
    data: bytes, keys: Sequence[VerifierKey]
) -> tuple[Checkpoint, Note, Verified]:
    """Return a checkpoint that its own log signed, the note, and all who signed.

    ``keys`` may name several logs and witnesses. A signature speaks for a log
    only under the log's own name; otherwise one trusted log could write the
    head of another, and a witness could write any.

    Raises:
        Malformed: not a checkpoint.
        BadSignature: a signature of a known key does not verify.
        Untrusted: no key of ``keys`` that is named like the origin signed it.
    """
    note, verified = verify_note(data, keys)
    checkpoint = parse_checkpoint_text(note.text)
    if not any(
        key.name == checkpoint.origin and key.alg != COSIGNATURE for key, _ in verified
    ):
        raise Untrusted("the log itself did not sign this checkpoint")
    return checkpoint, note, verified
