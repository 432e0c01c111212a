"""What files are read into: one item for each record, one fault for each bad place."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

LISTED: Final = 1_000  # faults kept; all are counted


@dataclass(frozen=True, slots=True)
class Item:
    """What becomes one record.

    Args:
        position: in the document, stable for the same bytes; enters the salt.
        place: for people ("line 7", "event 2").
        kind: the record's type.
        body: its body.
    """

    position: int
    place: str
    kind: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Fault:
    """A place that cannot be imported, and why."""

    place: str
    message: str


@dataclass(frozen=True, slots=True)
class Source:
    """A file, ready to be read through once.

    Args:
        items: lazily, in the order of the file.
        total: about how many there are, for a progress bar.
        batch: the most records under one signature; None leaves it to the caller.
        notes: what a reader should know, one sentence each.
    """

    items: Iterator[Item | Fault]
    total: int
    batch: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class Report:
    """What an import did.

    Args:
        files: how many were read.
        records: registered, in this run or an earlier one.
        statements: registered, with their records.
        resumed: statements that an earlier run had registered.
        indices: of the statements' entries.
        rejected: records that were not imported; the first are in ``faults``.
        faults: (file, fault), at most 1,000.
        notes: what a reader should know.
    """

    files: int = 0
    records: int = 0
    statements: int = 0
    resumed: int = 0
    indices: list[int] = field(default_factory=list)
    rejected: int = 0
    faults: list[tuple[str, Fault]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def fault(self, name: str, fault: Fault, count: int = 1) -> None:
        """Count and keep a fault that stands for ``count`` records."""
        self.rejected += count
        if len(self.faults) < LISTED:
            self.faults.append((name, fault))
