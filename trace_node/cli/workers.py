"""Several serving processes and the parent that watches them.

The parent opens the socket and holds the folder; workers share the socket, so a
worker that is paused or died keeps no connection waiting: another accepts it. (A
socket for each worker, SO_REUSEPORT, would spread connections more evenly, and
leave every n-th client in the queue of one that does not come.)

The first worker starts alone: it brings the database up to date, and if it cannot
start nothing can; then the command ends with its reason. A worker that dies later
is started again, after a pause that doubles while it keeps dying.

A parent that dies takes its workers with it, paused ones too: the system kills
them (Linux), or they find their line to it closed. A stop waits for the grace time
and then kills who is left, so no worker can hold it up.
"""

import ctypes
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from multiprocessing.reduction import DupFd
from pathlib import Path
from types import FrameType
from typing import Any, Final

from trace_node import config, node
from trace_node.api import logs, server
from trace_node.api.figures import Figures
from trace_node.api.stopping import Stop
from trace_node.errors import Misuse, TraceNodeError, Unreachable

LOGGER = logging.getLogger("trace_node")
SPAWN = get_context("spawn")  # a fork would copy the parent's threads and locks
FIRST_PAUSE: Final = 0.5  # seconds before a dead worker is started again; doubles
LONGEST_PAUSE: Final = 30.0
STEADY: Final = 60.0  # seconds of service after which a death is the first again
MARGIN: Final = 2.0  # seconds beyond the grace time before a worker is killed
PR_SET_PDEATHSIG: Final = 1
TERM, KILL, HUP = signal.SIGTERM, signal.SIGKILL, signal.SIGHUP


