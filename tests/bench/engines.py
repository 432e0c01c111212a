"""Single statements on SQLite, on PostgreSQL, and there with two workers.

Everything shares all cores (load, workers, database server), so what compares is
the ratio to one core's Ed25519 verification rate, measured in the same run. The
server is a real one with its durability on (fsync, full page writes, checksums);
it has no standby, for which the center is told so.
"""

import base64
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tests import postgres
from tests.bench import center
from trace_node.ledger.receipt import verify_receipt

AIM = 0.4  # two workers
LOADS = ((32, 6_000), (256, 12_000))
ACCEPT = "no-standby"


def runs(server):
    """Yield (name, settings of a center, workers)."""
    yield "SQLite, 1 process", {}, 1
    for workers in (1, 2):
        url = server.create(f"bench{workers}")
        given = {"database_url": url, "database_accept": ACCEPT}
        yield f"PostgreSQL, {workers} worker{'s' * (workers > 1)}", given, workers


def measure(settings, workers: int, scale: float) -> dict:
    env = {f"TRACE_NODE_{k.upper()}": v for k, v in settings.items()}
    env["TRACE_NODE_WORKERS"] = str(workers)
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "center"
        key = center.make(place, **settings)
        with center.served(place, env=env) as (port, _, _):
            for clients, full in LOADS:
                count = int(full * scale)
                made = [center.statement(n, salt=str(clients)) for n in range(count)]
                out = subprocess.run(
                    [
                        *(sys.executable, "-m", "tests.bench.load"),
                        *(str(port), str(clients), "50"),
                    ],
                    input=b"".join(len(s).to_bytes(4) + s for s in made),
                    capture_output=True,
                    check=True,
                )
                report = json.loads(out.stdout)
                for number, receipt in report.pop("receipts"):
                    verify_receipt(base64.b64decode(receipt), made[number], key)
                results[clients] = report
    return results


def run(scale: float = 1.0) -> dict:
    server = postgres.Postgres()
    version = server.sql("SHOW server_version")[0][0]
    results = {}
    rates = [center.verify_rate()]
    try:
        for name, settings, workers in runs(server):
            results[name] = measure(settings, workers, scale)
            rates.append(center.verify_rate())
    finally:
        server.remove()
    core = sum(rates) / len(rates)
    for found in results.values():
        for report in found.values():
            report["ratio"] = report["rate"] / core
    return {
        "verify_per_core": core,
        "postgres": version,
        "engines": results,
        "aim_ratio_two_workers": AIM,
    }


def table(result: dict) -> str:
    core = result["verify_per_core"]
    lines = [f"Ed25519 verify, one core: {core:,.0f}/s"]
    lines.append(f"PostgreSQL {result['postgres']}")
    for name, found in result["engines"].items():
        for clients, r in found.items():
            lines.append(
                f"{name:<22} {clients:>4} clients  {r['rate']:>7,.0f}/s"
                f"  ratio {r['ratio']:.2f}  p50 {r['p50_ms']:.1f} ms"
                f"  p99 {r['p99_ms']:.1f} ms  refused {r['refused']}"
            )
    return "\n".join(lines)
