"""One commit's transaction: the sequencer's ``Appending`` port in SQL.

Written through statements compiled once from the tables and handed to the
driver with plain tuples; a row costs a few microseconds this way and tens as an
object. Everything of one commit (entries, manifests, records, head) is one
transaction, so a crash leaves all of it or nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection

from trace_node.errors import Conflict, StoreCorrupt
from trace_node.ledger.merkle import CompactRange
from trace_node.ledger.sequencer import Candidate, Sealed, StoredHead
from trace_node.store.rows import insert_rows
from trace_node.store.statements import Statements
from trace_node.trust.merkle import HASH_SIZE
from trace_node.trust.statement import Statement

KIND_RECORD, KIND_MANIFEST, KIND_TICK, KIND_GOVERNANCE = 0, 1, 2, 3
OWN_LOG = 1
ROW_LIMIT = 65_536  # bytes; larger records are files
CHUNK = 500  # identities asked for at once; far below every engine's limit


@dataclass(slots=True)
class Content:
    """What travels with a candidate into its transaction.

    ``statement`` is the entry decoded; ``record`` the governance record it is
    about; ``digests`` a manifest's record digests in order, where they are known;
    ``records`` are (digest, bytes) to store as rows; ``filed`` are (digest, size)
    of those already written as files. ``recorded`` is filled in when the entry
    is admitted.
    """

    statement: Statement
    kind: int
    record: bytes | None = None
    digests: Sequence[bytes] = ()
    records: Sequence[tuple[bytes, bytes]] = ()
    filed: Sequence[tuple[bytes, int]] = ()
    recorded: int = 0


def pack_range(range_: CompactRange) -> bytes:
    """Return the compact range's hashes one after another."""
    return b"".join(range_.nodes)


def unpack_range(size: int, frontier: bytes) -> CompactRange:
    """Return the compact range of ``size`` leaves.

    Raises:
        StoreCorrupt: size and hashes do not fit each other.
    """
    nodes = tuple(
        frontier[at : at + HASH_SIZE] for at in range(0, len(frontier), HASH_SIZE)
    )
    if len(frontier) % HASH_SIZE or len(nodes) != size.bit_count():
        raise StoreCorrupt(f"the head row of size {size} has {len(frontier)} bytes")
    return CompactRange(size, nodes)


class SqlAppending:
    """One open transaction under the head lock (``sequencer.Appending``)."""

    def __init__(self, connection: Connection, sql: Statements, log: int) -> None:
        self._connection = connection
        self._sql = sql
        self._log = log
        row = self._one(sql.lock_head, (log,))
        if row is None:
            raise StoreCorrupt(f"log {log} has no head row")
        self.head = StoredHead(unpack_range(row[0], bytes(row[2])), row[1])

    def _one(self, statement: str, values: tuple[Any, ...]) -> Any:
        return self._connection.exec_driver_sql(statement, values).fetchone()

    def known(self, identities: Sequence[bytes]) -> dict[bytes, int]:
        """Return the index of every identity that already has an entry."""
        found: dict[bytes, int] = {}
        for start in range(0, len(identities), CHUNK):
            part = identities[start : start + CHUNK]
            rows = self._connection.exec_driver_sql(*self._sql.known(self._log, part))
            found.update((bytes(identity), index) for identity, index in rows)
        return found

    def write(self, first: int, candidates: Sequence[Candidate]) -> None:
        """Write entries with their manifests and records from index ``first``."""
        entries, manifests, landed, governance = [], [], [], []
        records: list[tuple[Any, ...]] = []
        for index, candidate in enumerate(candidates, first):
            content: Content = candidate.content
            entries.append(
                (
                    self._log,
                    index,
                    content.kind,
                    content.recorded,
                    candidate.identity,
                    candidate.entry,
                )
            )
            if content.digests:
                manifests.append((self._log, index, b"".join(content.digests)))
            records.extend((d, len(data), None, data) for d, data in content.records)
            records.extend((d, size, None, None) for d, size in content.filed)
            if content.kind == KIND_GOVERNANCE:
                governance += [(data, digest) for digest, data in content.records]
            if content.kind != KIND_MANIFEST and not content.records:
                landed.append((content.statement.payload,))
        insert_rows(self._connection, self._sql.insert_entry, entries)
        if manifests:
            insert_rows(self._connection, self._sql.insert_manifest, manifests)
        if records:
            # In the order of their names, neighbours share pages of the index.
            records.sort(key=itemgetter(0))
            insert_rows(self._connection, self._sql.insert_record, records)
            landed.extend((row[0],) for row in records)
        if governance:
            # What the fold needs is a row, also where it was a blob before: no
            # commit may depend on the blobs, nor on a blob that is being dropped.
            self._connection.exec_driver_sql(self._sql.fill_record, governance)
        if landed and self._one(self._sql.any_staged, ()):
            self._connection.exec_driver_sql(self._sql.unstage, landed)

    def read_back(self, first: int, count: int) -> list[bytes]:
        """Return the ``count`` entries from ``first`` as they are stored now."""
        rows = self._connection.exec_driver_sql(
            self._sql.entries, (self._log, first, first + count)
        )
        return [bytes(row[0]) for row in rows]

    def root_at(self, size: int) -> bytes | None:
        """Return the root signed at ``size``, None if no head was."""
        row = self._one(self._sql.root_at, (self._log, size))
        return None if row is None else bytes(row[0])

    def vouch(self) -> None:
        """Write the head row as it is: the commit waits for disk and standby."""
        self._connection.exec_driver_sql(self._sql.touch_head, (self._log,))

    def seal(self, sealed: Sealed) -> None:
        """Move the head by compare-and-swap on its epoch and keep the root.

        Raises:
            Conflict: another writer moved the head since it was read.
        """
        done = self._connection.exec_driver_sql(
            self._sql.move_head,
            (
                sealed.range.size,
                sealed.epoch + 1,
                pack_range(sealed.range),
                self._log,
                sealed.epoch,
            ),
        )
        if done.rowcount != 1:
            raise Conflict("another sequencer moved the head")
        self._connection.exec_driver_sql(
            self._sql.insert_head,
            (
                self._log,
                sealed.range.size,
                sealed.root,
                sealed.receipt_protected,
                sealed.receipt_signature,
            ),
        )
