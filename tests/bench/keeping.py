"""Backup beside a load, restore and scrub of 100,000 entries with records and files.

The worst stall is the longest that any of eight clients waited for a receipt, with
no backup and with one backup after another, in the same run.
"""

import json
import subprocess
import sys
import tempfile
import time
from hashlib import sha256
from pathlib import Path

from tests.bench import center, scale
from trace_node.config import load
from trace_node.node import Node
from trace_node.trust.manifest import manifest_preimage
from trace_node.trust.record import make_record
from trace_node.trust.statement import MANIFEST_MEDIA, sign_statement

CLIENTS = 8
LOAD = 6_000  # statements of one load
RECORDS = 20_000
FILES = 200
AIM = {"scrub": 20_000}  # entries a second


def trace_node(*arguments) -> tuple[float, dict]:
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "trace_node", *map(str, arguments), "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    return time.perf_counter() - begin, json.loads(done.stdout)


def record(number: int, pad: int = 400) -> bytes:
    salt = sha256(b"keeping %d" % number).digest()[:16]
    body = {"n": number, "pad": "x" * pad}
    issued = "2026-11-23T08:00:00Z"
    return make_record("document", "4-segments@1", issued, salt, body)


def add_records(place: Path, records: int, files: int) -> None:
    node = Node(place, load(place))
    batches = [range(at, min(at + 1_000, records)) for at in range(0, records, 1_000)]
    groups = [[record(n) for n in batch] for batch in batches]
    groups += [[record(records + n, 100_000)] for n in range(files)]
    for group in groups:
        digests = [sha256(data).digest() for data in group]
        raw = sign_statement(
            center.SIGNER,
            iss=center.DID,
            aud=center.ORIGIN,
            media=MANIFEST_MEDIA,
            preimage=manifest_preimage(digests),
        )
        node.intake.register(node.preparer.prepare(raw, group))
    while node.follower.step():
        pass
    node.close()


def feed(salt: str, count: int) -> bytes:
    made = (center.statement(n, salt=salt) for n in range(count))
    return b"".join(len(s).to_bytes(4) + s for s in made)


def start_load(port: int) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.bench.load", str(port), str(CLIENTS), "1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def run(factor: float = 1.0) -> dict:
    size, count = int(100_000 * factor), int(LOAD * min(1, factor * 2))
    result = {"entries": size, "aim": AIM}
    with tempfile.TemporaryDirectory() as folder:
        place, backup = Path(folder) / "center", Path(folder) / "backup"
        center.make(place)
        add_records(place, int(RECORDS * factor), int(FILES * factor))
        scale.fill(place, 0, size)
        with center.served(place) as (port, _, _):
            result["backup_s"], made = trace_node("backup", place, "--to", backup)
            result["backup_mb"] = made["bytes"] / 1e6
            again, _ = trace_node("backup", place, "--to", backup)
            result["backup_again_s"] = again
            for name in ("quiet", "backing"):
                work = start_load(port)
                work.stdin.write(feed(name, count))
                work.stdin.close()
                backups = 0
                while work.poll() is None:
                    if name == "backing":
                        trace_node("backup", place, "--to", backup)
                        backups += 1
                    else:
                        time.sleep(0.05)
                told = json.loads(work.stdout.read())
                work.stdout.close()
                result[name] = {
                    key: told[key] for key in ("rate", "p99_ms", "max_ms", "refused")
                } | {"backups": backups}
            result["scrub_s"], report = trace_node("scrub", place)
            result["scrubbed"] = report["size"]
        restored = Path(folder) / "restored"
        result["restore_s"], _ = trace_node("restore", restored, "--from", backup)
    return result


def table(r: dict) -> str:
    quiet, backing = r["quiet"], r["backing"]
    return (
        f"backup of {r['entries']:,} entries, {r['backup_mb']:.0f} MB: "
        f"{r['backup_s']:.1f} s, again {r['backup_again_s']:.1f} s\n"
        f"{CLIENTS} clients: {quiet['rate']:,.0f}/s, p99 {quiet['p99_ms']:.0f} ms, worst "
        f"{quiet['max_ms']:.0f} ms; during {backing['backups']} backups "
        f"{backing['rate']:,.0f}/s, p99 {backing['p99_ms']:.0f} ms, worst "
        f"{backing['max_ms']:.0f} ms\n"
        f"restore {r['restore_s']:.1f} s; scrub {r['scrub_s']:.1f} s, "
        f"{r['scrubbed'] / r['scrub_s']:,.0f} entries/s"
    )


if __name__ == "__main__":
    print(table(run(float(sys.argv[1]) if len(sys.argv) > 1 else 1.0)))
