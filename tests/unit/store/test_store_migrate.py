"""Schemas come from migrations alone, and the migrations follow the tables."""

import pytest
from alembic import command
from sqlalchemy import inspect

from tests.faults.checks import log_faults
from tests.faults.story import Story
from trace_node.store.engine import open_sqlite
from trace_node.store.migrate import _config, drift, upgrade

TABLES = {
    "center": {"log", "log_head", "head", "entry", "manifest", "record"},
    "index": {"cursor", "commitment"},
}


def tables(engine):
    return set(inspect(engine).get_table_names())


@pytest.mark.parametrize("branch", ["center", "index"])
def test_an_empty_database_gets_exactly_the_tables(engine, branch):
    upgrade(engine, branch)
    assert TABLES[branch] <= tables(engine)
    assert drift(engine, branch) == []


@pytest.mark.parametrize("branch", ["center", "index"])
def test_upgrading_again_changes_nothing(engine, branch):
    upgrade(engine, branch)
    before = schema(engine)
    upgrade(engine, branch)
    assert schema(engine) == before


@pytest.mark.parametrize("branch", ["center", "index"])
def test_down_to_nothing_and_up_again_is_the_same_schema(engine, branch):
    upgrade(engine, branch)
    before = schema(engine)
    with engine.begin() as connection:
        command.downgrade(_config(connection, branch), f"{branch}@base")
    assert not TABLES[branch] & tables(engine)
    upgrade(engine, branch)
    assert schema(engine) == before
    assert drift(engine, branch) == []


def test_drift_names_a_table_that_differs(engine):
    upgrade(engine, "center")
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE record ADD COLUMN note TEXT")
    assert any("note" in change for change in drift(engine, "center"))


def test_a_center_keeps_its_root_through_an_upgrade(tmp_path):
    story = Story(tmp_path / "c")
    story.register(*[story.single(k) for k in range(5)])
    before = story.stored()
    story.node.close()
    engine = open_sqlite(tmp_path / "c" / "center.db")
    upgrade(engine, "center")
    engine.dispose()
    after = story.stored()
    assert (after.entries, after.heads) == (before.entries, before.heads)
    assert log_faults(after) == []


def schema(engine):
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(
            "SELECT type, name, sql FROM sqlite_master ORDER BY type, name"
        )
        return [tuple(row) for row in rows]
