"""Write rows again that changed at rest; the only updates a log ever sees.

What may stand in a row is decided elsewhere (``services.repair``): nothing is
written here that does not lead to the signed head or to its own digest.
"""

from collections.abc import Sequence

from sqlalchemy import Engine, delete, insert, update
from sqlalchemy.dialects import postgresql, sqlite

from trace_node.store.log import OWN_LOG, LogEntry
from trace_node.store.tables import CenterTable, IndexTable


class Mender:
    """Short transactions on a center database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._made = postgresql if engine.dialect.name == "postgresql" else sqlite

    def entries(self, entries: Sequence[LogEntry]) -> None:
        """Put entries in their places, whatever stands there."""
        table = CenterTable.metadata.tables["entry"]
        with self._engine.begin() as connection:
            for entry in entries:
                values = {
                    "kind": entry.kind,
                    "recorded": entry.recorded,
                    "identity": entry.identity,
                    "statement": entry.statement,
                }
                place = {"log": OWN_LOG, "entry_index": entry.index}
                made = self._made.insert(table).values(**place, **values)
                connection.execute(
                    made.on_conflict_do_update(index_elements=list(place), set_=values)
                )

    def manifest(self, index: int, digests: bytes) -> None:
        """Put the record list of a manifest entry in its place."""
        table = CenterTable.metadata.tables["manifest"]
        with self._engine.begin() as connection:
            connection.execute(
                delete(table).where(
                    table.c.log == OWN_LOG, table.c.entry_index == index
                )
            )
            connection.execute(
                insert(table).values(log=OWN_LOG, entry_index=index, digests=digests)
            )

    def record(self, digest: bytes, size: int, content: bytes | None) -> None:
        """Put a record in its place; ``content`` is None for a file."""
        table = CenterTable.metadata.tables["record"]
        with self._engine.begin() as connection:
            found = connection.execute(
                update(table)
                .where(table.c.digest == digest)
                .values(size=size, content=content)
            )
            if not found.rowcount:
                connection.execute(
                    insert(table).values(
                        digest=digest, size=size, content=content, staged=None
                    )
                )

    def forget_record(self, digest: bytes) -> None:
        """Remove a row whose name is no record's: a digest that changed at rest."""
        table = CenterTable.metadata.tables["record"]
        with self._engine.begin() as connection:
            connection.execute(delete(table).where(table.c.digest == digest))

    def head(self, size: int, root: bytes, protected: bytes, signature: bytes) -> None:
        """Put a signed head in its place."""
        table = CenterTable.metadata.tables["head"]
        values = {
            "root": root,
            "receipt_protected": protected,
            "receipt_signature": signature,
        }
        place = {"log": OWN_LOG, "size": size}
        made = self._made.insert(table).values(**place, **values)
        with self._engine.begin() as connection:
            connection.execute(
                made.on_conflict_do_update(index_elements=list(place), set_=values)
            )

    def reindex(self) -> None:
        """Let the database make its own indexes from the tables again."""
        with self._engine.begin() as connection:
            connection.exec_driver_sql("REINDEX")


def empty_index(engine: Engine) -> None:
    """Forget all of an index database; the follower reads the log again."""
    with engine.begin() as connection:
        for table in IndexTable.metadata.sorted_tables:
            connection.execute(delete(table))
