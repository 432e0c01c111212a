"""The garbage collector of a process that answers for years.

What the start left (modules, models, routes: some 200,000 objects) lives as long
as the process, and a full collection walks over all of it with every thread
standing still: a third of the slowest answers waited for nothing else
(docs/performance.md). Requests make next to no cycles; they are freed as they end.
"""

import gc

YOUNG = 10_000  # objects made and not freed before the young ones are looked at
MIDDLE = 20  # such looks before what survived them is looked at
OLD = 20  # and such looks before all is; frozen objects never are


def settle() -> None:
    """Leave what is here now out of every later collection; called once, at start.

    Collections go on, for the cycles of what comes after.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, OLD)
