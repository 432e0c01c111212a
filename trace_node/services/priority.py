"""Who goes first when threads of one process want the same core.

The event loop reads, sheds and answers; it must never wait for the thread that
verifies and commits, or everybody waits in sockets where nobody counts them. The
thread of the sequencer loses nothing by it: the loop sleeps as soon as it has
handed on what came.
"""

import os
import sys
import threading

BEHIND = 5  # steps of niceness


def stand_back() -> None:
    """Let this thread run after the others of its process, where a system can.

    On Linux niceness is a thread's; elsewhere it is the whole process's, and
    nothing is done.
    """
    if sys.platform == "linux":
        me = threading.get_native_id()
        now = os.getpriority(os.PRIO_PROCESS, me)
        os.setpriority(os.PRIO_PROCESS, me, min(now + BEHIND, 19))
