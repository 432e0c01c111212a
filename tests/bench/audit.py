"""Audit of 100,000 entries on all cores, beside their Ed25519 verification rate."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench import center, scale
from trace_node.config import load
from trace_node.node import Node
from trace_node.services.audit import audit_center
from trace_node.store.engine import place_of

AIM = 0.7


def all_cores_rate() -> float:
    """Return verifications a second of all cores together, each its own process."""
    code = "from tests.bench.center import verify_rate; print(verify_rate(3))"
    cores = sorted(os.sched_getaffinity(0))
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=center.pinned(core),  # noqa: PLW1509 - no threads here
        )
        for core in cores
    ]
    return sum(float(run.communicate()[0]) for run in runs)


def run(factor: float = 1.0) -> dict:
    size = int(100_000 * factor)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "center"
        center.make(place)
        scale.fill(place, 0, size)
        node = Node(place, load(place))
        origin, vkey = node.settings.origin, node.vkey
        node.close()
        before = all_cores_rate()
        begin = time.perf_counter()
        report = audit_center(
            place_of(place), origin, vkey, workers=None, progress=lambda *_: None
        )
        seconds = time.perf_counter() - begin
        after = all_cores_rate()
    if not report.ok:
        raise RuntimeError(str(report))
    limit = (before + after) / 2
    return {
        "entries": size,
        "seconds": seconds,
        "entries_per_second": size / seconds,
        "verify_all_cores": limit,
        "ratio": size / seconds / limit,
        "aim_ratio": AIM,
    }


def table(r: dict) -> str:
    return (
        f"Ed25519 verify, all cores {r['verify_all_cores']:,.0f}/s; audit of "
        f"{r['entries']:,} entries in {r['seconds']:.1f} s, "
        f"{r['entries_per_second']:,.0f}/s  ratio {r['ratio']:.2f}"
    )


if __name__ == "__main__":
    print(table(run(float(sys.argv[1]) if len(sys.argv) > 1 else 1.0)))
