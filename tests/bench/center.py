"""A center to measure: made in a folder, served as a process of its own."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from trace_node.config import build
from trace_node.node import found
from trace_node.trust.did import did_key
from trace_node.trust.keys import MemorySigner
from trace_node.trust.record import RECORD_MEDIA
from trace_node.trust.statement import sign_statement

ORIGIN = "bench.example/log"
SIGNER = MemorySigner.from_seed("Ed25519", b"\7" * 32)
DID = did_key(SIGNER.public)


def make(folder: Path, **settings):
    """Found a center with one party; return the receipt key."""
    node = found(folder, build(None, {"origin": ORIGIN, **settings}))
    node.say("party", {"did": DID, "name": "Load", "kind": "enterprise"})
    node.say(
        "key",
        {
            "did": DID,
            "action": "add",
            "kid": SIGNER.public.kid_text,
            "jwk": SIGNER.public.jwk(),
        },
    )
    key = node.keys.receipt.public
    node.close()
    return key


def statement(number: int, *, salt: str = "") -> bytes:
    return sign_statement(
        SIGNER,
        iss=DID,
        aud=ORIGIN,
        media=RECORD_MEDIA,
        preimage=f"record {salt} {number}".encode(),
    )


def pinned(core: int | None):
    """Return what pins a child to a core, where the system can."""
    if core is None or not hasattr(os, "sched_setaffinity"):
        return None
    return lambda: os.sched_setaffinity(0, {core})


@contextmanager
def served(folder: Path, *, core: int | None = None, env=None):
    """Serve the center in ``folder``; yields (port, process, seconds to ready)."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    begin = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "trace_node", "serve", str(folder), "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=(folder / "serve.log").open("ab"),
        preexec_fn=pinned(core),  # noqa: PLW1509 - no threads here
        env={**os.environ, **(env or {})},
    )
    try:
        for _ in range(600):
            try:
                url = f"http://127.0.0.1:{port}/health/ready"
                with urllib.request.urlopen(url, timeout=5):
                    break
            except OSError:
                if process.poll() is not None:
                    raise RuntimeError((folder / "serve.log").read_text()) from None
                time.sleep(0.05)
        yield port, process, time.perf_counter() - begin
    finally:
        process.terminate()
        process.wait(30)


def verify_rate(seconds: float = 1.5) -> float:
    """Return how many Ed25519 verifications a second one core does."""
    message = b"x" * 300
    signature = SIGNER.sign(message)
    verify = SIGNER.private_key.public_key().verify
    count, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        for _ in range(100):
            verify(signature, message)
        count += 100
    return count / (time.perf_counter() - begin)
