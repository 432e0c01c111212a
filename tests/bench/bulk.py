"""Manifests of 1,000 records through /submissions, beside SQLite's own limit.

The limit: the same rows (records, entry, manifest, head) inserted by executemany,
one durable transaction (WAL, FULL) a manifest, in the same run. Both take their
turns, a few manifests each, into databases that grow alike; the ratio is the median
of the turns', because a noisy neighbour meets one turn and not the other.
"""

import base64
import http.client
import json
import os
import statistics
import sys
import tempfile
import time
from hashlib import sha256
from pathlib import Path

from tests.bench import center
from trace_node.ledger.receipt import verify_receipt
from trace_node.store.engine import open_sqlite
from trace_node.store.migrate import upgrade
from trace_node.trust import cbor
from trace_node.trust.manifest import manifest_preimage
from trace_node.trust.record import make_record
from trace_node.trust.statement import MANIFEST_MEDIA, sign_statement

AIM = 0.5
RECORDS = 1_000
TURNS = 9


def manifest(number: int) -> tuple[bytes, list[bytes]]:
    records = [
        make_record(
            "event",
            "4-segments@1",
            "2026-11-23T08:00:00Z",
            sha256(f"{number}.{k}".encode()).digest()[:16],
            {
                "type": "ObjectEvent",
                "action": "OBSERVE",
                "bizStep": "shipping",
                "disposition": "in_transit",
                "eventTime": "2026-11-23T08:00:00Z",
                "eventTimeZoneOffset": "+08:00",
                "epcList": [
                    f"https://id.gs1.org/01/09506000134352/21/{number}{k}{i}"
                    for i in range(8)
                ],
                "readPoint": {"id": "https://id.gs1.org/414/9506000134376"},
                "bizTransactionList": [
                    {"type": "po", "bizTransaction": f"urn:po:{number}-{k}"}
                ],
            },
        )
        for k in range(RECORDS)
    ]
    digests = [sha256(record).digest() for record in records]
    statement = sign_statement(
        center.SIGNER,
        iss=center.DID,
        aud=center.ORIGIN,
        media=MANIFEST_MEDIA,
        preimage=manifest_preimage(digests),
    )
    return statement, records


class Raw:
    """SQLite with nothing else: the same rows, one durable transaction a manifest."""

    def __init__(self, folder: Path) -> None:
        self.engine = open_sqlite(folder / "raw.db")
        upgrade(self.engine, "center")
        self.count = 0

    def rate(self, manifests) -> float:
        """Return records a second."""
        rows = [
            (
                [(sha256(r).digest(), len(r), None, r) for r in records],
                statement,
                b"".join(sha256(r).digest() for r in records),
            )
            for statement, records in manifests
        ]
        with self.engine.connect() as connection:
            raw = connection.connection.dbapi_connection
            raw.execute("PRAGMA foreign_keys=OFF")
            begin = time.perf_counter()
            for records, statement, digests in rows:
                self.insert(raw, records, statement, digests)
            seconds = time.perf_counter() - begin
        return len(rows) * RECORDS / seconds

    def insert(self, raw, records, statement, digests) -> None:
        number = self.count
        self.count += 1
        raw.execute("BEGIN IMMEDIATE")
        raw.executemany("INSERT INTO record VALUES (?, ?, ?, ?)", records)
        raw.execute(
            "INSERT INTO entry VALUES (1, ?, 1, 0, ?, ?)",
            (number, sha256(statement).digest(), statement),
        )
        raw.execute("INSERT INTO manifest VALUES (1, ?, ?)", (number, digests))
        raw.execute(
            "INSERT INTO head VALUES (1, ?, ?, ?, ?)",
            (number, digests[:32], statement[:80], statement[-64:]),
        )
        raw.execute("COMMIT")


def door_rate(port: int, manifests, key) -> tuple[float, int]:
    """Return records a second through /submissions, receipts verified after."""
    items = [
        b"\x82" + cbor.encode(statement) + cbor.encode(records)
        for statement, records in manifests
    ]
    connection = http.client.HTTPConnection("127.0.0.1", port)
    begin = time.perf_counter()
    connection.request(
        "POST",
        "/submissions",
        body=iter(items),
        headers={"content-type": "application/cbor-seq"},
        encode_chunked=True,
    )
    lines = connection.getresponse().read().splitlines()
    seconds = time.perf_counter() - begin
    for (statement, _), line in zip(manifests, lines, strict=True):
        answer = json.loads(line)
        if "receipt" not in answer:
            raise RuntimeError(line.decode())
        receipt = answer["receipt"]
        verify_receipt(base64.urlsafe_b64decode(receipt + "=="), statement, key)
    return len(items) * RECORDS / seconds, len(items[0])


def run(scale: float = 1.0) -> dict:
    count = max(2, int(12 * scale))
    cores = sorted(os.sched_getaffinity(0))
    turns = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "center"
        key = center.make(place)
        raw = Raw(Path(folder))
        with center.served(place) as (port, _, _):
            for turn in range(TURNS):
                manifests = [manifest(turn * count + n) for n in range(count)]
                alone = raw.rate(manifests)
                rate, size = door_rate(port, manifests, key)
                turns.append((rate / alone, rate, alone))
        raw.engine.dispose()
    middle = [statistics.median(column) for column in zip(*turns, strict=True)]
    return {
        "records_per_second": middle[1],
        "sqlite_rows_per_second": middle[2],
        "ratio": middle[0],
        "ratios": [ratio for ratio, _, _ in turns],
        "bytes_per_record": size / RECORDS,
        "cores": len(cores),
        "aim_ratio": AIM,
    }


def table(r: dict) -> str:
    return (
        f"SQLite alone {r['sqlite_rows_per_second']:,.0f} rows/s; "
        f"/submissions {r['records_per_second']:,.0f} records/s of "
        f"{r['bytes_per_record']:.0f} bytes  ratio {r['ratio']:.2f} "
        f"({min(r['ratios']):.2f} to {max(r['ratios']):.2f})"
    )


if __name__ == "__main__":
    print(table(run(float(sys.argv[1]) if len(sys.argv) > 1 else 1.0)))
