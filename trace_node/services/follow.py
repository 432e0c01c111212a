"""The follower: reads log entries and fills the index, at its own pace."""

from trace_node.errors import NotFound
from trace_node.store.index import SqlIndex
from trace_node.store.log import (
    KIND_GOVERNANCE,
    KIND_MANIFEST,
    KIND_TICK,
    LogEntry,
    SqlLog,
)
from trace_node.store.vault import Vault
from trace_node.trust.record import parse_record
from trace_node.trust.statement import decode_statement, payload_of

STEP = 500  # entries in one index transaction at most
ROWS = 20_000  # and rows, give or take one manifest: what it holds in memory


class Follower:
    """Projects the center's own log into its index."""

    def __init__(self, log: SqlLog, index: SqlIndex, vault: Vault) -> None:
        self._log = log
        self._index = index
        self._vault = vault

    def step(self) -> bool:
        """Read one stretch of entries; return False when there was none.

        A crash between reading and writing costs nothing: rows and cursor move
        in one transaction, and reading again gives the same rows.
        """
        start = self._index.cursor()
        entries = self._log.entries(start, start + STEP)
        if not entries:
            return False
        rows: list[tuple[bytes, int, int]] = []
        subjects: list[tuple[str, int]] = []
        end = start
        for entry in entries:
            if len(rows) >= ROWS:
                break
            rows += self._rows(entry)
            if entry.kind == KIND_GOVERNANCE:
                subjects.append((self._subject(entry), entry.index))
            end = entry.index + 1
        rows.sort()  # neighbours share pages of the index
        self._index.advance(end, rows, subjects)
        return True

    def _rows(self, entry: LogEntry) -> list[tuple[bytes, int, int]]:
        if entry.kind == KIND_TICK:
            return []
        if entry.kind != KIND_MANIFEST:
            return [(payload_of(entry.statement), entry.index, 0)]
        try:
            digests = self._log.manifest(entry.index)
        except NotFound:  # content-absent: completed later, or never
            return []
        return [(digest, entry.index, at) for at, digest in enumerate(digests)]

    def _subject(self, entry: LogEntry) -> str:
        statement = decode_statement(entry.statement)
        record = parse_record(self._vault.read(statement.payload))
        return str(record.body.get("did", ""))

    def completed(self, index: int) -> None:
        """Index a manifest whose record list came after its entry."""
        if index < self._index.cursor():
            self._index.add(self._rows(self._log.entry(index)))

    def tidy(self, now: int, patience: int) -> int:
        """Settle staged records that entries name; drop what waited too long.

        Args:
            now: Unix seconds.
            patience: seconds that a record may wait for its statement.

        Returns:
            How many records were dropped.
        """
        waiting = self._vault.staged(now - 1)
        named = [d for d in waiting if self._index.mentions(d)]
        self._vault.settle(named)
        late = [
            digest
            for digest in self._vault.staged(now - patience)
            if not self._index.mentions(digest)
        ]
        self._vault.drop(late)
        self._vault.measure()
        return len(late)
