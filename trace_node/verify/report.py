"""What an audit counted and found; shared by the audits of folders and of URLs."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from trace_node.errors import TraceNodeError
from trace_node.trust.base64url import encode as base64url

MAX_FINDINGS: Final = 100  # kept; the others are only counted


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that does not hold.

    Args:
        kind: a stable word ("signature", "root", "record").
        where: the place ("entry 17", "head 42", "vault/ab/cd/…").
        message: one sentence for a person.
    """

    kind: str
    where: str
    message: str


@dataclass(slots=True)
class Findings:
    """A list that stays short, however much is wrong."""

    kept: list[Finding] = field(default_factory=list)
    dropped: int = 0

    def add(self, kind: str, where: str, message: str) -> None:
        """Add one finding."""
        if len(self.kept) < MAX_FINDINGS:
            self.kept.append(Finding(kind, where, message))
        else:
            self.dropped += 1

    def error(self, kind: str, where: str, error: TraceNodeError) -> None:
        """Add what an error says, with its place inside ``where``."""
        inner = f"{where}, {error.where}" if error.where else where
        self.add(kind, inner, error.message)

    def merge(self, other: "Findings") -> None:
        """Add what another process found."""
        for finding in other.kept:
            self.add(finding.kind, finding.where, finding.message)
        self.dropped += other.dropped

    def __bool__(self) -> bool:
        return bool(self.kept)


@dataclass(slots=True)
class AuditReport:
    """The outcome of an audit.

    Args:
        origin: the log.
        size: entries audited.
        root: over them as computed again, 32 bytes.
        counts: what was checked, how often.
        findings: what does not hold.
        notes: what a reader should know (what was not checked, or not proven).
    """

    origin: str
    size: int = 0
    root: bytes = b""
    counts: Counter[str] = field(default_factory=Counter)
    findings: Findings = field(default_factory=Findings)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether everything holds."""
        return not self.findings

    def members(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "holds": self.ok,
            "origin": self.origin,
            "size": self.size,
            "root": base64url(self.root),
            "counts": dict(sorted(self.counts.items())),
            "findings": [
                {"kind": f.kind, "where": f.where, "message": f.message}
                for f in self.findings.kept
            ],
            "more_findings": self.findings.dropped,
            "notes": self.notes,
        }
