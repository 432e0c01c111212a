"""The index database: what a follower read from the log, ready for questions.

Droppable: everything here is made from log entries by ``services.follow``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Engine

from trace_node.store.log import OWN_LOG
from trace_node.store.rows import insert_rows
from trace_node.store.statements import IndexStatements
from trace_node.store.typed import count


@dataclass(frozen=True, slots=True)
class Mention:
    """An entry that speaks of a record, and the record's place in it."""

    log: int
    index: int
    position: int


class SqlIndex:
    """Reads and fills the index of one center."""

    def __init__(self, engine: Engine, reader: Engine) -> None:
        self._engine = engine
        self._reader = reader
        self._sql = IndexStatements(engine.dialect)

    def cursor(self, log: int = OWN_LOG) -> int:
        """Return how many entries of ``log`` have been read."""
        with self._reader.connect() as connection:
            row = connection.exec_driver_sql(self._sql.cursor, (log,)).fetchone()
        return count(row[0]) if row else 0

    def advance(
        self,
        size: int,
        rows: Sequence[tuple[bytes, int, int]],
        subjects: Sequence[tuple[str, int]] = (),
        log: int = OWN_LOG,
    ) -> None:
        """Add what entries said and move the cursor, as one.

        Args:
            size: entries read so far.
            rows: (digest, entry index, position) of records.
            subjects: (DID or "", entry index) of governance entries.
            log: whose entries.
        """
        with self._engine.begin() as connection:
            if subjects:
                connection.exec_driver_sql(
                    self._sql.insert_subject,
                    [(subject, log, index) for subject, index in subjects],
                )
            if rows:
                insert_rows(
                    connection,
                    self._sql.insert_commitment,
                    [(digest, log, index, at) for digest, index, at in rows],
                )
            connection.exec_driver_sql(self._sql.move_cursor, (log, size))

    def add(self, rows: Sequence[tuple[bytes, int, int]], log: int = OWN_LOG) -> None:
        """Add rows of entries whose content came later; the cursor stays."""
        if rows:
            with self._engine.begin() as connection:
                insert_rows(
                    connection,
                    self._sql.insert_commitment,
                    [(digest, log, index, at) for digest, index, at in rows],
                )

    def governance_of(self, subject: str, log: int = OWN_LOG) -> list[int]:
        """Return the governance entries about a DID, or about all ("")."""
        with self._reader.connect() as connection:
            rows = connection.exec_driver_sql(self._sql.subjects, (subject, log))
            return [count(row[0]) for row in rows]

    def mentions(self, digest: bytes) -> list[Mention]:
        """Return every entry read so far that speaks of the record."""
        with self._reader.connect() as connection:
            rows = connection.exec_driver_sql(self._sql.commitments, (digest,))
            return [Mention(*map(count, row)) for row in rows]
