"""One center for all tests here; each works on a copy."""

import pytest
from flipping import answers, questions
from keeping_story import Kept


@pytest.fixture(scope="session")
def kept(tmp_path_factory):
    return Kept(tmp_path_factory.mktemp("kept") / "center")


@pytest.fixture
def center(kept, tmp_path):
    """Return a folder that the test may damage."""
    return kept.copy(tmp_path / "center")


@pytest.fixture(scope="session")
def told(kept, tmp_path_factory):
    """What is asked of the center, and what it answers while it is sound."""
    folder = kept.copy(tmp_path_factory.mktemp("told") / "center")
    paths = questions(kept)
    return paths, answers(folder, paths, kept.clock)
