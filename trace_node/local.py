"""What this machine gives a program: the time, and the rules installed with it.

Apart from ``node``, so that who signs or imports need not load a whole center.
"""

import time
from pathlib import Path

from trace_node.rules import Rules, load_rules


def now() -> int:
    """Return the wall clock in Unix seconds; nobody else reads it."""
    return int(time.time())


def elapsed() -> float:
    """Return seconds that nobody can set, and that go on while the machine sleeps."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


def read_rules() -> Rules:
    """Read standards/ from the wheel, or beside the package."""
    package = Path(__file__).resolve().parent
    folder = package / "_standards"
    if not folder.is_dir():
        folder = package.parent / "standards"
    return load_rules(
        {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
        }
    )
