"""PostgreSQL as this project uses it: what must be true of a server, and deadlines.

The log's order and its durability are the server's word here, so the server is
asked before it is believed (docs/adr/0009): ``fsync`` and full page writes on,
data checksums on, a synchronous standby. A failover may lead to another server,
and settings change under open connections, so a transaction that writes asks each
time; it begins only where nothing is missing, or the operator has said in so many
words that it may be (``database_accept``).

Deadlines are on both sides. The server ends a session that holds the head lock
and does nothing (a paused worker must not stop the others), and a statement that
takes too long. The client gives up on a server that says nothing: a machine that
is stopped keeps its connections open, and waiting for it would be for ever.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.errors import Diagnostic, OperationalError
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from trace_node.errors import Misuse, ReadOnly, Unreachable

DRIVER = "postgresql+psycopg"
CONNECT_SECONDS = 5
IDLE_SECONDS = 3.0  # in a transaction: the lock of a paused worker is let go
POOL = 8
_OLDEST = 140_000  # server_version_num; older ones are out of support

# Risk → what it means. The names are the values of the setting.
RISKS = {
    "no-fsync": "fsync or full_page_writes is off: a power cut loses what was told",
    "no-checksums": "data checksums are off: a flipped bit goes unnoticed",
    "no-standby": "no synchronous standby: a failover forks the log",
}
_ASKED = text(
    "SELECT current_setting('server_version_num')::int,"
    " current_setting('fsync'), current_setting('full_page_writes'),"
    " current_setting('data_checksums'), current_setting('synchronous_commit'),"
    " current_setting('synchronous_standby_names')"
)


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that gives up on a server which does not answer.

    The socket is closed at once: cancelling asks the same silent server. What
    became of a COMMIT is then unknown here; the log answers it when it is asked
    again, for a statement that is known gets its first receipt.
    """

    deadline: float | None = 10.0  # seconds for an answer; None: however long

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._doubt = ""
        self.add_notice_handler(self._hear)

    def _hear(self, notice: Diagnostic) -> None:
        if notice.severity_nonlocalized == "WARNING":
            self._doubt = notice.message_primary or "a warning"

    def commit(self) -> None:
        """Commit, or raise where the server cannot promise what it was asked for.

        A session whose wait for the standby is cancelled (``pg_cancel_backend``)
        answers COMMIT as if all were well, with a warning: the commit is on one
        machine.
        """
        self._doubt = ""
        super().commit()
        if self._doubt:
            raise OperationalError(f"the commit may not last: {self._doubt}")

    def wait(
        self, gen: Any, interval: float = 0.1, timeout: float | None = None
    ) -> Any:
        """Run a step of the protocol, at most ``deadline`` seconds."""
        within = self.deadline if timeout is None else timeout
        try:
            return super().wait(gen, interval=interval, timeout=within)
        except OperationalError as error:
            if type(error).__name__ != "_WaitTimeout":  # the library's own, private
                raise
            self.pgconn.finish()
            raise OperationalError("the database did not answer in time") from None


def is_postgres(url: str) -> bool:
    """Say whether ``url`` names a PostgreSQL database.

    Raises:
        Misuse: it names something else, or is no URL. The message does not quote
            it, since it holds a password.
    """
    if not url:
        return False
    if parsed(url).drivername != DRIVER:
        raise Misuse(f"setting database_url: it starts with {DRIVER}://")
    return True


def parsed(url: str) -> URL:
    """Return ``url`` in its parts.

    Raises:
        Misuse: it is no URL.
    """
    try:
        return make_url(url)
    except (ArgumentError, ValueError):
        raise Misuse("setting database_url: not a database URL") from None


