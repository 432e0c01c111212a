"""What a check found, and the small tools that name the place of what failed."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from trace_node.errors import BadProof, Malformed, TraceNodeError, Untrusted
from trace_node.ledger.checkpoint import (
    Checkpoint,
    open_checkpoint,
    parse_checkpoint_text,
)
from trace_node.ledger.cosignature import check_quorum
from trace_node.ledger.note import parse_note
from trace_node.trust.base64url import encode as base64url
from trace_node.trust.merkle import EMPTY_ROOT
from trace_node.trust.policy import Policy
from trace_node.trust.vkey import VerifierKey

_LAST_SECOND: Final = 253_402_300_799  # 9999-12-31T23:59:59Z, RFC 3339's last
_SHOWN: Final = 80  # characters of a value in an error


@dataclass(frozen=True, slots=True)
class Verdict:
    """Everything in the file holds; what does not is an error, never a verdict.

    Args:
        kind: what the file is ("bundle", "proof", "checkpoint", ...).
        origin: the log it is about.
        size: entries of that log under the head; 0 where no head is given.
        root: of that head, 32 bytes; empty where no head is given.
        checks: what was checked, one line each, for people.
        facts: what the file says, for machines.
        unproven: what is still somebody's word, one line each.
        withheld: names of records that the file does not hold.
    """

    kind: str
    origin: str
    size: int = 0
    root: bytes = b""
    checks: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    unproven: tuple[str, ...] = ()
    withheld: tuple[str, ...] = ()

    def members(self) -> dict[str, Any]:
        """Return the verdict as JSON values."""
        return {
            "holds": True,
            "kind": self.kind,
            "origin": self.origin,
            "size": self.size,
            "root": base64url(self.root),
            "checks": list(self.checks),
            "facts": self.facts,
            "unproven": list(self.unproven),
            "withheld": list(self.withheld),
        }


@dataclass(frozen=True, slots=True)
class Head:
    """A checkpoint that the policy stands behind, and who signed it."""

    checkpoint: Checkpoint
    keys: tuple[VerifierKey, ...]
    cosigners: tuple[str, ...]
    strangers: tuple[str, ...]

    def check_line(self) -> str:
        """Return one line for people."""
        by = f", cosigned by {', '.join(self.cosigners)}" if self.cosigners else ""
        head = self.checkpoint
        return f"the head of {head.origin} with {head.size} entries is signed{by}"

    def ignored(self) -> tuple[str, ...]:
        """Return a line about signatures that the policy does not know, if any."""
        if not self.strangers:
            return ()
        # As Python writes them: anybody adds a line to a note, and its name may
        # hold what a terminal obeys (C1 controls, marks that turn the text round).
        return (f"ignored: signatures by {', '.join(map(repr, self.strangers))}",)


def open_head(note: bytes, policy: Policy) -> Head:
    """Return the head in a note, if the policy believes it.

    Signature lines of keys that the policy does not name are ignored, as C2SP
    signed-note wants; they are listed, for they prove nothing.

    Raises:
        Malformed: not a checkpoint.
        Untrusted: the policy does not name the log, or the quorum is not met.
        BadSignature: a signature of a known key does not verify.
        BadProof: an empty tree with a root that is not the empty tree's.
    """
    parsed = parse_note(note)
    origin = parse_checkpoint_text(parsed.text).origin
    keys = policy.log_for(origin)
    if not keys:
        raise Untrusted(f"the policy does not name the log {origin!r}")
    checkpoint, _, verified = open_checkpoint(note, keys)
    if checkpoint.size == 0 and checkpoint.root != EMPTY_ROOT:
        raise BadProof("the root of an empty tree is SHA-256 of nothing")
    cosigners = tuple(name for name, _ in check_quorum(note, policy))
    known = {(key.name, key.key_id) for key, _ in (*policy.logs, *_witnesses(policy))}
    strangers = {s.name for s in parsed.signatures if (s.name, s.key_id) not in known}
    signed = tuple(key for key, _ in verified)
    return Head(checkpoint, signed, cosigners, tuple(sorted(strangers)))


def _witnesses(policy: Policy) -> Iterator[tuple[VerifierKey, str | None]]:
    yield from policy.witnesses.values()


@contextmanager
def at(place: str) -> Iterator[None]:
    """Put ``place`` before the place in any error of the block."""
    try:
        yield
    except TraceNodeError as error:
        error.where = f"{place}, {error.where}" if error.where else place
        raise


def exactly(value: object, names: frozenset[str], where: str = "") -> dict[str, Any]:
    """Return the object ``value`` if its members are exactly ``names``.

    Raises:
        Malformed: it is none, or a member is missing or unknown.
    """
    if not isinstance(value, dict):
        raise Malformed("a JSON object is needed", where=where or "byte 0")
    dot = f"{where}." if where else ""
    for name in sorted(names ^ value.keys()):
        word = "missing" if name in names else "not known here"
        raise Malformed(f"a member is {word}", where=f"{dot}{name[:_SHOWN]}")
    return value


def compare(expected: Any, given: Any, where: str) -> None:
    """Check that ``given`` is what was computed again, and find where it is not.

    Raises:
        BadProof: it is not; ``where`` is the first member that differs.
    """
    if type(expected) is not type(given):
        raise BadProof("not what was computed again", where=where)
    if isinstance(expected, dict):
        for name in sorted(expected.keys() | given.keys()):
            place = f"{where}.{name[:_SHOWN]}"
            if name not in expected or name not in given:
                raise BadProof("a member too many or too few", where=place)
            compare(expected[name], given[name], place)
    elif isinstance(expected, list):
        for number, (left, right) in enumerate(zip(expected, given, strict=False)):
            compare(left, right, f"{where}[{number}]")
        if len(expected) != len(given):
            message = f"{len(given)} items where {len(expected)} were computed"
            raise BadProof(message, where=where)
    elif expected != given:
        shown = repr(expected)[:_SHOWN]
        raise BadProof(f"computed again it is {shown}", where=where)


def timestamp(seconds: int) -> str:
    """Return Unix seconds as RFC 3339 UTC.

    Raises:
        Malformed: beyond the year 9999.
    """
    if seconds > _LAST_SECOND:
        raise Malformed("a time beyond the year 9999")
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
