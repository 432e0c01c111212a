"""Copy a center database while it is written to: one instant of it, whole.

    SQLite       page by page through the online backup API, from a read
                 transaction that stays open, so that the copy is of one instant;
                 in WAL mode a reader never makes a writer wait
    PostgreSQL   row by row from one REPEATABLE READ transaction

Either way the copy is one SQLite file without a journal beside it: an embedded
center that every command can read, also from a read-only medium. And back again:
``load_rows`` fills an empty database of either kind in one transaction.
"""

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, func, insert, select

from trace_node.errors import Conflict, Misuse, Overloaded, StoreCorrupt
from trace_node.store.appending import unpack_range
from trace_node.store.engine import BUSY_SECONDS, open_sqlite, sqlite_driver
from trace_node.store.files import sync_folder
from trace_node.store.log import OWN_LOG
from trace_node.store.migrate import upgrade
from trace_node.store.tables import CenterTable
from trace_node.store.typed import blob, count

PAGES = 256  # copied at once: 1 MiB
ROWS = 1_000  # inserted at once
TRIES = 100  # instants tried until one has its signed head
PAUSE = 0.005  # seconds between them

_NEVER = (
    "at no moment did the database end at the head signed last: "
    "if the center is read-only, /health/ready says why; try again else"
)

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Instant:
    """Where the log ends in the copy."""

    size: int
    root: bytes


Accept = Callable[[Instant], bool]  # whether this instant will do


def copy_sqlite(
    source: Path, target: Path, accept: Accept, progress: Progress
) -> Instant:
    """Copy the database ``source``; durable on return.

    Args:
        source: a SQLite file that may be in use.
        target: a file that is written anew.
        accept: asked before anything is copied; another instant is tried else.
        progress: told (pages done, pages).

    Raises:
        StoreCorrupt: the database cannot be read.
        Overloaded: no instant was accepted.
    """
    driver = sqlite_driver()
    _drop(target)
    try:
        reader = driver.connect(
            f"{source.resolve().as_uri()}?mode=ro",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
        )
        try:
            instant = _settle(reader, accept)
            writer = driver.connect(target)
            try:
                # The open transaction keeps the instant while others write on.
                reader.backup(
                    writer,
                    pages=PAGES,
                    progress=lambda _, left, total: progress(total - left, total),
                )
            finally:
                writer.close()
            reader.execute("ROLLBACK")
        finally:
            reader.close()
    except (driver.Error, UnicodeDecodeError) as error:
        raise StoreCorrupt(f"cannot be copied: {error}", where=source.name) from None
    _close(target)
    return instant


def _settle(reader: Any, accept: Accept) -> Instant:
    """Leave ``reader`` in a transaction at an instant that is accepted."""
    for _ in range(TRIES):
        reader.execute("BEGIN")
        row = reader.execute(
            "SELECT size, frontier FROM log_head WHERE log = ?", (OWN_LOG,)
        ).fetchone()
        instant = _instant(row)
        if accept(instant):
            return instant
        reader.execute("ROLLBACK")
        time.sleep(PAUSE)
    raise Overloaded(_NEVER)


def _instant(row: Any) -> Instant:
    if row is None:
        raise StoreCorrupt("the log has no head row")
    range_ = unpack_range(count(row[0]), blob(row[1]))
    return Instant(range_.size, range_.root())


def copy_rows(
    source: Engine, target: Path, accept: Accept, progress: Progress
) -> Instant:
    """Do as ``copy_sqlite`` with a database of any kind, by its rows.

    The schema must be the newest: a center that has been started has it.
    """
    _drop(target)
    engine = open_sqlite(target)
    try:
        upgrade(engine, "center")
        with _reader(source) as reader:
            _same_version(reader, engine)
            instant = _settle_rows(reader, accept)
            with engine.begin() as writer:
                _stream(reader, writer, progress)
            reader.rollback()
    finally:
        engine.dispose()
    _close(target)
    return instant


def _reader(engine: Engine) -> Connection:
    """Return a connection whose transactions see one instant each."""
    if engine.dialect.name == "postgresql":
        engine = engine.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )
    return engine.execution_options(trace_node_reading=True).connect()


def _same_version(reader: Connection, engine: Engine) -> None:
    """Refuse to read rows by tables that are not theirs.

    Raises:
        Misuse: the center was not started since the program was upgraded.
    """
    question = "SELECT version_num FROM alembic_version_center"
    with engine.connect() as connection:
        newest = connection.exec_driver_sql(question).scalars().all()
    if reader.exec_driver_sql(question).scalars().all() != newest:
        raise Misuse("the database is of another version: start the center once")
    reader.rollback()


def _settle_rows(reader: Connection, accept: Accept) -> Instant:
    head = CenterTable.metadata.tables["log_head"]
    question = select(head.c.size, head.c.frontier).where(head.c.log == OWN_LOG)
    for _ in range(TRIES):
        instant = _instant(reader.execute(question).first())
        if accept(instant):
            return instant
        reader.rollback()
        time.sleep(PAUSE)
    raise Overloaded(_NEVER)


def check_empty(target: Engine) -> None:
    """Make the schema, and see that no center is in it.

    Raises:
        Conflict: there is a log in it already.
    """
    upgrade(target, "center")
    log = CenterTable.metadata.tables["log"]
    with target.connect() as connection:
        if connection.execute(select(log.c.id)).first():
            raise Conflict("the database holds a center already")


def load_rows(source: Path, target: Engine, progress: Progress) -> None:
    """Fill an empty center database from the copy ``source``, all or nothing.

    Raises:
        Conflict: there is a log in it already.
    """
    engine = open_sqlite(source)
    try:
        upgrade(engine, "center")  # a copy of an earlier version
        upgrade(target, "center")
        with _reader(engine) as reader, target.begin() as writer:
            if target.dialect.name == "postgresql":
                writer.exec_driver_sql("SET LOCAL statement_timeout = 0")
            log = CenterTable.metadata.tables["log"]
            if writer.execute(select(log.c.id)).first():
                raise Conflict("the database holds a center already")
            _stream(reader, writer, progress)
    finally:
        engine.dispose()


def _stream(reader: Connection, writer: Connection, progress: Progress) -> None:
    """Copy the rows of all tables, parents first, ``ROWS`` at a time."""
    tables = CenterTable.metadata.sorted_tables
    total = sum(
        reader.scalar(select(func.count()).select_from(table)) or 0 for table in tables
    )
    done = 0
    for table in tables:
        made = insert(table)
        question = select(table).order_by(*table.primary_key.columns)
        found = reader.execution_options(yield_per=ROWS).execute(question)
        for part in found.mappings().partitions(ROWS):
            rows = [dict(row) for row in part]
            writer.execute(made, rows)
            done += len(part)
            progress(done, total)


def _drop(path: Path) -> None:
    """Remove a database with what may lie beside it."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _close(path: Path) -> None:
    """Make a copy one durable file: no journal that could be left behind."""
    connection = sqlite_driver().connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode=DELETE").fetchone()
    finally:
        connection.close()
    _sync(path)


def forget_staged(path: Path, digests: Iterable[bytes]) -> None:
    """Drop records from a copy that no entry named and whose file has gone since."""
    driver = sqlite_driver()
    connection = driver.connect(path, isolation_level=None)
    try:
        connection.execute("BEGIN")
        connection.executemany(
            "DELETE FROM record WHERE digest = ? AND staged IS NOT NULL",
            [(digest,) for digest in digests],
        )
        connection.execute("COMMIT")
    finally:
        connection.close()
    _sync(path)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    sync_folder(path.parent)
