"""A center as its users meet it: a process on a port, commands as processes."""

import contextlib
import io
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest

from trace_node.cli import run

TRACE_NODE = [sys.executable, "-m", "trace_node"]


def environment():
    clean = {k: v for k, v in os.environ.items() if not k.startswith("TRACE_NODE_")}
    return clean | {"PYTHONWARNINGS": "error::ResourceWarning"}


def trace_node(*arguments, code=0, cwd=None):
    """Run a command; return what it printed."""
    done = subprocess.run(
        [*TRACE_NODE, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=cwd,
        env=environment(),
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


def answer(*arguments, code=0):
    """Run a command with --json; return its one object."""
    lines = trace_node(*arguments, "--json", code=code).splitlines()
    assert len(lines) == 1, lines
    return json.loads(lines[0])


def quick(*arguments, code=0):
    """Run a command with --json in this process; return its one object."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        found = run([*map(str, arguments), "--json"])
    assert found == code, out.getvalue()
    (line,) = out.getvalue().splitlines()
    return json.loads(line)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Place:
    """A served center, and a party with a key that it knows."""

    folder: Path
    port: int
    key: Path
    process: subprocess.Popen

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def policy(self):
        return self.folder / "policy.txt"

    @property
    def origin(self):
        return f"127.0.0.1:{self.port}/log"

    def there(self):
        """Options that name the center and whom to believe."""
        return ["--center", self.url, "--policy", self.policy]

    def party(self):
        """The same, and who speaks."""
        return [*self.there(), "--key", self.key]


def serve(folder, port):
    log = (folder / "serve.log").open("ab")
    with log:
        process = subprocess.Popen(
            [*TRACE_NODE, "serve", str(folder), "--port", str(port)],
            stdout=log,
            stderr=log,
            env=environment(),
        )
    for _ in range(600):
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{port}/health/ready", timeout=5
            ):
                return process
        except OSError:
            if process.poll() is not None:
                break
            time.sleep(0.05)
    process.kill()
    process.wait()
    raise RuntimeError((folder / "serve.log").read_text())


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("center") / "center"
    port = free_port()
    trace_node("init", folder, "--origin", f"127.0.0.1:{port}/log")
    key = tmp_path_factory.mktemp("party") / "key.pem"
    trace_node("keys", "new", key)
    trace_node("party", "add", folder, "--name", "Party", "--key", f"{key}.jwk")
    process = serve(folder, port)
    try:
        yield Place(folder, port, key, process)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
