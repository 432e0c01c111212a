"""The processes of an audit: one a core, or none where that would be slower."""

import os
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from types import ModuleType
from typing import Any

from trace_node.errors import Overloaded
from trace_node.services import audit_worker
from trace_node.services.audit_worker import Job, Worker


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Pool:
    """Runs a worker's methods; ``workers`` of 1 means in this process."""

    def __init__(self, job: Job, workers: int) -> None:
        self._inline = Worker(job) if workers == 1 else None
        self._pool: ProcessPoolExecutor | None = None
        if workers > 1:
            self._pool = ProcessPoolExecutor(
                workers,
                # Not fork: a caller may have threads, and locks that they hold.
                mp_context=get_context("spawn"),
                initializer=audit_worker.start,
                initargs=(job,),
            )
            with _bare_main():
                for _ in range(workers):  # each call starts one process
                    self._pool.submit(audit_worker.ready)

    def submit(self, name: str, *values: object) -> "Future[Any]":
        """Start ``name`` of a worker; the future holds its result."""
        if self._pool is not None:
            return self._pool.submit(audit_worker.call, name, *values)
        done: Future[Any] = Future()
        done.set_result(getattr(self._inline, name)(*values))
        return done

    def close(self) -> None:
        """End the processes; work that was not begun is dropped."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        if self._inline is not None:
            self._inline.close()


def result(future: "Future[Any]") -> Any:
    """Return what a worker made.

    Raises:
        Overloaded: the system ended the process, for want of memory mostly.
    """
    try:
        return future.result()
    except BrokenProcessPool:
        raise Overloaded("a process of the audit was ended by the system") from None


@contextmanager
def _bare_main() -> Iterator[None]:
    """Hide the main module while processes start.

    Each would import it again, and with it the whole command line and web
    server, to find functions that are none of its.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
