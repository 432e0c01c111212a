"""What workers do in the tests of the supervisor; importable by their names."""

import os
import select
import signal
import sys
import time
from pathlib import Path

from trace_node.api import logs, server
from trace_node.cli.serve import held
from trace_node.cli.workers import Job, Supervisor, die_with_parent, work
from trace_node.config import build, load
from trace_node.errors import TraceNodeError


def answer(post):
    listener = post.job.listener
    listener.setblocking(False)
    while True:  # a wait without an end would sleep over a signal just before it
        select.select([listener], [], [], 0.1)
        try:
            wire, _ = listener.accept()
        except BlockingIOError:
            continue
        with wire:
            wire.sendall(f"{os.getpid()} {post.worker}".encode())


def answering(post):
    """Answer each connection with the process's id and the worker's number."""
    die_with_parent(post)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    post.serving()
    answer(post)


def deaf(post):
    """Answer, and never stop in order."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    die_with_parent(post)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    post.serving()
    answer(post)


def orphan(post):
    """Answer, and do not care for the parent: what ``die_with_parent`` is against."""
    post.serving()
    answer(post)


def misused(post):
    post.line.send(("failed", "misuse", "setting x: is wrong"))
    sys.exit(1)


def silent(post):
    sys.exit(3)


def dying(post):
    """Serve for a moment, then die."""
    post.serving()
    time.sleep(0.05)
    os._exit(7)


def sqlite(post):
    """A real worker; several of them on SQLite wait for each other, and that is all."""
    work(post)


def main(folder, target, count, grace):
    """Be a parent; print the port."""
    real = target == "sqlite"
    settings = load(folder) if real else build(None, {"origin": "a.example/log"})
    logs.set_up(settings)
    try:
        with held(folder) as lock:
            return watch(folder, target, count, grace, lock)
    except TraceNodeError as error:
        print(f"{error.type}: {error}", file=sys.stderr)
        return 2 if error.type == "misuse" else 1


def watch(folder, target, count, grace, lock):
    listener = server.listen("127.0.0.1", 0)
    (folder / "run").mkdir(exist_ok=True)
    port = listener.getsockname()[1]
    job = Job(folder, {}, listener, lock)
    supervisor = Supervisor(job, count, grace, target=globals()[target])
    return supervisor.run(lambda: print(port, flush=True))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
