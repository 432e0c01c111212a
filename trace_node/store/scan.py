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
from trace_node.store.typed import count

BUSY_SECONDS = 15
# SQLite keeps what it is given: a column that was tampered with, or whose bits
# flipped, may hold a text, a number or nothing. Bytes are made of all of them.
_ENTRIES = (
    "SELECT entry_index, kind, recorded, "
    "ifnull(CAST(identity AS BLOB), x''), "
    "ifnull(CAST(statement AS BLOB), x'') FROM entry "
    "WHERE log = 1 AND entry_index >= ? AND entry_index < ? ORDER BY entry_index"
)
_GOVERNANCE = (
    "SELECT entry_index, ifnull(CAST(statement AS BLOB), x'') FROM entry "
    "WHERE log = 1 AND entry_index < ? AND kind = 3 ORDER BY entry_index"
)
_MANIFESTS = (
    "SELECT entry_index, ifnull(CAST(digests AS BLOB), x'') FROM manifest "
    "WHERE log = 1 AND entry_index >= ? AND entry_index < ?"
)
_HEADS = (
    "SELECT size, ifnull(CAST(root AS BLOB), x''), "
    "ifnull(CAST(receipt_protected AS BLOB), x''), "
    "ifnull(CAST(receipt_signature AS BLOB), x'') FROM head "
    "WHERE log = 1 AND size > ? AND size <= ? ORDER BY size"
)
_ROOT = "SELECT ifnull(CAST(root AS BLOB), x'') FROM head WHERE log = 1 AND size = ?"
_HEAD_BEFORE = "SELECT coalesce(max(size), 0) FROM head WHERE log = 1 AND size <= ?"
_RECORDS = (
    "SELECT ifnull(CAST(digest AS BLOB), x''), size, CAST(content AS BLOB) FROM record "
    "WHERE digest >= ? AND digest < ? AND coalesce(staged, 0) >= 0"  # see store.vault
)
_ENDS = (
    "SELECT size, epoch, ifnull(CAST(frontier AS BLOB), x''), "
    "(SELECT max(entry_index) FROM entry WHERE log = 1), "
    "(SELECT count(*) FROM head WHERE log = 1), "
    "(SELECT coalesce(max(size), 0) FROM head WHERE log = 1), "
    "(SELECT count(*) FROM record) FROM log_head WHERE log = 1"
)
SCHEMA = "SELECT type, name, tbl_name, sql FROM sqlite_master"
_LEAST = -(1 << 63)  # SQLite sorts numbers before texts before bytes
_POSITION = (
    "SELECT position FROM commitment WHERE digest = ? AND log = 1 AND entry_index = ?"
)
_SUBJECT = (
    "SELECT 1 FROM governance_subject WHERE subject = ? AND log = 1 AND entry_index = ?"
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

    _least: object = _LEAST  # before every digest, and before what is none

    def __init__(self, path: Path, driver: str) -> None:
        module: Any = import_module(driver)
        # The driver's own message may quote a damaged schema, and fail at that.
        self._error = (module.Error, UnicodeDecodeError)
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
        last = -1 if last is None else count(last)
        return Ends(count(size), count(epoch), frontier, last, heads, top, records)

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
        row = self._first(_ROOT, (size,))
        return None if row is None else row[0]

    def records(
        self, low: bytes, high: bytes
    ) -> Iterator[tuple[bytes, int, bytes | None]]:
        """Yield (digest, size, bytes or None for a file) by digest in [low, high).

        The range from "" begins at everything that is no digest at all.
        """
        return self._rows(_RECORDS, (low or self._least, high))

    def record(self, digest: bytes) -> bytes | None:
        """Return the bytes of a record that is a row, None where there is none."""
        row = self._first(
            "SELECT CAST(content AS BLOB) FROM record WHERE digest = ?", (digest,)
        )
        return None if row is None else row[0]

    def has(self, digest: bytes) -> bool:
        """Say whether there is a row of this record."""
        return (
            self._first("SELECT 1 FROM record WHERE digest = ?", (digest,)) is not None
        )

    def schema(self, branch: str) -> tuple[str, set[tuple[str, ...]]]:
        """Return the version of the schema, and what it is made of."""
        question = f"SELECT version_num FROM alembic_version_{branch}"  # noqa: S608 - ours
        version = self._first(question)
        parts = {tuple(map(str, row)) for row in self._rows(SCHEMA)}
        return str(version and version[0]), parts

    def integrity(self) -> list[str]:
        """Return what the database's own check finds; indexes are compared, too.

        Rows are covered by the tree and by digests, but an index that differs from
        its table answers "never seen" for a statement that is registered.
        """
        found = [str(row[0]) for row in self._rows("PRAGMA integrity_check(20)")]
        return [] if found == ["ok"] else found


class IndexScan(Scan):
    """One read-only connection to an index database."""

    def cursor(self) -> int:
        """Return how many entries have been read into the index."""
        row = self._first("SELECT size FROM cursor WHERE log = 1")
        return count(row[0]) if row else 0

    def position(self, digest: bytes, index: int) -> int | None:
        """Return where entry ``index`` speaks of a record; None: not indexed."""
        row = self._first(_POSITION, (digest, index))
        return None if row is None else row[0]

    def is_subject(self, subject: str, index: int) -> bool:
        """Say whether the index knows a governance entry as one about a DID."""
        return self._first(_SUBJECT, (subject, index)) is not None
