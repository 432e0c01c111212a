"""Compare the index database with the entries it was made from.

The index is no part of the log and no proof covers it: a row that changed at rest
is a record that cannot be found any more. So every row that an entry must have
made is looked for.
"""

from trace_node.errors import StoreCorrupt, TraceNodeError
from trace_node.store.blobs import BlobStore
from trace_node.store.place import read_record
from trace_node.store.scan import IndexScan, Scan
from trace_node.trust.merkle import HASH_SIZE
from trace_node.trust.record import parse_record
from trace_node.trust.statement import Statement, decode_statement
from trace_node.verify.report import Findings


def check_index(
    scan: Scan, index: IndexScan, blobs: BlobStore, begin: int, end: int
) -> tuple[int, Findings]:
    """Return how many rows the entries [begin, end) have, and which are not there.

    Entries that are damaged themselves are left out: the audit names them.
    """
    findings, rows = Findings(), 0
    try:
        manifests = scan.manifests(begin, end)
        for number, _, _, _, raw in scan.entries(begin, end):
            try:
                statement = decode_statement(raw)
            except TraceNodeError:
                continue
            wanted = _positions(statement, manifests.get(number))
            rows += len(wanted)
            for digest, position in wanted.items():
                if index.position(digest, number) != position:
                    message = f"nothing says that it speaks of {digest.hex()}"
                    findings.add("index", f"entry {number}", message)
            if statement.governance_type is not None:
                did = _subject(scan, blobs, statement)
                if did is not None and not index.is_subject(did, number):
                    message = f"nothing says that it is about {did or 'all'}"
                    findings.add("index", f"entry {number}", message)
    except StoreCorrupt as error:
        findings.error("index", f"entries {begin} to {end}", error)
    return rows, findings


def _positions(statement: Statement, joined: bytes | None) -> dict[bytes, int]:
    """Return the records that an entry speaks of, each with its first place."""
    if statement.is_tick or (statement.is_manifest and joined is None):
        return {}
    if joined is None or not statement.is_manifest:
        return {statement.payload: 0}
    wanted: dict[bytes, int] = {}
    for at in range(0, len(joined), HASH_SIZE):
        wanted.setdefault(joined[at : at + HASH_SIZE], at // HASH_SIZE)
    return wanted


def _subject(scan: Scan, blobs: BlobStore, statement: Statement) -> str | None:
    """Return whom a governance entry is about; None if its record is damaged."""
    data = read_record(scan, blobs, statement.payload)
    try:
        return str(parse_record(data or b"").body.get("did", ""))
    except TraceNodeError:
        return None
