"""A world of its own for a cluster: processes, network, shared memory.

``enter`` starts the runner again inside new namespaces. Whatever happens to it
(an error, Ctrl-C, kill -9), the kernel ends every process and takes down every
interface and mount made inside; nothing of the machine outside is touched. Each
member of the cluster is a network namespace on one bridge: "the machine" is all
processes in it, and its cable can be pulled.
"""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

INSIDE = "TRACE_NODE_FAILOVER_INSIDE"
NETWORK = "10.77.0.0/24"
HERE = "10.77.0.1"
BRIDGE = "trace0"
NOWHERE = "02:00:00:00:00:ff"  # a hardware address that nobody has


def enter(arguments, folder):
    """Run this program again inside namespaces; return its exit code."""
    command = [
        *("setpriv", "--pdeathsig", "KILL"),  # should this process be killed
        *("unshare", "--net", "--pid", "--ipc", "--mount", "--uts"),
        *("--fork", "--kill-child=SIGKILL", "--mount-proc"),
        *(sys.executable, "-m", "tests.failover", *arguments),
    ]
    process = subprocess.Popen(
        command,
        env={**os.environ, INSIDE: str(folder)},
        start_new_session=True,
    )
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: process.kill())
    return abs(process.wait())


def become_init():
    """Leave the role of process 1 to this process; return in its child.

    Process 1 inherits the orphans of killed members. A postmaster that nobody
    reaps would look alive to Patroni for ever.
    """
    child = os.fork()
    if child == 0:
        return
    while True:
        with contextlib.suppress(InterruptedError):
            pid, status = os.wait()
            if pid == child:
                os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def run(*command):
    """Run a command that must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def lay_network():
    """Make the bridge that all members hang on; this side of it is ``HERE``."""
    for place in ("/run", "/dev/shm"):
        run("mount", "-t", "tmpfs", "tmpfs", place)
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "add", BRIDGE, "type", "bridge")
    run("ip", "address", "add", f"{HERE}/24", "dev", BRIDGE)
    run("ip", "link", "set", BRIDGE, "up")


class Machine:
    """A network namespace with one cable, and the processes in it."""

    def __init__(self, number):
        self.name = f"m{number}"
        self.address = f"10.77.0.{10 + number}"
        self.cable = f"cable{number}"
        run("ip", "netns", "add", self.name)
        self._net = Path("/run/netns") / self.name
        self._inode = self._net.stat().st_ino
        inner = f"eth{number}"
        run("ip", "link", "add", self.cable, "type", "veth", "peer", "name", inner)
        run("ip", "link", "set", inner, "netns", self.name, "name", "eth0")
        run("ip", "link", "set", self.cable, "master", BRIDGE, "up")
        self.inside("ip", "address", "add", f"{self.address}/24", "dev", "eth0")
        self.inside("ip", "link", "set", "lo", "up")
        self.inside("ip", "link", "set", "eth0", "up")

    def inside(self, *command):
        """Run a command in it."""
        return run("nsenter", f"--net={self._net}", *command)

    def start(self, command, log, *, user, environment=None):
        """Start a process in it that outlives this call."""
        with Path(log).open("ab") as file:
            return subprocess.Popen(
                [
                    *("nsenter", f"--net={self._net}", "setpriv"),
                    *(f"--reuid={user}", f"--regid={user}", "--clear-groups"),
                    *command,
                ],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                cwd="/",
                env={"PATH": os.environ["PATH"], "LC_ALL": "C", **(environment or {})},
                start_new_session=True,
            )

    def processes(self, *, named=""):
        """Return the ids of all processes in it whose command line has ``named``."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            # A process may end while it is looked at.
            with contextlib.suppress(OSError):
                if (entry / "ns/net").stat().st_ino != self._inode:
                    continue
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if line and named in line:
                    found.append(int(entry.name))
        return found

    def signal(self, number, *, named=""):
        """Signal all of its processes; again until no new one turns up."""
        told = set()
        while new := set(self.processes(named=named)) - told:
            for pid in new:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            told |= new
        return len(told)

    def remove(self):
        """Take it and its cable down."""
        run("ip", "link", "del", self.cable)
        run("ip", "netns", "del", self.name)

    def unplug(self):
        """Pull the cable: nothing comes or goes, and nobody is told."""
        run("ip", "link", "set", self.cable, "nomaster")

    def plug(self):
        """Put the cable back."""
        run("ip", "link", "set", self.cable, "master", BRIDGE)

    def deafen(self, other):
        """Lose what this machine and ``other`` send each other; all else arrives."""
        for one, two in ((self, other), (other, self)):
            one.inside(
                *("ip", "neigh", "replace", two.address, "dev", "eth0"),
                *("lladdr", NOWHERE, "nud", "permanent"),
            )

    def hear(self, other):
        """Undo ``deafen``."""
        for one, two in ((self, other), (other, self)):
            one.inside("ip", "neigh", "del", two.address, "dev", "eth0")
