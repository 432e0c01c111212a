"""Mend what a scrub found: from the entries, from their tree, from a backup.

What is put back proves itself first. Entries are taken from a backup only when
with them the whole log leads to the head signed last; records only under their
own digest; record lists only under the payload that was signed; tiles and the
index are made from the entries. What cannot be proven is left as it is and named.
"""

from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from sqlalchemy import Engine

from trace_node.errors import Malformed, StoreCorrupt, TraceNodeError
from trace_node.ledger.merkle import CompactRange, grow
from trace_node.services.audit import STRETCH, spans
from trace_node.services.audit_stretch import kind_of
from trace_node.services.retile import write_tiles
from trace_node.store.blobs import vault_name
from trace_node.store.engine import sqlite_driver
from trace_node.store.files import write_file
from trace_node.store.log import LogEntry
from trace_node.store.mending import Mender
from trace_node.store.scan import Scan
from trace_node.trust.manifest import manifest_preimage
from trace_node.trust.merkle import HASH_SIZE, leaf_hash
from trace_node.trust.statement import Statement, decode_statement


class Repair:
    """One repair of a center's log and vault.

    Args:
        folder: of the center; it may be running.
        engine: of its database.
        backup: a folder that `backup` made of the same log, if there is one.
    """

    def __init__(self, folder: Path, engine: Engine, backup: Path | None) -> None:
        self._folder = folder
        self._mender = Mender(engine)
        driver = sqlite_driver().__name__
        self._scan = Scan(folder / "center.db", driver)
        self._backup = backup
        self._good = Scan(backup / "center.db", driver) if backup else None
        self.done: Counter[str] = Counter()

    def close(self) -> None:
        """Close what was opened for reading."""
        self._scan.close()
        if self._good:
            self._good.close()

    def run(self) -> Counter[str]:
        """Mend all that can be; return how many of what.

        Raises:
            StoreCorrupt: the database cannot be read, or the entries do not lead
                to a signed head even with those of the backup.
        """
        self._mender.reindex()
        size = self._scan.ends().size
        roots = {scan.root_at(size) for scan in (self._scan, self._good) if scan}
        changed, range_ = self._compare(size, None)
        if range_.root() not in roots and self._good:
            changed, range_ = self._compare(size, self._good)
        if size and range_.root() not in roots:
            raise StoreCorrupt(
                "the entries, with those of the backup, lead to no signed head; "
                "restore the center from a newer backup or from a mirror"
            )
        self._mender.entries(changed)
        self._count("entries", len(changed))
        self._manifests(size)
        self._heads(size)
        self._records()
        statements = (row[4] for row in self._rows(self._scan, size))
        self._count("tiles", write_tiles(self._folder, statements))
        return self.done

    def _count(self, name: str, number: int = 1) -> None:
        if number:
            self.done[name] += number

    def _rows(
        self, scan: Scan, size: int
    ) -> Iterator[tuple[int, int, int, bytes, bytes]]:
        for begin in range(0, size, STRETCH):
            yield from scan.entries(begin, min(size, begin + STRETCH))

    def _compare(
        self, size: int, backup: Scan | None
    ) -> tuple[list[LogEntry], CompactRange]:
        """Return the entries to put in place, and the tree that they then make."""
        changed: list[LogEntry] = []
        range_ = CompactRange()
        recorded = 0
        for begin in range(0, size, STRETCH):
            end = min(size, begin + STRETCH)
            there = {row[0]: row[1:] for row in self._scan.entries(begin, end)}
            good = (
                {row[0]: row[4] for row in backup.entries(begin, end)} if backup else {}
            )
            leaves = []
            for index in range(begin, end):
                row = there.get(index)
                raw = good.get(index, row[3] if row else b"")
                leaves.append(leaf_hash(raw))
                statement = _decoded(raw)
                if statement is None:
                    continue
                if statement.is_tick or index == 0:
                    recorded = statement.iat or 0
                kind = kind_of(statement)
                if row != (kind, recorded, statement.identity, raw):
                    changed.append(
                        LogEntry(index, kind, recorded, statement.identity, raw)
                    )
            range_ = grow(range_, leaves).frontier
        return changed, range_

    def _manifests(self, size: int) -> None:
        for begin in range(0, size, STRETCH):
            end = min(size, begin + STRETCH)
            there = self._scan.manifests(begin, end)
            good = self._good.manifests(begin, end) if self._good else {}
            if not there and not good:
                continue
            for index, _, _, _, raw in self._scan.entries(begin, end):
                if index not in there and index not in good:
                    continue
                payload = decode_statement(raw).payload
                if _lists(there.get(index)) != payload == _lists(good.get(index)):
                    self._mender.manifest(index, good[index])
                    self._count("record lists")

    def _heads(self, size: int) -> None:
        """Put back heads that differ from the backup's: none is signed twice."""
        if not self._good:
            return
        end = min(size, self._good.ends().size)
        for begin in range(0, end, STRETCH):
            span = begin, min(end, begin + STRETCH)
            there = {row[0]: row for row in self._scan.heads(*span)}
            for row in self._good.heads(*span):
                if there.get(row[0]) != row:
                    self._mender.head(*row)
                    self._count("heads")

    def _records(self) -> None:
        for low, high in spans(self._scan.ends().records):
            for digest, size, content in list(self._scan.records(low, high)):
                path = self._folder / vault_name(digest)
                data = content
                if data is None:
                    data = path.read_bytes() if path.is_file() else b""
                if sha256(data).digest() == digest and len(data) == size:
                    continue
                self._record(digest, data, filed=content is None)

    def _record(self, digest: bytes, data: bytes, *, filed: bool) -> None:
        actual = sha256(data).digest()
        good = data if actual == digest else self._from_backup(digest)
        if good is not None:
            if filed:
                write_file(self._folder / vault_name(digest), good)
            self._mender.record(digest, len(good), None if filed else good)
            self._count("records")
        elif self._from_backup(actual) is not None and not filed:
            # The bytes are a record's, and its name had changed.
            self._mender.record(actual, len(data), data)
            self._mender.forget_record(digest)
            self._count("records")

    def _from_backup(self, digest: bytes) -> bytes | None:
        if not self._good or not self._backup:
            return None
        data = self._good.record(digest)
        path = self._backup / vault_name(digest)
        if data is None and path.is_file():
            data = path.read_bytes()
        return data if data and sha256(data).digest() == digest else None


def _decoded(raw: bytes) -> Statement | None:
    try:
        return decode_statement(raw)
    except TraceNodeError:
        return None


def _lists(joined: bytes | None) -> bytes | None:
    """Return the payload of a manifest over these digests; None if there is none."""
    if not joined:
        return None
    try:
        digests = [
            joined[at : at + HASH_SIZE] for at in range(0, len(joined), HASH_SIZE)
        ]
        return sha256(manifest_preimage(digests)).digest()
    except Malformed:
        return None
