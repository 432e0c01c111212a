"""A center database read as it lies, for audits: plain tuples, in big ranges.

Opened read-only, so an audit beside a running center takes no lock and leaves no
trace, and without the ORM: an audit starts one process a core, and importing the
tables would cost each of them a second. So the SQL here is written out, by the
names in ``store.tables``; the audit's tests run it against the migrated schema.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from trace_node.errors import StoreCorrupt

BUSY_SECONDS = 15
# CAST: SQLite keeps what it is given, so a tampered column may hold text.
_ENTRIES = (
    "SELECT entry_index, kind, recorded, CAST(identity AS BLOB), "
    "CAST(statement AS BLOB) FROM entry "
    "WHERE log = 1 AND entry_index >= ? AND entry_index < ? ORDER BY entry_index"
)
_GOVERNANCE = (
    "SELECT entry_index, CAST(statement AS BLOB) FROM entry "
    "WHERE log = 1 AND entry_index < ? AND kind = 3 ORDER BY entry_index"
)
_MANIFESTS = (
    "SELECT entry_index, CAST(digests AS BLOB) FROM manifest "
    "WHERE log = 1 AND entry_index >= ? AND entry_index < ?"
)
_HEADS = (
    "SELECT size, CAST(root AS BLOB), CAST(receipt_protected AS BLOB), "
    "CAST(receipt_signature AS BLOB) FROM head "
    "WHERE log = 1 AND size > ? AND size <= ? ORDER BY size"
)
_HEAD_BEFORE = "SELECT coalesce(max(size), 0) FROM head WHERE log = 1 AND size <= ?"
_RECORDS = (
    "SELECT CAST(digest AS BLOB), size, CAST(content AS BLOB) FROM record "
    "WHERE digest >= ? AND digest < ? AND coalesce(staged, 0) >= 0"  # see store.vault
)
_ENDS = (
    "SELECT size, epoch, frontier, "
    "(SELECT max(entry_index) FROM entry WHERE log = 1), "
    "(SELECT count(*) FROM head WHERE log = 1), "
    "(SELECT coalesce(max(size), 0) FROM head WHERE log = 1), "
    "(SELECT count(*) FROM record) FROM log_head WHERE log = 1"
)


@dataclass(frozen=True, slots=True)
class Ends:
    """Where the log ends, in one snapshot.

    ``last`` is the greatest index, or -1; ``top`` the size of the last head, or 0.
    """

    size: int
    epoch: int
    frontier: bytes
    last: int
    heads: int
    top: int
    records: int


class Scan:
    """One read-only connection.

    Args:
        path: the database file.
        driver: name of the module that ``store.engine.sqlite_driver`` chose.

    Raises:
        StoreCorrupt: the file is no database that can be read; so does every
            method.
    """

    def __init__(self, path: Path, driver: str) -> None:
        module: Any = import_module(driver)
        self._error: type[Exception] = module.Error
        self._name = path.name
        try:
            self._connection = module.connect(
                f"{path.resolve().as_uri()}?mode=ro",
                uri=True,
                timeout=BUSY_SECONDS,
                isolation_level=None,
            )
        except self._error as error:
            raise StoreCorrupt(f"cannot be read: {error}", where=self._name) from None

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _rows(self, sql: str, values: tuple[Any, ...] = ()) -> Iterator[Any]:
        try:
            yield from self._connection.execute(sql, values)
        except self._error as error:
            raise StoreCorrupt(f"cannot be read: {error}", where=self._name) from None

    def _first(self, sql: str, values: tuple[Any, ...] = ()) -> Any:
        return next(self._rows(sql, values), None)

    def origin(self) -> str | None:
        """Return the log's name, None where there is no log."""
        row = self._first("SELECT origin FROM log WHERE id = 1")
        return None if row is None else str(row[0])

    def ends(self) -> Ends:
        """Return where the log ends."""
        row = self._first(_ENDS)
        if row is None:
            raise StoreCorrupt("the log has no head row", where=self._name)
        size, epoch, frontier, last, heads, top, records = row
        last = -1 if last is None else last
        return Ends(size, epoch, bytes(frontier), last, heads, top, records)

    def entries(
        self, begin: int, end: int
    ) -> Iterator[tuple[int, int, int, bytes, bytes]]:
        """Yield (index, kind, recorded, identity, statement) of [begin, end)."""
        return self._rows(_ENTRIES, (begin, end))

    def governance(self, end: int) -> Iterator[tuple[int, bytes]]:
        """Yield (index, statement) of the entries that the column calls governance."""
        return self._rows(_GOVERNANCE, (end,))

    def manifests(self, begin: int, end: int) -> dict[int, bytes]:
        """Return the record digests, joined, of the manifests in [begin, end)."""
        return dict(self._rows(_MANIFESTS, (begin, end)))

    def heads(self, begin: int, end: int) -> Iterator[tuple[int, bytes, bytes, bytes]]:
        """Yield (size, root, protected, signature) of heads in (begin, end]."""
        return self._rows(_HEADS, (begin, end))

    def head_before(self, size: int) -> int:
        """Return the size of the last head up to ``size``, 0 where there is none."""
        return int(self._first(_HEAD_BEFORE, (size,))[0])

    def root_at(self, size: int) -> bytes | None:
        """Return the root signed at ``size``, None if no head was."""
        row = self._first("SELECT root FROM head WHERE log = 1 AND size = ?", (size,))
        return None if row is None else bytes(row[0])

    def records(
        self, low: bytes, high: bytes
    ) -> Iterator[tuple[bytes, int, bytes | None]]:
        """Yield (digest, size, bytes or None for a file) by digest in [low, high)."""
        return self._rows(_RECORDS, (low, high))

    def record(self, digest: bytes) -> bytes | None:
        """Return the bytes of a record that is a row, None where there is none."""
        row = self._first("SELECT content FROM record WHERE digest = ?", (digest,))
        return None if row is None or row[0] is None else bytes(row[0])
