"""Bring a database to the newest schema by alembic, the same way everywhere."""

from pathlib import Path
from tempfile import TemporaryDirectory

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DatabaseError, OperationalError

from trace_node.errors import StoreCorrupt
from trace_node.store.engine import open_sqlite
from trace_node.store.postgres import patience
from trace_node.store.scan import SCHEMA
from trace_node.store.tables import CenterTable, IndexTable


def migrations_folder() -> Path:
    """Return the folder of the revisions: in the wheel, or beside the package."""
    package = Path(__file__).resolve().parent.parent
    shipped = package / "_migrations"
    return shipped if shipped.is_dir() else package.parent / "migrations"


LOCK = 0x7472_6163  # "trac": whoever migrates, on a server that many share


def upgrade(engine: Engine, branch: str) -> None:
    """Run the revisions of ``branch`` ("center" or "index") that are missing.

    One transaction: a crash leaves the old schema or the new one. Several
    processes may start at once; the first migrates, the others find it done.

    Raises:
        StoreCorrupt: the database cannot be read, or is of a later version.
    """
    try:
        with engine.begin() as connection:
            _upgrade(connection, branch)
    except CommandError as error:
        raise StoreCorrupt(f"no version that is known: {error}", where=branch) from None
    except DatabaseError as error:
        if isinstance(error, OperationalError):  # locked, full, unreachable
            raise
        raise StoreCorrupt(f"cannot be read: {error.orig}", where=branch) from None


def _upgrade(connection: Connection, branch: str) -> None:
    if connection.dialect.name == "postgresql":
        with patience(connection):
            _prepare_schema(connection, branch)
            command.upgrade(_config(connection, branch), f"{branch}@head")
    else:
        command.upgrade(_config(connection, branch), f"{branch}@head")


def _prepare_schema(connection: Connection, branch: str) -> None:
    connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
    connection.exec_driver_sql(f'CREATE SCHEMA IF NOT EXISTS "{branch}"')


def fresh_schema(branch: str) -> tuple[str, set[tuple[str, ...]]]:
    """Return the newest version, and what its schema in SQLite is made of."""
    with TemporaryDirectory() as folder:
        engine = open_sqlite(Path(folder) / "fresh.db", synchronous="NORMAL")
        try:
            upgrade(engine, branch)
            with engine.connect() as connection:
                version = connection.exec_driver_sql(
                    f"SELECT version_num FROM alembic_version_{branch}"  # noqa: S608 - ours
                ).scalar_one()
                rows = connection.exec_driver_sql(SCHEMA)
                return str(version), {tuple(map(str, row)) for row in rows}
        finally:
            engine.dispose()


def drift(engine: Engine, branch: str) -> list[str]:
    """Return how the database differs from the tables; empty when it does not."""
    base = {"center": CenterTable, "index": IndexTable}[branch]
    with engine.begin() as connection:
        context = MigrationContext.configure(
            connection,
            opts={"version_table": f"alembic_version_{branch}", "compare_type": True},
        )
        return [str(change) for change in compare_metadata(context, base.metadata)]


def _config(connection: object, branch: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    config.attributes["branch"] = branch
    return config
