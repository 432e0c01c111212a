"""The log in SQL: the sequencer's ``LogStore``, and reading beside it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, insert, select
from sqlmodel import col

from trace_node.errors import Conflict, Misuse, NotFound, StoreCorrupt
from trace_node.ledger.sequencer import StoredHead
from trace_node.store.appending import (
    KIND_GOVERNANCE,
    KIND_MANIFEST,
    KIND_RECORD,
    KIND_TICK,
    OWN_LOG,
    ROW_LIMIT,
    Content,
    SqlAppending,
    unpack_range,
)
from trace_node.store.statements import Statements
from trace_node.store.tables import Log, LogHead
from trace_node.store.typed import blob, count
from trace_node.trust.merkle import HASH_SIZE

__all__ = [
    "KIND_GOVERNANCE",
    "KIND_MANIFEST",
    "KIND_RECORD",
    "KIND_TICK",
    "OWN_LOG",
    "ROW_LIMIT",
    "Content",
    "HeadRow",
    "LogEntry",
    "SqlLog",
]


@dataclass(frozen=True, slots=True)
class LogEntry:
    """An entry as stored: its index, kind, record time (Unix seconds), bytes."""

    index: int
    kind: int
    recorded: int
    identity: bytes
    statement: bytes


@dataclass(frozen=True, slots=True)
class HeadRow:
    """A signed head with what is needed to make any of its receipts again."""

    size: int
    root: bytes
    receipt_protected: bytes
    receipt_signature: bytes


class SqlLog:
    """A log in a center database: ``sequencer.LogStore`` plus reading."""

    def __init__(self, engine: Engine, reader: Engine, log: int = OWN_LOG) -> None:
        self._engine = engine
        self._reader = reader
        self._log = log
        self._sql = Statements(engine.dialect)

    def create(self, origin: str) -> None:
        """Make the empty log.

        Raises:
            Conflict: the database already holds one.
        """
        with self._engine.begin() as connection:
            if connection.execute(select(col(Log.id))).first():
                raise Conflict("this center already has a log")
            connection.execute(insert(Log).values(id=self._log, origin=origin))
            connection.execute(
                insert(LogHead).values(log=self._log, size=0, epoch=0, frontier=b"")
            )

    def open(self, origin: str, *, founding: bool) -> None:
        """See that the database is that of the log ``origin``.

        Args:
            origin: by the settings.
            founding: make the log, which must not be there yet.

        Raises:
            Misuse: it is another's, or has none, or has one already.
        """
        there = self.origin()
        if there is None:
            if not founding:
                raise Misuse(
                    "the database holds no log: is it the one of this center? "
                    "(setting database_url)"
                )
            self.create(origin)
        elif founding and self.head().range.size:
            raise Misuse(f"the database holds a log already: {there}")
        elif there != origin:
            raise Misuse(f"the database is of {there}, the settings say otherwise")

    def origin(self) -> str | None:
        """Return the log's origin, None before ``create``."""
        with self._reader.connect() as connection:
            return connection.scalar(
                select(col(Log.origin)).where(col(Log.id) == self._log)
            )

    @contextmanager
    def append(self) -> Iterator[SqlAppending]:
        """Open a transaction under the head lock (``sequencer.LogStore``)."""
        with self._engine.begin() as connection:
            yield SqlAppending(connection, self._sql, self._log)

    def head(self) -> StoredHead:
        """Return the head as last committed."""
        with self._reader.connect() as connection:
            row = connection.exec_driver_sql(
                self._sql.read_head, (self._log,)
            ).fetchone()
        if row is None:
            raise StoreCorrupt(f"log {self._log} has no head row")
        return StoredHead(unpack_range(count(row[0]), blob(row[2])), count(row[1]))

    def published(self) -> tuple[int, int, bytes] | None:
        """Return (size, Unix second, note) of what is published, None at first."""
        with self._reader.connect() as connection:
            row = connection.exec_driver_sql(
                self._sql.published, (self._log,)
            ).fetchone()
        return None if row is None else (row[0], row[1], bytes(row[2]))

    def publish(self, size: int, second: int, note: bytes) -> None:
        """Publish a checkpoint, unless a greater one is published already."""
        with self._engine.begin() as connection:
            connection.exec_driver_sql(
                self._sql.publish, (self._log, size, second, note)
            )

    def head_covering(self, index: int) -> HeadRow:
        """Return the first head signed over entry ``index``: its receipt's head.

        Raises:
            NotFound: the log has no such entry.
        """
        with self._reader.connect() as connection:
            row = connection.exec_driver_sql(
                self._sql.head_covering, (self._log, index)
            ).fetchone()
        if row is None or index < 0:
            raise NotFound(f"no entry {index}")
        return HeadRow(count(row[0]), blob(row[1]), blob(row[2]), blob(row[3]))

    def entry(self, index: int) -> LogEntry:
        """Return one entry.

        Raises:
            NotFound: the log has no such entry.
        """
        for entry in self.entries(index, index + 1):
            return entry
        raise NotFound(f"no entry {index}")

    def entries(self, begin: int, end: int) -> list[LogEntry]:
        """Return the entries [begin, end), fewer where the log ends before."""
        with self._reader.connect() as connection:
            rows = connection.exec_driver_sql(
                self._sql.full_entries, (self._log, begin, end)
            )
            return [_entry(row) for row in rows]

    def statements(self, begin: int, end: int) -> list[bytes]:
        """Return only the entry bytes of [begin, end)."""
        with self._reader.connect() as connection:
            rows = connection.exec_driver_sql(
                self._sql.entries, (self._log, begin, end)
            )
            return [blob(row[0]) for row in rows]

    def governance(self, begin: int, end: int) -> list[LogEntry]:
        """Return the governance entries of [begin, end), in order.

        The ``kind`` column decides, so this is for the center's own fold; an
        audit reads every entry and decides by its bytes.
        """
        with self._reader.connect() as connection:
            rows = connection.exec_driver_sql(
                self._sql.governance, (self._log, begin, end)
            )
            return [_entry(row) for row in rows]

    def tick_before(self, index: int) -> LogEntry:
        """Return the entry that set the record time of entry ``index``.

        Raises:
            NotFound: there is none, which a sound log cannot have.
        """
        with self._reader.connect() as connection:
            row = connection.exec_driver_sql(
                self._sql.tick_before, (self._log, index)
            ).fetchone()
        if row is None:
            raise NotFound(f"no tick before entry {index}")
        return _entry(row)

    def complete(
        self,
        index: int,
        digests: Sequence[bytes],
        records: Sequence[tuple[bytes, int, bytes | None]],
    ) -> None:
        """Add the content of an entry that was registered without it.

        ``records`` are (digest, size, bytes or None for a file).
        """
        with self._engine.begin() as connection:
            if digests:
                connection.exec_driver_sql(
                    self._sql.insert_manifest, (self._log, index, b"".join(digests))
                )
            if records:
                connection.exec_driver_sql(
                    self._sql.insert_record,
                    [(digest, size, None, data) for digest, size, data in records],
                )

    def manifest(self, index: int) -> list[bytes]:
        """Return the record digests of manifest entry ``index``, in order.

        Raises:
            NotFound: the center was not given them.
        """
        with self._reader.connect() as connection:
            row = connection.exec_driver_sql(
                self._sql.manifest, (self._log, index)
            ).fetchone()
        if row is None:
            raise NotFound(f"no record list for entry {index}")
        data = blob(row[0])
        return [data[at : at + HASH_SIZE] for at in range(0, len(data), HASH_SIZE)]

    def has_manifest(self, index: int) -> bool:
        """Say whether the record list of manifest entry ``index`` is here."""
        try:
            self.manifest(index)
        except NotFound:
            return False
        return True

    def index_of(self, identity: bytes) -> int | None:
        """Return the index of the statement with ``identity``."""
        with self._reader.connect() as connection:
            row = connection.exec_driver_sql(
                *self._sql.known(self._log, [identity])
            ).fetchone()
        return None if row is None else row[1]


def _entry(row: Any) -> LogEntry:
    index, kind, recorded, identity, statement = row
    return LogEntry(
        count(index), count(kind), count(recorded), blob(identity), blob(statement)
    )
