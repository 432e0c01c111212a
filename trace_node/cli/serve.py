"""``serve``: one process, or a parent and its workers, on one data folder."""

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from trace_node import config, node
from trace_node.api import logs, server
from trace_node.cli.workers import Job, Supervisor
from trace_node.config import Settings
from trace_node.errors import Misuse

LOGGER = logging.getLogger("trace_node")
LOCK = "serve.lock"


def add_to(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(serve)


def serve(
    folder: Annotated[Path, typer.Argument(help="The center's folder.")],
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes that serve; 2 need PostgreSQL.")
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(help="PEM chain to serve HTTPS with.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its PEM private key.")] = None,
    log: Annotated[str | None, typer.Option(help="auto, json or text.")] = None,
) -> None:
    """Serve the center until Ctrl-C or SIGTERM; SIGHUP renews the certificate."""
    flags = {
        "host": host,
        "port": port,
        "workers": workers,
        # From here on, while those of the settings are from the folder on.
        "tls_cert": tls_cert and tls_cert.absolute(),
        "tls_key": tls_key and tls_key.absolute(),
        "log": log,
    }
    settings = config.load(folder, **flags)
    logs.set_up(settings)
    check_workers(settings)
    tls = server.load_tls(folder, settings)
    with held(folder) as lock:
        if settings.workers > 1:
            run_workers(folder, settings, flags, lock)
            return
        made = node.Node(folder, settings)
        listener = server.listen(settings.host, settings.port)
        announce(settings, listener.getsockname()[1])
        server.Server(made, tls).serve_on(listener)


def run_workers(
    folder: Path, settings: Settings, flags: dict[str, Any], lock: int
) -> None:
    """Be the parent of workers until told to stop.

    Raises:
        TraceNodeError: a worker could not start, and why.
    """
    listener = server.listen(settings.host, settings.port)
    run = folder / "run"
    run.mkdir(exist_ok=True)
    for left in run.glob("worker-*"):  # by an earlier parent
        left.unlink()
    port = listener.getsockname()[1]
    job = Job(folder, flags, listener, lock)
    supervisor = Supervisor(job, settings.workers, settings.stop_seconds)
    code = supervisor.run(lambda: announce(settings, port))
    if code:
        raise typer.Exit(code)


def announce(settings: Settings, port: int) -> None:
    """Say in the log where the center is."""
    scheme = "https" if settings.tls_cert else "http"
    LOGGER.info(
        "%s serves %s on %s://%s:%d",
        settings.name,
        settings.origin,
        scheme,
        settings.host,
        port,
        extra={"event": "serve", "fields": {"workers": settings.workers}},
    )


def check_workers(settings: Settings) -> None:
    """Refuse several workers on SQLite.

    They would not lose anything, but wait for each other's locks, and one busy
    process is faster than two that wait.

    Raises:
        Misuse: so.
    """
    if settings.workers > 1 and not settings.database_url.get_secret_value():
        raise Misuse(
            f"{settings.workers} workers need PostgreSQL (setting database_url): "
            "SQLite lets one process at a time write"
        )


@contextmanager
def held(folder: Path) -> Iterator[int]:
    """Hold the folder for one server, as long as the block runs.

    The lock is the system's, on the open file: however a process ends, it is free.
    The number in the file is for people only. Commands do not take it: they work
    beside a server.

    Raises:
        Misuse: another server holds it, or the folder cannot be written.
    """
    try:
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise Misuse(f"cannot open {folder / LOCK}: {error.strerror}") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(handle, 20, 0).decode("ascii", "replace").strip()
            raise Misuse(
                f"{folder} is served already, by process {holder or 'unknown'}"
            ) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, b"%d\n" % os.getpid(), 0)
        yield handle
    finally:
        os.close(handle)
