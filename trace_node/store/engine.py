"""Database engines, and what must be true of one before it is used.

``open_engines`` gives the two that a center works with, on SQLite or, where the
settings name a server, on PostgreSQL (``store.postgres``).

SQLite (docs/adr/0004): WAL and ``synchronous=FULL``, both read back and
asserted, because NORMAL loses acknowledged commits in a power cut. Every
transaction that writes starts with BEGIN IMMEDIATE: the driver's own deferred
BEGIN lets two read-modify-write transactions lose an update without an error.
A library older than 3.51.3 can corrupt the WAL when two connections reset it,
so the mended one from the ``pysqlite3`` wheel is preferred where it exists.
"""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from sqlalchemy import Engine, create_engine, event

from trace_node.errors import Misuse, StoreCorrupt
from trace_node.store.place import Place
from trace_node.store.postgres import (
    RISKS,
    arguments,
    is_postgres,
    missing,
    open_postgres,
    parsed,
)

MENDED = (3, 51, 3)
BUSY_SECONDS = 15


def sqlite_driver() -> ModuleType:
    """Return the SQLite module without the WAL-reset bug where there is one."""
    if sqlite3.sqlite_version_info >= MENDED:
        return sqlite3
    try:
        from pysqlite3 import dbapi2  # noqa: PLC0415 - only where the wheel exists
    except ImportError:  # one writer connection a process is then the guard
        return sqlite3
    return dbapi2  # type: ignore[no-any-return]


def open_sqlite(path: Path, *, synchronous: str = "FULL") -> Engine:
    """Open (or make) a SQLite database the only way this project uses one.

    Args:
        path: the database file.
        synchronous: ``FULL`` for what must survive a power cut, ``NORMAL`` for
            what can be rebuilt.
    """
    driver = sqlite_driver()
    engine = create_engine(
        f"sqlite:///{path}",
        module=driver,
        hide_parameters=True,  # an error is logged; records are nobody's to read there
        pool_size=8,
        max_overflow=8,
        connect_args={
            "timeout": BUSY_SECONDS,
            "check_same_thread": False,
            # We write BEGIN ourselves, see `_begin`.
            "isolation_level": None,
        },
    )
    level = {"NORMAL": 1, "FULL": 2}[synchronous]

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        try:
            mode = cursor.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        except UnicodeDecodeError:  # of the driver, about a schema that is damaged
            raise StoreCorrupt("the schema cannot be read", where=path.name) from None
        cursor.execute(f"PRAGMA synchronous={synchronous}")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA cache_size=-16384")
        cursor.execute("PRAGMA wal_autocheckpoint=4000")
        held = cursor.execute("PRAGMA synchronous").fetchone()[0]
        cursor.close()
        if mode != "wal" or held != level:
            raise StoreCorrupt(
                f"{path.name}: journal_mode={mode}, synchronous={held}; "
                f"wal and {level} are needed so that nothing acknowledged is lost"
            )

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        # Readers say so (execution option) and take no lock; all else may write.
        reading = connection.get_execution_options().get("trace_node_reading")
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine


def reading(engine: Engine) -> Engine:
    """Return a view of ``engine`` whose transactions only read."""
    if engine.dialect.name == "postgresql":
        # One statement, one answer: no BEGIN and COMMIT around it.
        return engine.execution_options(
            trace_node_reading=True, isolation_level="AUTOCOMMIT"
        )
    return engine.execution_options(trace_node_reading=True)


@dataclass(frozen=True, slots=True)
class Engines:
    """The databases of a center: what must not be lost, and what can be remade."""

    center: Engine
    index: Engine

    def dispose(self) -> None:
        """Close every connection that is not in use; new ones are made anew."""
        self.center.dispose()
        self.index.dispose()


def place_of(folder: Path, url: str = "", blobs: str = "") -> Place:
    """Return where the bytes of the center in ``folder`` are.

    Args:
        folder: the center's.
        url: its setting database_url.
        blobs: its setting of that name.

    Raises:
        Misuse: the URL is none of ours.
    """
    server = arguments(parsed(url)) if is_postgres(url) else None
    return Place(folder.resolve(), sqlite_driver().__name__, server, blobs)


def open_engines(
    folder: Path, url: str = "", *, accept: Iterable[str] = (), seconds: float = 10.0
) -> Engines:
    """Open a center's databases.

    Args:
        folder: the center's, for SQLite.
        url: of a PostgreSQL database, or empty.
        accept: risks of that server that the operator accepts (``RISKS``).
        seconds: for a statement there.

    Raises:
        Misuse: the URL is none of ours, or the server runs a risk that nobody
            accepted.
    """
    if not is_postgres(url):
        return Engines(
            open_sqlite(folder / "center.db"),
            open_sqlite(folder / "index.db", synchronous="NORMAL"),
        )
    engines = Engines(
        open_postgres(url, "center", durable=True, accept=accept, seconds=seconds),
        open_postgres(url, "index", durable=False, seconds=seconds),
    )
    found = missing(engines.center, accept)
    if found:
        engines.dispose()
        raise Misuse(
            "the database server is not safe to keep a log on: "
            + "; ".join(f"{risk}: {RISKS[risk]}" for risk in found)
            + f'. Mend it, or set database_accept = "{",".join(found)}"'
        )
    return engines
