"""What a PostgreSQL server must be before a log is kept on it, and deadlines."""

import os
import signal
import time
from threading import Thread

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError

from tests import postgres
from tests.faults.story import ORIGIN
from trace_node.errors import Misuse, ReadOnly, TraceNodeError, Unreachable
from trace_node.store.engine import open_engines, reading
from trace_node.store.log import SqlLog
from trace_node.store.migrate import upgrade
from trace_node.store.postgres import (
    RISKS,
    BoundedConnection,
    is_postgres,
    open_postgres,
    patience,
    risks,
)

SOUND = (160_004, "on", "on", "on", "on", "ANY 1 (a, b)")
ALL = postgres.ACCEPT.split(",")


@pytest.fixture
def database(tmp_path):
    """The name and URL of an empty database."""
    server, name = postgres.shared(), f"pg{os.getpid()}{tmp_path.name[-20:]}".lower()
    url = server.create(name)
    yield name, url
    server.drop(name)


@pytest.fixture
def url(database):
    return database[1]


@pytest.mark.parametrize("commit", ["on", "remote_apply"])
def test_a_sound_server_runs_no_risk(commit):
    assert risks(*SOUND[:4], commit, SOUND[5]) == []


@pytest.mark.parametrize(
    ("at", "value", "risk"),
    [
        (1, "off", "no-fsync"),
        (2, "off", "no-fsync"),
        (3, "off", "no-checksums"),
        (4, "off", "no-standby"),
        (4, "local", "no-standby"),
        (4, "remote_write", "no-standby"),
        (5, "", "no-standby"),
        (5, "  ", "no-standby"),
    ],
)
def test_each_setting_that_is_missing_is_named(at, value, risk):
    told = list(SOUND)
    told[at] = value
    assert risks(*told) == [risk]
    assert risk in RISKS


def test_an_old_server_is_refused():
    with pytest.raises(Misuse, match="PostgreSQL 13 is too old"):
        risks(130_011, *SOUND[1:])


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:secret@h/d",
        "mysql://u:secret@h/d",
        "postgresql+psycopg2://u:secret@h/d",
        "secret",
        "postgresql+psycopg://u:secret@h:port/d",
    ],
)
def test_a_url_of_another_kind_is_refused_and_not_repeated(url):
    with pytest.raises(Misuse) as caught:
        is_postgres(url)
    assert "database_url" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_no_url_is_the_embedded_database():
    assert not is_postgres("")


def test_a_server_that_is_not_safe_is_refused_unless_said(tmp_path, url):
    with pytest.raises(Misuse, match=r"no-fsync.*no-standby") as caught:
        open_engines(tmp_path, url)
    assert "database_accept" in str(caught.value)
    with pytest.raises(Misuse, match="no-standby"):
        open_engines(tmp_path, url, accept=["no-fsync"])
    open_engines(tmp_path, url, accept=ALL).dispose()


def test_a_server_that_became_unsafe_is_read_and_not_written(url):
    # As after a failover to another server.
    safe = open_postgres(url, "center", durable=True, accept=ALL)
    upgrade(safe, "center")
    SqlLog(safe, reading(safe)).create(ORIGIN)
    unsafe = open_postgres(url, "center", durable=True, accept=["no-fsync"])
    log = SqlLog(unsafe, reading(unsafe))
    try:
        assert log.origin() == ORIGIN
        with pytest.raises(ReadOnly, match="no synchronous standby"), log.append():
            pass
        with SqlLog(safe, reading(safe)).append() as tx:
            assert tx.head.range.size == 0
    finally:
        safe.dispose()
        unsafe.dispose()


def test_what_must_last_waits_for_the_disk_and_the_index_need_not(tmp_path, url):
    engines = open_engines(tmp_path, url, accept=ALL)
    levels = []
    for engine in (engines.center, engines.index):
        with reading(engine).connect() as connection:
            levels.append(connection.scalar(text("SHOW synchronous_commit")))
    engines.dispose()
    assert levels == ["on", "off"]


def test_a_server_that_cannot_be_reached_is_told_so(tmp_path):
    url = f"postgresql+psycopg://me:secret@/none?host={tmp_path}"
    with pytest.raises(Unreachable, match="does not answer") as caught:
        open_engines(tmp_path, url)
    assert "secret" not in str(caught.value)


def test_a_server_that_says_nothing_is_given_up(url):
    """A stopped machine keeps its connections open; no time-out of TCP helps."""
    engine = open_postgres(url, "center", durable=True, accept=ALL, seconds=1.0)
    with reading(engine).connect() as connection:
        pid = connection.scalar(text("SELECT pg_backend_pid()"))
        os.kill(pid, signal.SIGSTOP)
        begin = time.monotonic()
        try:
            with pytest.raises(OperationalError, match="did not answer in time"):
                connection.exec_driver_sql("SELECT 1")
            assert time.monotonic() - begin < 5
            assert connection.invalidated
        finally:
            os.kill(pid, signal.SIGCONT)
    with reading(engine).connect() as connection:  # a new one serves
        assert connection.scalar(text("SELECT 1")) == 1
    engine.dispose()


