"""Schemas come from migrations alone, and the migrations follow the tables."""

import pytest
from alembic import command
from sqlalchemy import inspect

from tests.faults.checks import log_faults
from tests.faults.story import ENGINES, Story
from trace_node.store.migrate import _config, drift, upgrade

TABLES = {
    "center": {"log", "log_head", "head", "entry", "manifest", "record", "published"},
    "index": {"cursor", "commitment"},
}


@pytest.fixture
def engine(engines, request):
    """The database of the branch that the test is about."""
    named = request.node.callspec.params.get("branch", "center")
    return getattr(engines, named)


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


@pytest.mark.parametrize("kind", ENGINES)
def test_a_center_keeps_its_root_through_an_upgrade(tmp_path, kind):
    story = Story(tmp_path / "c", kind)
    story.register(*[story.single(k) for k in range(5)])
    before = story.stored()
    story.node.close()
    story.open().close()
    after = story.stored()
    assert (after.entries, after.heads) == (before.entries, before.heads)
    assert log_faults(after) == []


def schema(engine):
    """Return tables, columns and indexes as the engine tells them."""
    seen = inspect(engine)
    return {
        table: (
            [(c["name"], str(c["type"]), c["nullable"]) for c in columns],
            seen.get_pk_constraint(table),
            sorted(seen.get_foreign_keys(table), key=str),
            sorted(
                (i["name"], i["column_names"], i["unique"], _where(i))
                for i in seen.get_indexes(table)
            ),
            sorted(seen.get_unique_constraints(table), key=str),
        )
        for table in seen.get_table_names()
        for columns in [seen.get_columns(table)]
    }


def _where(index):
    options = index.get("dialect_options", {}).items()
    return str(next((v for k, v in options if k.endswith("_where")), None))
