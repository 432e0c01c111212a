"""Start, memory and proof latency at 10⁴, 10⁵ and 10⁶ entries.

Entries are real signed statements; they are put in through the sequencer without
the door, because only what comes after is measured. Receipts are asked for at
random indices over one connection, so nearly every one reads other tiles.
"""

import http.client
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.bench import center
from trace_node.config import load
from trace_node.ledger.sequencer import Candidate
from trace_node.node import Node
from trace_node.services.line import GROUP
from trace_node.store.log import Content
from trace_node.trust.statement import decode_statement

AIM = {"start_s": 5, "proof_p99_ms": 10, "memory_mb": 300}
PROOFS = 2_000


def fill(place: Path, begin: int, end: int) -> None:
    node = Node(place, load(place))
    for first in range(begin, end, GROUP * 8):
        group = []
        for number in range(first, min(end, first + GROUP * 8)):
            statement = decode_statement(center.statement(number, salt="scale"))
            group.append(
                Candidate(statement.identity, statement.raw, Content(statement, 0))
            )
        node.sequencer.commit(group)
    node.publisher.step()
    while node.follower.step():
        pass
    node.close()


def memory(pid: int, field: str = "VmRSS") -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    return 0.0


def measure(place: Path, size: int) -> dict:
    dice = random.Random(size)
    with center.served(place) as (port, process, ready):
        connection = http.client.HTTPConnection("127.0.0.1", port)
        times = {"receipt": [], "proof": []}
        for _ in range(PROOFS):
            index = dice.randrange(size)
            for kind, path in (("receipt", ""), ("proof", "/proof")):
                begin = time.perf_counter()
                connection.request("GET", f"/entries/1.{index}{path}")
                answer = connection.getresponse()
                data = answer.read()
                if answer.status != 200:
                    raise RuntimeError(f"{answer.status} {data!r}")
                times[kind].append(time.perf_counter() - begin)
        rss = memory(process.pid, "VmHWM")
    result = {"entries": size, "start_s": ready, "memory_mb": rss}
    for kind, values in times.items():
        values.sort()
        result[f"{kind}_p50_ms"] = values[len(values) // 2] * 1e3
        result[f"{kind}_p99_ms"] = values[int(len(values) * 0.99)] * 1e3
    return result


def run(scale: float = 1.0) -> dict:
    results, done = [], 0
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "center"
        center.make(place)
        for full in (10_000, 100_000, 1_000_000):
            size = int(full * scale)
            fill(place, done, size)
            done = size
            results.append(measure(place, size))
    return {"sizes": results, "aim": AIM}


def table(r: dict) -> str:
    return "\n".join(
        f"{s['entries']:>9,} entries  start {s['start_s']:.2f} s  "
        f"memory {s['memory_mb']:.0f} MB  receipt p99 {s['receipt_p99_ms']:.1f} ms  "
        f"tlog-proof p99 {s['proof_p99_ms']:.1f} ms"
        for s in r["sizes"]
    )


if __name__ == "__main__":
    print(table(run(float(sys.argv[1]) if len(sys.argv) > 1 else 1.0)))
