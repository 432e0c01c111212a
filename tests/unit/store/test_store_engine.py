"""What must be true of a database before it is used, and lost updates."""

import sqlite3
import sys
from threading import Thread

import pytest
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError

from trace_node.errors import StoreCorrupt
from trace_node.store import engine as engines
from trace_node.store.engine import MENDED, open_sqlite, reading, sqlite_driver

THREADS, TURNS = 8, 25


def pragma(engine, name):
    with reading(engine).connect() as connection:
        return connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()


@pytest.fixture
def engine(tmp_path):
    """A SQLite file, whatever the other tests of this folder run on."""
    engine = open_sqlite(tmp_path / "center.db")
    yield engine
    engine.dispose()


def test_a_database_is_wal_and_synchronous_full(engine):
    assert pragma(engine, "journal_mode") == "wal"
    assert pragma(engine, "synchronous") == 2
    assert pragma(engine, "foreign_keys") == 1


def test_only_what_can_be_rebuilt_is_synchronous_normal(tmp_path):
    engine = open_sqlite(tmp_path / "index.db", synchronous="NORMAL")
    assert (pragma(engine, "journal_mode"), pragma(engine, "synchronous")) == ("wal", 1)
    engine.dispose()


@pytest.mark.parametrize("level", ["OFF", "EXTRA", ""])
def test_no_other_durability_can_be_asked_for(tmp_path, level):
    with pytest.raises(KeyError):
        open_sqlite(tmp_path / "center.db", synchronous=level)


class Deaf(sqlite3.Cursor):
    """A library that keeps its own journal mode and durability."""

    ignored = ""

    def execute(self, sql, *rest):
        if self.ignored in sql and "=" in sql:
            sql = sql.partition("=")[0]
        return super().execute(sql, *rest)


@pytest.mark.parametrize("ignored", ["journal_mode", "synchronous"])
def test_a_database_that_ignores_the_settings_is_not_used(
    tmp_path, monkeypatch, ignored
):
    class Stubborn(sqlite3.Connection):
        def cursor(self, factory=None):
            made = super().cursor(Deaf)
            made.ignored = ignored
            return made

    class Driver:
        def __getattr__(self, name):
            return getattr(sqlite3, name)

        @staticmethod
        def connect(*args, **kwargs):
            connection = sqlite3.connect(*args, factory=Stubborn, **kwargs)
            # The library's own default of synchronous is FULL: move it away.
            sqlite3.Connection.cursor(connection).execute("PRAGMA synchronous=OFF")
            return connection

    monkeypatch.setattr(engines, "sqlite_driver", Driver)
    engine = open_sqlite(tmp_path / "center.db")
    with pytest.raises(StoreCorrupt, match="are needed so that nothing"):
        pragma(engine, "user_version")
    engine.dispose()


@pytest.mark.skipif(
    sys.platform != "linux" or sqlite_driver() is sqlite3, reason="no wheel here"
)
def test_the_library_has_no_wal_reset_bug():
    version = tuple(map(int, sqlite_driver().sqlite_version.split(".")))
    assert version >= MENDED


def count_up(begin):
    """One read-modify-write transaction."""
    with begin() as connection:
        run = connection.exec_driver_sql
        (value,) = run("SELECT value FROM counter").fetchone()
        run("UPDATE counter SET value = ?", (value + 1,))


def count_with_threads(engine):
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE counter (value INTEGER)")
        connection.exec_driver_sql("INSERT INTO counter VALUES (0)")
    errors = []

    def run():
        try:
            for _ in range(TURNS):
                count_up(engine.begin)
        except OperationalError as error:
            errors.append(error)

    threads = [Thread(target=run) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with engine.connect() as connection:
        return connection.exec_driver_sql(
            "SELECT value FROM counter"
        ).scalar_one(), errors


def test_no_read_modify_write_is_lost(engine):
    assert count_with_threads(engine) == (THREADS * TURNS, [])


def test_the_drivers_own_begin_would_lose_some(tmp_path):
    # The negative control: what `_begin` is there for.
    engine = create_engine(
        f"sqlite:///{tmp_path / 'plain.db'}",
        connect_args={"timeout": 15, "check_same_thread": False},
    )
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode=WAL")
    value, errors = count_with_threads(engine)
    engine.dispose()
    assert value < THREADS * TURNS or errors


def test_a_reader_waits_for_no_writer(engine):
    with engine.begin() as writer:
        writer.exec_driver_sql("CREATE TABLE t (a)")
        assert pragma(engine, "user_version") == 0
