"""For all tests.

Centers are founded here on a fixed day and served on whatever day it is: to them
the log may have been silent for a long time (docs/adr/0010). Set in the
environment, so that the processes that tests start have it, too.
"""

import os

os.environ.setdefault("TRACE_NODE_CLOCK_IDLE_DAYS", "36500")
