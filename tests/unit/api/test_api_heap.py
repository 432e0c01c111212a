"""What the start left is not walked over again; what comes after still is."""

import gc
import weakref

import pytest

from trace_node.api import heap


class Knot:
    """Something that holds itself."""

    def __init__(self):
        self.me = self


@pytest.fixture(autouse=True)
def _restored():
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


def test_what_is_here_is_frozen_and_later_cycles_are_freed():
    assert gc.get_freeze_count() == 0
    old = Knot()
    heap.settle()
    assert gc.get_freeze_count() > 10_000
    assert not any(each is old for each in gc.get_objects())
    assert gc.isenabled()
    seen = weakref.ref(Knot())
    made = [Knot() for _ in range(heap.YOUNG)]  # enough to set one off
    del made
    assert seen() is None