def open_postgres(
    url: str,
    schema: str,
    *,
    durable: bool,
    accept: Iterable[str] = (),
    seconds: float = 10.0,
) -> Engine:
    """Open one schema of a PostgreSQL database.

    Args:
        url: ``postgresql+psycopg://user:password@host1,host2/name?…``.
        schema: "center" or "index".
        durable: wait for the disk, here and on the standby; what can be made
            again need not.
        accept: names in ``RISKS`` that the operator takes upon himself.
        seconds: for a statement, on the server and on the client.
    """
    milliseconds = int(seconds * 1000)
    idle = int(min(IDLE_SECONDS, seconds) * 1000)
    # The client waits a little longer, so that a server that lives says why.
    bounded = type("Bounded", (BoundedConnection,), {"deadline": seconds + 1})
    options = {
        "search_path": schema,
        "synchronous_commit": "on" if durable else "off",
        "statement_timeout": milliseconds,
        "lock_timeout": milliseconds,
        "idle_in_transaction_session_timeout": idle,
        # Nobody's habits (datestyle, locale) may change what is read back.
        "client_encoding": "UTF8",
    }
    place = parsed(url)
    given = arguments(place)
    given["options"] = " ".join(f"-c {k}={v}" for k, v in options.items())

    def connect() -> psycopg.Connection[Any]:
        return bounded.connect(**given)  # type: ignore[attr-defined,no-any-return]

    engine = create_engine(
        # What an error or a log line may show of it: no password.
        f"{DRIVER}://",
        creator=connect,
        hide_parameters=True,  # an error is logged; records are nobody's to read there
        pool_size=POOL,
        max_overflow=POOL,
        pool_timeout=seconds,
        pool_use_lifo=True,
        # COMMIT and BEGIN are ours to see; no hidden reset on every check-in.
        pool_reset_on_return="rollback",
    )
    if durable:
        _guard(engine, frozenset(accept))
    return engine


def arguments(place: URL) -> dict[str, str]:
    """Return the parts of a URL as libpq names them."""
    query = {
        name: value if isinstance(value, str) else ",".join(value)
        for name, value in place.query.items()
    }
    found: dict[str, str | None] = {
        "user": place.username,
        "password": place.password,
        "host": place.host,
        "port": str(place.port) if place.port else None,
        "dbname": place.database,
        "connect_timeout": str(CONNECT_SECONDS),
        "application_name": "trace-node",
        # A machine that is gone, and not only silent.
        "keepalives_idle": "5",
        "keepalives_interval": "2",
        "keepalives_count": "3",
        "tcp_user_timeout": "10000",
        **query,
    }
    return {name: value for name, value in found.items() if value is not None}


def _guard(engine: Engine, accepted: frozenset[str]) -> None:
    """Let a transaction that writes begin only where nothing is missing.

    Asked every time: Patroni takes the standby away and gives it back under open
    connections, and a session learns of it with its next statement.
    """

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        if connection.get_execution_options().get("trace_node_reading"):
            return
        found = risks(*connection.exec_driver_sql(str(_ASKED)).one())
        missing = [RISKS[risk] for risk in found if risk not in accepted]
        if missing:
            raise ReadOnly(f"the database is not safe to write to: {missing[0]}")


def risks(
    version: int,
    fsync: str,
    full_pages: str,
    checksums: str,
    commit: str,
    standbys: str,
) -> list[str]:
    """Return which of ``RISKS`` these server settings run.

    Raises:
        Misuse: the server is too old.
    """
    if version < _OLDEST:
        raise Misuse(f"PostgreSQL {version // 10_000} is too old, 14 is the least")
    found = []
    if fsync != "on" or full_pages != "on":
        found.append("no-fsync")
    if checksums != "on":
        found.append("no-checksums")
    if not standbys.strip() or commit not in {"on", "remote_apply"}:
        found.append("no-standby")
    return found


def missing(engine: Engine, accepted: Iterable[str]) -> list[str]:
    """Return the risks that the server runs and nobody accepted, for the start.

    Raises:
        Unreachable: the server does not answer.
        Misuse: it is too old.
    """
    asking = engine.execution_options(
        isolation_level="AUTOCOMMIT", trace_node_reading=True
    )
    try:
        with asking.connect() as connection:
            found = risks(*connection.execute(_ASKED).one())
    except DBAPIError as error:
        raise Unreachable(f"the database does not answer: {error.orig}") from None
    return [risk for risk in found if risk not in set(accepted)]


@contextmanager
def patience(connection: Connection) -> Iterator[None]:
    """Lift every deadline while a transaction does what may take long.

    A revision may rewrite a large table, and other processes wait for it.
    """
    raw: Any = connection.connection.dbapi_connection
    for timeout in ("statement_timeout", "lock_timeout"):
        connection.exec_driver_sql(f"SET LOCAL {timeout} = 0")
    raw.deadline = None
    try:
        yield
    finally:
        del raw.deadline
