"""The SQL of the hot paths, compiled once from the tables for one dialect.

Made from the tables, so names and types cannot drift apart from them; run as
plain strings with plain tuples (``Connection.exec_driver_sql``), so that no
per-row work of the ORM or of bind processors is paid. Values stand in the order
in which a statement names them, on every engine.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ARRAY,
    Dialect,
    LargeBinary,
    any_,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql import ClauseElement

from trace_node.store.tables import (
    Commitment,
    Cursor,
    Entry,
    GovernanceSubject,
    Head,
    LogHead,
    Manifest,
    Published,
    Record,
)


class Statements:
    """Every statement by name; values are positional, in the order commented."""

    def __init__(self, dialect: Dialect) -> None:
        self._postgres = dialect.name == "postgresql"
        self._dialect = _positional(dialect)
        entry, head, log_head = _t(Entry), _t(Head), _t(LogHead)
        manifest, record = _t(Manifest), _t(Record)
        b = bindparam
        head_row = select(log_head.c.size, log_head.c.epoch, log_head.c.frontier).where(
            log_head.c.log == b("log")
        )
        # SQLite has no FOR UPDATE and leaves it out: BEGIN IMMEDIATE is its lock.
        self.lock_head = self._text(head_row.with_for_update())
        self.read_head = self._text(head_row)
        # size, epoch, frontier, log, epoch
        self.move_head = self._text(
            update(log_head)
            .values(size=b("a"), epoch=b("b"), frontier=b("c"))
            .where(log_head.c.log == b("d"), log_head.c.epoch == b("e"))
        )
        self.touch_head = self._text(
            update(log_head)
            .values(epoch=log_head.c.epoch)
            .where(log_head.c.log == b("log"))
        )
        self.insert_head = self._text(insert(head))
        published = _t(Published)
        self.published = self._text(
            select(published.c.size, published.c.second, published.c.note).where(
                published.c.log == b("log")
            )
        )
        insert_published = self._insert(published)
        # log, size, second, note; never back
        self.publish = self._text(
            insert_published.on_conflict_do_update(
                index_elements=["log"],
                set_={
                    name: insert_published.excluded[name]
                    for name in ("size", "second", "note")
                },
                where=published.c.size < insert_published.excluded.size,
            )
        )
        self.insert_entry = self._text(insert(entry))
        self.insert_manifest = self._text(
            self._insert(manifest).on_conflict_do_nothing()
        )
        # The same record may come again in another statement: the first stays.
        self.insert_record = self._text(self._insert(record).on_conflict_do_nothing())
        # A record whose `staged` is below zero is doomed: for all but `drop` it is
        # not here (store.vault).
        staged = record.c.staged >= literal_column("0")
        self.unstage = self._text(
            update(record)
            .values(staged=null())
            .where(record.c.digest == b("digest"), staged)
        )
        # content, digest
        self.fill_record = self._text(
            update(record)
            .values(staged=null(), content=b("content"))
            .where(record.c.digest == b("digest"), record.c.content.is_(None))
        )
        self.any_staged = self._text(
            select(record.c.staged)
            .where(record.c.staged.is_not(None))
            .limit(literal_column("1"))
            .offset(literal_column("0"))
        )
        # log, size
        self.root_at = self._text(
            select(head.c.root).where(head.c.log == b("log"), head.c.size == b("size"))
        )
        # log, index
        self.head_covering = self._text(
            select(
                head.c.size,
                head.c.root,
                head.c.receipt_protected,
                head.c.receipt_signature,
            )
            .where(head.c.log == b("log"), head.c.size > b("index"))
            .order_by(head.c.size)
            .limit(literal_column("1"))
            .offset(literal_column("0"))
        )
        span = (
            entry.c.log == b("log"),
            entry.c.entry_index >= b("begin"),
            entry.c.entry_index < b("end"),
        )
        order = entry.c.entry_index
        whole = select(
            entry.c.entry_index,
            entry.c.kind,
            entry.c.recorded,
            entry.c.identity,
            entry.c.statement,
        ).where(*span)
        # log, begin, end
        self.entries = self._text(
            select(entry.c.statement).where(*span).order_by(order)
        )
        self.full_entries = self._text(whole.order_by(order))
        self.governance = self._text(
            whole.where(entry.c.kind == literal_column("3")).order_by(order)
        )
        # The tick is the first entry of its second, so walking back from an entry
        # meets it at once. Not asked for by its time: a time that changed at rest
        # would find another tick. log, index
        self.tick_before = self._text(
            select(*whole.selected_columns)
            .where(
                entry.c.log == b("log"),
                entry.c.entry_index <= b("index"),
                or_(
                    entry.c.kind == literal_column("2"),
                    entry.c.entry_index == literal_column("0"),
                ),
            )
            .order_by(order.desc())
            .limit(literal_column("1"))
            .offset(literal_column("0"))
        )
        self.manifest = self._text(
            select(manifest.c.digests).where(
                manifest.c.log == b("log"), manifest.c.entry_index == b("index")
            )
        )
        self._vault(record)
        self._known = lru_cache(512)(self._known_of)

    def _vault(self, record: Any) -> None:
        b = bindparam
        staged = record.c.staged >= literal_column("0")
        # digest
        self.record = self._text(
            select(record.c.size, record.c.content).where(
                record.c.digest == b("digest"), or_(record.c.staged.is_(None), staged)
            )
        )
        self.staged_bytes = self._text(
            select(func.coalesce(func.sum(record.c.size), literal_column("0"))).where(
                record.c.staged.is_not(None)
            )
        )
        self.staged_digests = self._text(
            select(record.c.digest)
            .where(staged, record.c.staged < b("before"))
            .order_by(record.c.staged)
            .limit(literal_column("1000"))
            .offset(literal_column("0"))
        )
        self.drop_staged = self._text(
            delete(record).where(
                record.c.digest == b("digest"), staged, record.c.content.is_not(None)
            )
        )
        # doom (seconds below zero), digest; after `drop_staged`, so only of blobs
        self.doom = self._text(
            update(record)
            .values(staged=b("doom"))
            .where(record.c.digest == b("digest"), staged)
        )
        doomed = record.c.staged < literal_column("0")
        self.doom_of = self._text(
            select(record.c.staged).where(record.c.digest == b("digest"), doomed)
        )
        # after (seconds below zero: doomed before)
        self.doomed = self._text(
            select(record.c.digest, record.c.staged)
            .where(doomed, record.c.staged > b("after"))
            .limit(literal_column("1000"))
            .offset(literal_column("0"))
        )
        # digest, doom
        self.forget = self._text(
            delete(record).where(
                record.c.digest == b("digest"), record.c.staged == b("doom")
            )
        )

    def known(self, log: int, identities: Sequence[bytes]) -> tuple[str, Any]:
        """Return the statement for the indexes of identities, and its values."""
        if self._postgres:  # one text for any number, so the server plans it once
            return self._known(1), (log, list(identities))
        return self._known(len(identities)), (log, *identities)

    def _known_of(self, count: int) -> str:
        entry = _t(Entry)
        names: list[Any] = [bindparam(f"i{n}") for n in range(count)]
        wanted = (
            entry.c.identity == any_(bindparam("i", type_=ARRAY(LargeBinary)))
            if self._postgres
            else entry.c.identity.in_(names)
        )
        return self._text(
            select(entry.c.identity, entry.c.entry_index).where(
                entry.c.log == bindparam("log"), wanted
            )
        )

    def _insert(self, table: Any) -> Any:
        return (postgresql if self._postgres else sqlite).insert(table)

    def _text(self, statement: ClauseElement) -> str:
        return str(statement.compile(dialect=self._dialect))


class IndexStatements:
    """The follower's statements, on the index database."""

    def __init__(self, dialect: Dialect) -> None:
        commitment, cursor = _t(Commitment), _t(Cursor)
        made = postgresql if dialect.name == "postgresql" else sqlite
        dialect = _positional(dialect)

        def sql(statement: ClauseElement) -> str:
            return str(statement.compile(dialect=dialect))

        self.insert_commitment = sql(made.insert(commitment).on_conflict_do_nothing())
        insert_cursor = made.insert(cursor)
        self.insert_subject = sql(
            made.insert(_t(GovernanceSubject)).on_conflict_do_nothing()
        )
        subject = _t(GovernanceSubject)
        self.subjects = sql(
            select(subject.c.entry_index)
            .where(
                subject.c.subject == bindparam("subject"),
                subject.c.log == bindparam("log"),
            )
            .order_by(subject.c.entry_index)
        )
        self.move_cursor = sql(
            # Forward only: another process of the center may have read further.
            insert_cursor.on_conflict_do_update(
                index_elements=["log"],
                set_={"size": insert_cursor.excluded.size},
                where=cursor.c.size < insert_cursor.excluded.size,
            )
        )
        self.cursor = sql(select(cursor.c.size).where(cursor.c.log == bindparam("log")))
        self.commitments = sql(
            select(commitment.c.log, commitment.c.entry_index, commitment.c.position)
            .where(commitment.c.digest == bindparam("digest"))
            .order_by(commitment.c.log, commitment.c.entry_index)
        )


def _positional(dialect: Dialect) -> Dialect:
    """Return a dialect that numbers values by their place and not by name."""
    if dialect.name == "postgresql":
        return postgresql.psycopg.dialect(paramstyle="format")  # type: ignore[no-untyped-call]
    return dialect


def _t(model: Any) -> Any:
    return model.__table__
