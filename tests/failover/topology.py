"""Three machines, each with etcd, Patroni and PostgreSQL, as plain processes."""

import json
import os
import secrets
import shutil
import signal
import string
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

from tests.failover.space import NETWORK, Machine

TEMPLATE = Path(__file__).with_name("patroni.yml")
USER = "postgres"  # PostgreSQL refuses root
MEMBERS = 3
SCOPE = "trace"
PACKAGES = "postgresql-15 etcd-server etcd-client iproute2"
PYTHON = "/usr/bin/python3"  # one that the database's user may run
PATRONI = Path(__file__).resolve().parents[2] / ".patroni"  # `make failover` makes it


def binaries():
    """Return the folder of PostgreSQL's programs, None where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


def missing():
    """Return what this machine lacks to run the cluster; empty if nothing."""
    programs = (PYTHON, "etcd", "etcdctl", "unshare", "nsenter", "setpriv", "ip")
    lacking = [name for name in programs if shutil.which(name) is None]
    return lacking + ([] if binaries() else ["postgresql"])


def patroni(folder, installed):
    """Return the command that runs Patroni, and its environment.

    A copy goes into ``folder``: what lies under a private home hangs without a
    word, because the user of the database cannot run it.

    Args:
        folder: of the run.
        installed: the program of a distribution instead, to see how that does.
    """
    if installed:
        return [installed], {}
    if not folder.exists():
        shutil.copytree(PATRONI, folder)
        subprocess.run(["chmod", "-R", "a+rX", folder], check=True)
    return [PYTHON, "-m", "patroni"], {"PYTHONPATH": str(folder)}


def fill(**names):
    """Return the configuration with its names filled in."""
    return string.Template(TEMPLATE.read_text()).substitute(names)


class Member:
    """One machine of the cluster."""

    def __init__(self, cluster, number):
        self.cluster = cluster
        self.machine = Machine(number)
        self.name = self.machine.name
        self.address = self.machine.address
        self.folder = cluster.folder / self.name
        self.folder.mkdir(mode=0o700)
        shutil.chown(self.folder, USER, USER)

    def lay_out(self):
        """Write its configuration."""
        file = self.folder / "patroni.yml"
        file.write_text(
            fill(
                scope=SCOPE,
                name=self.name,
                address=self.address,
                network=NETWORK,
                etcd=",".join(f"{m.address}:2379" for m in self.cluster.members),
                synchronous=self.cluster.mode,
                strict="true" if self.cluster.synchronous else "false",
                folder=self.folder,
                binaries=binaries(),
                secret=self.cluster.secret,
                watchdog="off",  # virtual machines rarely have one
            )
        )
        file.chmod(0o600)
        shutil.chown(file, USER, USER)

    def start(self):
        """Start etcd and Patroni, which starts PostgreSQL."""
        self.start_etcd()
        self.start_patroni()

    def start_etcd(self):
        """Start its etcd; a member that was there before takes up where it was."""
        members = self.cluster.members
        peers = ",".join(f"{m.name}=http://{m.address}:2380" for m in members)
        self.machine.start(
            [
                *("etcd", "--name", self.name, "--data-dir", self.folder / "etcd"),
                *("--listen-peer-urls", f"http://{self.address}:2380"),
                *("--initial-advertise-peer-urls", f"http://{self.address}:2380"),
                *("--listen-client-urls", f"http://{self.address}:2379"),
                *("--advertise-client-urls", f"http://{self.address}:2379"),
                *("--initial-cluster", peers, "--initial-cluster-state", "new"),
                *("--logger", "zap", "--log-level", "warn"),
            ],
            self.folder / "etcd.log",
            user=USER,
        )

    def start_patroni(self):
        """Start its Patroni."""
        command, environment = self.cluster.patroni
        self.machine.start(
            [*command, self.folder / "patroni.yml"],
            self.folder / "patroni.log",
            user=USER,
            environment={"HOME": str(self.folder), **environment},
        )

    def postmaster(self):
        """Return the id of its database server, None if it does not run."""
        try:
            pid = int((self.folder / "data/postmaster.pid").read_text().split()[0])
        except (OSError, IndexError, ValueError):
            return None
        return pid if Path(f"/proc/{pid}").exists() else None

    def status(self):
        """Return what its Patroni says of itself, None if it says nothing."""
        url = f"http://{self.address}:8008/patroni"
        try:
            with urllib.request.urlopen(url, timeout=1) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return json.load(error)
        except (OSError, ValueError):
            return None

    def psql(self, sql, *, database="postgres", seconds=10):
        """Run SQL on it as superuser through its socket; return the lines."""
        done = subprocess.run(
            [
                *("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"),
                *(str(binaries() / "psql"), "-XAtq", "-v", "ON_ERROR_STOP=1"),
                *("-h", str(self.folder), "-U", "postgres", "-d", database, "-c", sql),
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
            cwd="/",
        )
        if done.returncode:
            raise RuntimeError(f"{self.name}: {done.stderr.strip()}")
        return done.stdout.splitlines()

    def kill(self):
        """The machine is gone: every process of it, at once."""
        self.machine.signal(signal.SIGKILL)
        while self.machine.processes():
            time.sleep(0.01)

    def kill_etcd(self):
        """Kill its etcd alone."""
        return self.machine.signal(signal.SIGKILL, named="--initial-cluster")


class Cluster:
    """The members, and what the whole of them says.

    Args:
        folder: where their data lives; the database's user must reach it.
        synchronous: False makes the cluster that forks logs (the control).
        installed: the Patroni to run instead of our own.
    """

    def __init__(self, folder, *, synchronous=True, installed=""):
        self.folder = folder
        self.folder.mkdir(mode=0o711)
        self.synchronous = synchronous
        # Patroni before 4 takes a mode that it does not know for none.
        self.mode = ("true" if installed else "quorum") if synchronous else "false"
        self.patroni = patroni(folder.parent.parent / "patroni", installed)
        self.secret = secrets.token_hex(16)
        self.members = []
        self.members = [Member(self, 1 + number) for number in range(MEMBERS)]

    def version(self):
        """Return what its Patroni says it is."""
        command, environment = self.patroni
        done = subprocess.run(
            [*command, "--version"],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, **environment},
        )
        return done.stdout.split()[-1]

    def start(self):
        """Start all; return when one leads and the others follow."""
        for member in self.members:
            member.lay_out()
            member.start_etcd()
        for member in self.members:
            member.start_patroni()
        self.wait_whole(120)
        leader = self.leader()
        leader.psql(f"CREATE ROLE trace LOGIN PASSWORD '{self.secret}'")
        leader.psql("CREATE DATABASE trace OWNER trace")

    def url(self):
        """Return the address for workers: all members, of which the one that writes."""
        hosts = ",".join(member.address for member in self.members)
        return (
            f"postgresql+psycopg://trace:{self.secret}@/trace?host={hosts}"
            "&target_session_attrs=read-write&connect_timeout=2"
        )

    def leader(self):
        """Return the member that leads by its own word and is writable, or None."""
        for member in self.members:
            status = member.status()
            if (
                status
                and status.get("role") in {"master", "primary"}
                and status.get("state") == "running"
            ):
                return member
        return None

    def whole(self):
        """Say whether one leads, all others stream from it, and one is synchronous."""
        leader = self.leader()
        if leader is None:
            return False
        status = leader.status() or {}
        followers = status.get("replication") or []
        streaming = [f for f in followers if f.get("state") == "streaming"]
        if len(streaming) < len(self.members) - 1:
            return False
        alike = {
            (member.status() or {}).get("timeline") for member in self.members
        } == {status.get("timeline")}
        synced = any(f.get("sync_state") in {"sync", "quorum"} for f in streaming)
        return alike and (synced or not self.synchronous)

    def wait_whole(self, seconds):
        """Wait until ``whole``; return how long it took.

        Raises:
            RuntimeError: it did not happen in time; with the members' last words.
        """
        began = time.monotonic()
        while not self.whole():
            if time.monotonic() - began > seconds:
                raise RuntimeError(
                    f"the cluster is not whole after {seconds} s:\n{self.last_words()}"
                )
            time.sleep(0.2)
        return time.monotonic() - began

    def last_words(self):
        """Return the ends of all logs."""
        parts = []
        for member in self.members:
            for name in ("etcd.log", "patroni.log"):
                file = member.folder / name
                if file.exists():
                    lines = file.read_text(errors="replace").splitlines()[-8:]
                    parts.append(f"-- {member.name} {name}\n" + "\n".join(lines))
        return "\n".join(parts)

    def etcd_leader(self):
        """Return the member whose etcd leads, or None."""
        for member in self.members:
            done = subprocess.run(
                [
                    *("etcdctl", "--endpoints", f"{member.address}:2379"),
                    *("--command-timeout", "2s", "endpoint", "status", "-w", "json"),
                ],
                capture_output=True,
                text=True,
                check=False,
                env={"ETCDCTL_API": "3", "PATH": "/usr/bin:/bin"},
            )
            if done.returncode:
                continue
            status = json.loads(done.stdout)[0]["Status"]
            if status["leader"] == status["header"]["member_id"]:
                return member
        return None

    def dismantle(self):
        """End every process of every member, and take the machines down."""
        for member in self.members:
            member.kill()
            member.machine.remove()
