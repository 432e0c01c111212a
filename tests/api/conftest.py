"""One center for all tests here, on each engine, and one whose line is short.

TRACE_NODE_ENGINE=postgresql runs the long campaigns (hostile input,
Schemathesis) there, too; in the short form they meet the embedded default alone.
"""

import os

import api_story
import pytest

from tests import postgres

PATIENCE = {"TRACE_NODE_BODY_SECONDS": "1"}
LONG = {"test_api_hostile", "test_api_schemathesis"}


def pytest_generate_tests(metafunc):
    if "engine" in metafunc.fixturenames:
        named = os.environ.get("TRACE_NODE_ENGINE", "sqlite")
        long = metafunc.module.__name__.rpartition(".")[2] in LONG
        engines = [named] if long else ["sqlite", "postgresql"]
        metafunc.parametrize("engine", engines, scope="session")


def started(folder, env, **settings):
    key = api_story.make(folder / "center", **settings)
    given = {f"TRACE_NODE_{name.upper()}": value for name, value in settings.items()}
    return api_story.serve(folder / "center", key, {**PATIENCE, **given, **env})


def database(name):
    url = postgres.shared().create(name)
    return {"database_url": url, "database_accept": postgres.ACCEPT}


@pytest.fixture(scope="session")
def center(tmp_path_factory, engine):
    settings = database("api") if engine == "postgresql" else {}
    served = started(tmp_path_factory.mktemp("served"), {}, **settings)
    yield served
    api_story.end_process(served.process)


@pytest.fixture(scope="session")
def narrow(tmp_path_factory):
    """A center that sheds writes as soon as four statements wait."""
    served = started(
        tmp_path_factory.mktemp("narrow"), {"TRACE_NODE_WAITING_ENTRIES": "4"}
    )
    yield served
    api_story.end_process(served.process)


@pytest.fixture
def client(center):
    with center.client() as made:
        yield made
