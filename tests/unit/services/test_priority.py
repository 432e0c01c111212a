"""The thread that verifies stands back; the one that answers does not."""

import os
import sys
import threading

import pytest

from trace_node.services.priority import BEHIND, stand_back


@pytest.mark.skipif(sys.platform != "linux", reason="niceness is the process's here")
def test_only_the_thread_that_asks_stands_back():
    mine = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    seen = []

    def work():
        for _ in range(9):
            stand_back()
            me = threading.get_native_id()
            seen.append(os.getpriority(os.PRIO_PROCESS, me))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen[0] == min(mine + BEHIND, 19)
    assert seen[-1] == 19  # never beyond what the system takes
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == mine