@dataclass
class Job:
    """What a worker is to serve; travels to its process."""

    folder: Path
    flags: dict[str, Any]
    listener: socket.socket
    lock: int  # the folder's lock: held until the last worker is gone

    def __getstate__(self) -> dict[str, Any]:
        """Let the lock's file travel as the socket does."""
        return {**vars(self), "lock": DupFd(self.lock)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Arrive in a worker's process."""
        vars(self).update(state, lock=state["lock"].detach())


@dataclass
class Post:
    """One worker's place: its number, its line to the parent, its share of the job."""

    job: Job
    worker: int
    line: Connection
    parent: int

    def serving(self) -> None:
        """Tell the parent that requests are answered."""
        self.line.send(("serving", "", ""))


Work = Callable[[Post], None]


def work(post: Post) -> None:
    """Serve; what a worker's process does.

    Raises:
        SystemExit: it could not start; the parent was told why.
    """
    die_with_parent(post)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it, too
    try:
        folder = post.job.folder
        settings = config.load(folder, **post.job.flags)
        logs.set_up(settings, worker=post.worker)
        tls = server.load_tls(folder, settings)
        made = node.Node(folder, settings)
    except TraceNodeError as error:
        post.line.send(("failed", error.type, str(error)))
        sys.exit(server.CUT_SHORT)
    figures = Figures(made, Stop(), folder / "run", post.worker)
    serving = server.Server(
        made, tls, figures=figures, watched=True, started=post.serving
    )
    serving.serve_on(post.job.listener)


def die_with_parent(post: Post) -> None:
    """End this process when the parent does, whatever it was doing."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, KILL)
    if os.getppid() != post.parent:  # it died before we said so
        os._exit(server.CUT_SHORT)
    threading.Thread(target=_watch, args=(post.line,), daemon=True).start()


def _watch(line: Connection) -> None:
    # The parent never sends; what comes is the end of the file.
    line.poll(None)
    os._exit(server.CUT_SHORT)


@dataclass
class Worker:
    """A worker as the parent knows it."""

    number: int
    process: SpawnProcess
    line: Connection
    started: float
    serving: bool = False
    told: tuple[str, str] = ("", "")  # why it could not start


class Supervisor:
    """Starts workers, starts them again, and stops them."""

    def __init__(
        self, job: Job, count: int, grace: float, *, target: Work = work
    ) -> None:
        """Plan ``count`` workers that may take ``grace`` seconds to stop.

        Args:
            job: what they serve.
            count: how many.
            grace: seconds.
            target: what a worker's process does; importable by its name.
        """
        self._job = job
        self._count = count
        self._grace = grace
        self._target = target
        self._workers: dict[int, Worker] = {}
        self._due: dict[int, float] = {0: 0.0}  # when to start which
        self._deaths: dict[int, int] = {}  # one after the other
        self._signals: list[int] = []
        self._stop_at: float | None = None
        self._up = False  # all served once
        self._code = 0

    def run(self, announce: Callable[[], None]) -> int:
        """Watch until told to stop; return the exit code.

        Args:
            announce: called when the first worker serves.

        Raises:
            TraceNodeError: no worker could start, and why.
        """
        woken, waker = socket.socketpair()
        waker.setblocking(False)
        before = {
            sig: signal.signal(sig, self._hear)
            for sig in (TERM, signal.SIGINT, signal.SIGHUP)
        }
        wakeup = signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        try:
            while self._workers or self._due:
                self._turn(woken, announce)
        finally:
            for worker in self._workers.values():  # an error of ours: leave nobody
                worker.process.kill()
                worker.process.join()
            signal.set_wakeup_fd(wakeup)
            for sig, handler in before.items():
                signal.signal(sig, handler)
            woken.close()
            waker.close()
        return self._code

    def _hear(self, sig: int, frame: FrameType | None) -> None:
        del frame
        self._signals.append(sig)

    def _turn(self, woken: socket.socket, announce: Callable[[], None]) -> None:
        now = time.monotonic()
        for number in [n for n, due in self._due.items() if due <= now]:
            del self._due[number]
            self._start(number)
        lines = {w.line: w for w in self._workers.values()}
        ends = {w.process.sentinel: w for w in self._workers.values()}
        ready = wait([woken, *lines, *ends], timeout=self._patience(now))
        if woken in ready:
            woken.recv(4_096)
        for line, worker in lines.items():
            if line in ready:
                self._listen(worker, announce)
        for end, worker in ends.items():
            if end in ready:
                self._bury(worker)
        while self._signals:
            self._act(self._signals.pop(0))
        if self._stop_at is not None and time.monotonic() >= self._stop_at:
            self._kill("did not stop in its time")

    def _patience(self, now: float) -> float | None:
        ends = list(self._due.values())
        if self._stop_at is not None:
            ends.append(self._stop_at)
        return max(0.0, min(ends) - now) if ends else None

    def _start(self, number: int) -> None:
        ours, theirs = SPAWN.Pipe()
        post = Post(self._job, number, theirs, os.getpid())
        process = SPAWN.Process(target=self._target, args=(post,))
        process.start()
        theirs.close()
        self._workers[number] = Worker(number, process, ours, time.monotonic())

    def _listen(self, worker: Worker, announce: Callable[[], None]) -> None:
        try:
            what, kind, why = worker.line.recv()
        except (EOFError, OSError):
            return  # it ended; its sentinel says so, too
        if what == "failed":
            worker.told = kind, why
            return
        worker.serving = True
        worker.started = time.monotonic()
        if not self._up:
            self._up = True
            announce()
            if self._stop_at is None:
                self._due |= dict.fromkeys(range(1, self._count), 0.0)
        LOGGER.info(
            "worker %d serves, process %d",
            worker.number,
            worker.process.pid,
            extra={"event": "worker"},
        )

    def _bury(self, worker: Worker) -> None:
        if worker.line.poll():  # its last words
            self._listen(worker, lambda: None)
        worker.process.join()
        worker.line.close()
        del self._workers[worker.number]
        code = worker.process.exitcode or 0
        if self._stop_at is not None:
            if worker.serving and code:
                self._code = server.CUT_SHORT
            return
        why = f"worker {worker.number} ended with {code}: {worker.told[1] or 'no word'}"
        if not self._up or (worker.told[0] and not self._serving()):
            self._give_up(worker, why)
        if worker.serving and time.monotonic() - worker.started > STEADY:
            self._deaths.pop(worker.number, None)
        deaths = self._deaths.get(worker.number, 0)
        self._deaths[worker.number] = deaths + 1
        pause = min(FIRST_PAUSE * 2**deaths, LONGEST_PAUSE)
        self._due[worker.number] = time.monotonic() + pause
        LOGGER.error(
            "%s; started again in %.1f s", why, pause, extra={"event": "worker"}
        )

    def _serving(self) -> bool:
        return any(worker.serving for worker in self._workers.values())

    def _give_up(self, worker: Worker, why: str) -> None:
        kind, reason = worker.told
        raise Misuse(reason) if kind == Misuse.type else Unreachable(reason or why)

    def _act(self, sig: int) -> None:
        if sig == HUP:
            self._send(HUP, serving=True)  # one that starts does not know it yet
        elif self._stop_at is None:
            LOGGER.info(
                "%s: stopping", signal.Signals(sig).name, extra={"event": "stop"}
            )
            self._stop_at = time.monotonic() + self._grace + MARGIN
            self._due.clear()
            self._job.listener.close()  # the workers close theirs
            self._send(TERM)
            self._send(signal.SIGCONT)  # a paused one may stop in order, too
        else:
            self._kill("a second signal")

    def _send(self, sig: int, *, serving: bool = False) -> None:
        for worker in self._workers.values():
            pid = worker.process.pid
            if serving and not worker.serving:
                continue
            if pid is not None and worker.process.is_alive():  # not reaped yet: ours
                os.kill(pid, sig)

    def _kill(self, why: str) -> None:
        for worker in self._workers.values():
            LOGGER.error(
                "worker %d is killed: %s", worker.number, why, extra={"event": "stop"}
            )
            worker.process.kill()
        self._code = server.CUT_SHORT
        self._stop_at = time.monotonic() + MARGIN
