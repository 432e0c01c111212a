"""Single statements, receipt with inclusion proof awaited, at 1, 32, 256 clients.

The server has one core, the load the other. The limit beside it: that core's
Ed25519 verification rate, measured before and after in the same run.
"""

import base64
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench import center
from trace_node.ledger.receipt import verify_receipt

AIM = 0.25
AIM_P99 = 150


def limit(core: int) -> float:
    code = "from tests.bench.center import verify_rate; print(verify_rate())"
    out = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=True,
        text=True,
        preexec_fn=center.pinned(core),
    )
    return float(out.stdout)


def run(scale: float = 1.0) -> dict:
    cores = sorted(os.sched_getaffinity(0))
    server_core, load_core = cores[0], cores[-1]
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "center"
        key = center.make(place)
        before = limit(server_core)
        with center.served(place, core=server_core) as (port, _, _):
            for clients, full in ((1, 600), (32, 8_000), (256, 16_000)):
                count = int(full * scale)
                statements = [
                    center.statement(n, salt=str(clients)) for n in range(count)
                ]
                feed = b"".join(len(s).to_bytes(4) + s for s in statements)
                out = subprocess.run(
                    [
                        sys.executable,
                        "-m",
                        "tests.bench.load",
                        str(port),
                        str(clients),
                        "50",
                    ],
                    input=feed,
                    capture_output=True,
                    check=True,
                    preexec_fn=center.pinned(load_core),
                )
                report = json.loads(out.stdout)
                for number, receipt in report.pop("receipts"):
                    verify_receipt(base64.b64decode(receipt), statements[number], key)
                results[clients] = report
        after = limit(server_core)
    core_rate = (before + after) / 2
    for report in results.values():
        report["ratio"] = report["rate"] / core_rate
    return {
        "verify_per_core": core_rate,
        "clients": results,
        "aim_ratio": AIM,
        "aim_p99_ms_at_256": AIM_P99,
    }


def table(result: dict) -> str:
    lines = [f"Ed25519 verify, one core: {result['verify_per_core']:,.0f}/s"]
    for clients, r in result["clients"].items():
        lines.append(
            f"{clients:>4} clients  {r['rate']:>7,.0f}/s  ratio {r['ratio']:.2f}"
            f"  p50 {r['p50_ms']:.1f} ms  p99 {r['p99_ms']:.1f} ms  refused {r['refused']}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(run(float(sys.argv[1]) if len(sys.argv) > 1 else 1.0)))
