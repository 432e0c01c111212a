"""One center for all tests here, and one whose line is short."""

import api_story
import pytest

PATIENCE = {"TRACE_NODE_BODY_SECONDS": "1"}


def started(folder, env):
    key = api_story.make(folder / "center")
    return api_story.serve(folder / "center", key, {**PATIENCE, **env})


@pytest.fixture(scope="session")
def center(tmp_path_factory):
    served = started(tmp_path_factory.mktemp("served"), {})
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
