"""Forks servers from a process that has imported everything already.

A start costs two seconds of imports and a tenth of a second of work; fifty kills
want the latter. Each server is a process of its own that runs the same command
line as ``trace-node serve``. Reads "folder<TAB>port<TAB>options" lines, answers with
pids; the servers die with this process. Options are JSON: ``build`` names a build
broken on purpose, ``environment`` is added, ``clock`` is a file with the seconds by
which the wall clock is wrong.
"""

import ctypes
import json
import os
import signal
import sys
import time
from pathlib import Path

import httptools  # noqa: F401
import uvloop  # noqa: F401
from uvicorn.lifespan import on  # noqa: F401
from uvicorn.loops import uvloop as _loop  # noqa: F401
from uvicorn.protocols.http import httptools_impl  # noqa: F401

from tests.faults.broken_servers import SERVERS
from trace_node.cli import center, run  # noqa: F401 - commands are imported late

PR_SET_PDEATHSIG = 1


def main():
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    SERVERS[sys.argv[1]]()
    for line in sys.stdin:
        folder, port, options = line.rstrip("\n").split("\t")
        pid = os.fork()
        if pid == 0:
            become(**json.loads(options))
            serve(folder, port)
        print(pid, flush=True)


def become(build="", environment=None, clock=None):
    """Make this child another build, in another environment, at another time."""
    SERVERS[build]()
    os.environ.update(environment or {})
    if clock:
        time.time = wrong_clock(clock, time.time)


def wrong_clock(path, true):
    """The wall clock, wrong by what the file says now; others run on."""

    def wrong():
        return true() + float(Path(path).read_text() or 0)

    return wrong


def serve(folder, port):
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    null = os.open(os.devnull, os.O_RDWR)
    log = os.open(f"{folder}/serve.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for handle, standard in ((null, 0), (null, 1), (log, 2)):
        os.dup2(handle, standard)
    os._exit(run(["serve", folder, "--port", port]))


if __name__ == "__main__":
    main()
