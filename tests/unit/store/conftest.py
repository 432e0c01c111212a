"""Databases and folders of one test."""

import pytest

from trace_node.store.engine import open_sqlite, reading
from trace_node.store.log import SqlLog
from trace_node.store.migrate import upgrade

ORIGIN = "store.example/log"


@pytest.fixture
def engine(tmp_path):
    engine = open_sqlite(tmp_path / "center.db")
    yield engine
    engine.dispose()


@pytest.fixture
def center(engine):
    """A center database with the newest schema."""
    upgrade(engine, "center")
    return engine


@pytest.fixture
def log(center):
    log = SqlLog(center, reading(center))
    log.create(ORIGIN)
    return log