def test_without_a_deadline_a_silent_server_is_waited_for(url):
    """The control: it is the deadline that ends the waiting, and nothing else."""
    connection = BoundedConnection.connect(**_arguments(url))
    connection.deadline = None
    pid = connection.execute("SELECT pg_backend_pid()").fetchone()[0]
    os.kill(pid, signal.SIGSTOP)
    thread = Thread(target=connection.execute, args=("SELECT 1",), daemon=True)
    thread.start()
    thread.join(2)
    waits = thread.is_alive()
    os.kill(pid, signal.SIGCONT)
    thread.join(10)
    connection.close()
    assert waits
    assert not thread.is_alive()


def _arguments(url):
    host = url.partition("host=")[2]
    return {"host": host, "user": "postgres", "dbname": url.split("/")[3].split("?")[0]}


def test_a_statement_that_takes_too_long_is_ended_by_the_server(url):
    engine = open_postgres(url, "center", durable=True, accept=ALL, seconds=1.0)
    with (
        reading(engine).connect() as connection,
        pytest.raises(OperationalError, match="statement timeout"),
    ):
        connection.exec_driver_sql("SELECT pg_sleep(5)")
    engine.dispose()


def test_a_migration_may_take_longer(url):
    engine = open_postgres(url, "center", durable=True, accept=ALL, seconds=1.0)
    with engine.begin() as connection, patience(connection):
        connection.exec_driver_sql("SELECT pg_sleep(2.5)")
    with (
        engine.begin() as connection,
        pytest.raises(OperationalError, match="statement timeout"),
    ):
        connection.exec_driver_sql("SELECT pg_sleep(3)")
    engine.dispose()


def test_whoever_holds_the_head_lock_and_sleeps_loses_it(database):
    """A paused worker: the others go on, and its own commit fails."""
    name, url = database
    engines = [
        open_postgres(url, "center", durable=True, accept=ALL, seconds=s)
        for s in (2.0, 10.0)
    ]
    upgrade(engines[0], "center")
    logs = [SqlLog(engine, reading(engine)) for engine in engines]
    logs[0].create(ORIGIN)
    waited = []

    def other():
        begin = time.monotonic()
        with logs[1].append():
            waited.append(time.monotonic() - begin)

    def sleeper():
        with logs[0].append() as tx:
            thread = Thread(target=other)
            thread.start()
            thread.join(8)
            assert waited, "the lock of a sleeping worker was not let go"
            tx.root_at(1)

    with pytest.raises(DBAPIError, match="idle-in-transaction timeout"):
        sleeper()
    assert 1 < waited[0] < 8
    assert postgres.shared().sql("SELECT count(*) FROM center.log_head", name) == [(1,)]
    for engine in engines:
        engine.dispose()


def test_several_processes_may_migrate_at_once(database):
    name, url = database
    failed = []

    def run():
        engine = open_postgres(url, "center", durable=True, accept=ALL)
        try:
            upgrade(engine, "center")
        except Exception as error:
            failed.append(error)
        finally:
            engine.dispose()

    threads = [Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    rows = postgres.shared().sql("SELECT * FROM center.alembic_version_center", name)
    assert rows == [("center_0002",)]


def test_a_password_is_in_no_error_and_no_repr(tmp_path):
    url = "postgresql+psycopg://me:hunter2hunter2@127.0.0.1:1/none"
    engine = open_postgres(url, "center", durable=False, seconds=1.0)
    with pytest.raises(OperationalError) as caught:
        engine.connect()
    told = f"{caught.value!r} {caught.value} {engine!r} {engine.url}"
    assert "hunter2hunter2" not in told
    with pytest.raises(TraceNodeError) as caught:
        open_engines(tmp_path, url)
    assert "hunter2hunter2" not in str(caught.value)


def test_a_connection_that_is_cut_is_not_used_again(url):
    engine = open_postgres(url, "center", durable=True, accept=ALL)
    with reading(engine).connect() as connection:
        pid = connection.scalar(text("SELECT pg_backend_pid()"))
    postgres.shared().sql(f"SELECT pg_terminate_backend({pid})")
    with (
        pytest.raises((OperationalError, psycopg.Error)),
        reading(engine).connect() as connection,
    ):
        connection.exec_driver_sql("SELECT 1")
    with reading(engine).connect() as connection:
        assert connection.scalar(text("SELECT 1")) == 1
    engine.dispose()
