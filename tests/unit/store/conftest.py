"""Databases and folders of one test, on every engine."""

import pytest

from tests import postgres
from tests.faults.story import ENGINES, new_center, remove_center, settings
from trace_node.store.engine import open_engines, reading
from trace_node.store.log import SqlLog
from trace_node.store.migrate import upgrade

ORIGIN = "store.example/log"


@pytest.fixture(params=ENGINES)
def engines(request, tmp_path):
    """A center's two databases, empty."""
    folder = new_center(tmp_path / "place", engine=request.param)
    folder.mkdir(exist_ok=True)
    url = settings(folder).database_url.get_secret_value()
    engines = open_engines(folder, url, accept=postgres.ACCEPT.split(","))
    yield engines
    engines.dispose()
    remove_center(folder)


@pytest.fixture
def engine(engines):
    return engines.center


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
