"""Figures of the whole center, whichever of its workers is asked.

A worker writes its own into ``DIR/run/worker-N.json``: once a second, and before
it answers with them, so that nothing was ever told that is not in the file. Every
worker answers with the sum over the files.

Counters never go backwards: the file of a worker that died goes on counting, and
its successor, which has the same number, starts from it. What is a level (how
many wait, whether it takes writes) counts only while its writer lives and writes:
a file whose process is gone, or has not written for ten seconds, has none. A
process is known by its id and the time it was started, for ids are used again.

With one worker there are no files. The parent empties the folder at its start; a
crash leaves the files of processes that are gone.
"""

import json
import logging
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any

from trace_node.api.logs import redact
from trace_node.api.stopping import Stop
from trace_node.node import Node

LOGGER = logging.getLogger("trace_node")
EVERY = 1.0  # seconds between two writes
STALE = 10.0  # seconds after which a file has no levels any more


@dataclass(frozen=True, slots=True)
class Report:
    """What one worker tells."""

    worker: int
    pid: int
    born: int
    written: float  # seconds, the monotonic clock all processes share
    counters: dict[str, int]
    levels: dict[str, float]
    reason: str  # why it takes no writes; empty when it does

    def alive(self, now: float) -> bool:
        """Say whether its levels count."""
        return now - self.written < STALE and born(self.pid) == self.born


@dataclass(frozen=True, slots=True)
class Center:
    """What all workers tell, together."""

    reports: list[Report]
    living: list[Report]

    def counter(self, name: str) -> int:
        """Return a counter of all workers there ever were."""
        return sum(report.counters.get(name, 0) for report in self.reports)

    def total(self, name: str) -> float:
        """Return a level of all living workers together."""
        return sum(report.levels.get(name, 0) for report in self.living)

    def top(self, name: str) -> float:
        """Return the highest level among living workers."""
        return max((report.levels.get(name, 0) for report in self.living), default=0)

    def ready(self) -> bool:
        """Say whether any worker takes writes: then a client finds one."""
        return any(not report.reason for report in self.living)

    def problem(self) -> str:
        """Return what keeps workers from taking writes."""
        told = [
            f"worker {report.worker}: {report.reason}"
            if len(self.reports) > 1
            else report.reason
            for report in self.living
            if report.reason
        ]
        return "; ".join(told)


@dataclass
class Figures:
    """This process's own figures, and the way to everybody's.

    ``folder`` is where workers share; None for a center of one process.
    """

    node: Node
    stop: Stop
    folder: Path | None = None
    worker: int = 0
    requests: dict[int, int] = field(  # by first digit; never grows: threads read it
        default_factory=lambda: dict.fromkeys(range(1, 6), 0)
    )
    connections: int = 0
    refused: int = 0  # connections turned away, there being no room
    evicted: int = 0  # idle ones closed to make room

    def __post_init__(self) -> None:
        """Take over the counters of the worker that had this number before."""
        self._born = born(os.getpid())
        self._lock = Lock()  # one write at a time, else an older one may win
        self._ended = Event()
        self._failing = False
        self._thread: Thread | None = None
        old = self._read(self._file(self.worker)) if self.folder else None
        self._base = dict(old.counters) if old else {}
        if old:
            self._base["restarts"] = self._base.get("restarts", 0) + 1

    def start(self) -> None:
        """Begin to share, if there is anybody to share with."""
        if self.folder is not None:
            self.folder.mkdir(exist_ok=True)
            self._share()
            self._thread = Thread(target=self._repeat, name="figures", daemon=True)
            self._thread.start()

    def end(self) -> None:
        """Write the last counters."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def center(self) -> Center:
        """Return the figures of all workers, as they are now."""
        if self.folder is None:
            mine = self.report()
            return Center([mine], [mine])
        mine = self._share()
        found = {mine.worker: mine}  # also where the disk is full
        for path in sorted(self.folder.glob("worker-*.json")):
            report = self._read(path)
            if report is not None:
                found.setdefault(report.worker, report)
        reports = [found[worker] for worker in sorted(found)]
        now = time.monotonic()
        return Center(reports, [report for report in reports if report.alive(now)])

    def report(self) -> Report:
        """Return this worker's own."""
        node, health = self.node, self.node.health
        last = node.keeper.last()
        own = {
            "commits": health.commits,
            "entries": health.entries,
            "failures": health.failures,
            "restarts": 0,
            "refused": self.refused,
            "evicted": self.evicted,
            **{f"requests_{digit}xx": n for digit, n in self.requests.items()},
        }
        reason = "stopping" if self.stop.is_set() else redact(health.reason())
        return Report(
            self.worker,
            os.getpid(),
            self._born,
            time.monotonic(),
            {
                name: own.get(name, 0) + self._base.get(name, 0)
                for name in own | self._base
            },
            {
                "log_size": last.size if last else 0,
                "published_size": node.publisher.size,
                "waiting": node.intake.waiting,
                "waiting_seconds": node.intake.wait,
                "degraded": int(bool(health.degraded)),
                "damaged": len(node.patrol.damage),
                "scrubbed_entries": node.patrol.entries,
                "connections": self.connections,
                "uptime_seconds": time.monotonic() - health.started,
            },
            reason,
        )

    def _repeat(self) -> None:
        while not self._ended.wait(EVERY):
            self._share()
        self._share()

    def _share(self) -> Report:
        path = self._file(self.worker)
        temporary = path.with_suffix(".tmp")
        with self._lock:
            mine = self.report()
            data = {name: getattr(mine, name) for name in Report.__slots__}
            try:
                # Renamed, so that no reader meets half of it; no fsync, for after
                # a power cut nobody wants it.
                temporary.write_text(json.dumps(data))
                temporary.replace(path)
            except OSError as error:
                if not self._failing:  # a full disk is told once, not every second
                    LOGGER.warning("figures cannot be shared: %s", error)
                self._failing = True
            else:
                self._failing = False
        return mine

    def _file(self, worker: int) -> Path:
        assert self.folder is not None  # noqa: S101 - asked by every caller
        return self.folder / f"worker-{worker}.json"

    def _read(self, path: Path) -> Report | None:
        try:
            data: dict[str, Any] = json.loads(path.read_text())
            return Report(**data)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            LOGGER.warning("no figures in %s: %s", path.name, error)
            return None


def born(pid: int) -> int:
    """Return when a process was started, in the system's ticks; 0 when it is gone.

    Where there is no /proc, 1 for any that lives.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return int(not Path("/proc/self").exists() and _lives(pid))
    except ProcessLookupError:
        return 0
    state, *rest = stat.rpartition(")")[2].split()
    return 0 if state in "ZX" else int(rest[18])


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
