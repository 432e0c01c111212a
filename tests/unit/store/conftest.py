"""Databases and folders of one test, on every engine."""

import pytest

from tests import postgres
from tests.faults.story import ENGINES, new_center, remove_center, settings
from tests.places import KINDS, FilePlace, S3Place
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


@pytest.fixture(params=KINDS)
def new_place(request, tmp_path):
    """Makes empty places for blobs; every test that uses it runs on both kinds."""
    made = []

    def new():
        folder = tmp_path / f"blobs{len(made)}"
        made.append(FilePlace(folder) if request.param == "files" else S3Place())
        return made[-1]

    yield new
    for place in made:
        place.close()


@pytest.fixture
def place(new_place):
    """An empty place for blobs."""
    return new_place()


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


def pytest_collection_modifyitems(config, items):
    """Leave out PostgreSQL with S3: neither knows of the other."""

    def both(item):
        params = getattr(item, "callspec", None) and item.callspec.params
        pair = params and (params.get("engines"), params.get("new_place"))
        return pair == ("postgresql", "s3")

    out = [item for item in items if both(item)]
    if out:
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if not both(item)]
