"""The follower: reads log entries and fills the index, at its own pace."""

from trace_node.errors import NotFound
from trace_node.services.checked import CheckedLog
from trace_node.store.index import SqlIndex
from trace_node.store.vault import Vault
from trace_node.trust.record import parse_record
from trace_node.trust.statement import Statement, decode_statement

STEP = 500  # entries in one index transaction at most
ROWS = 20_000  # and rows, give or take one manifest: what it holds in memory


class Follower:
    """Projects the center's own log into its index.

    What an entry is, its bytes say: a column that changed at rest must not leave
    a record out of the index.
    """

    def __init__(self, log: CheckedLog, index: SqlIndex, vault: Vault) -> None:
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
            statement = decode_statement(entry.statement)
            rows += self._rows(entry.index, statement)
            if statement.governance_type is not None:
                subjects.append((self._subject(statement), entry.index))
            end = entry.index + 1
        rows.sort()  # neighbours share pages of the index
        self._index.advance(end, rows, subjects)
        return True

    def _rows(self, index: int, statement: Statement) -> list[tuple[bytes, int, int]]:
        if statement.is_tick:
            return []
        if not statement.is_manifest:
            return [(statement.payload, index, 0)]
        try:
            digests = self._log.manifest(index, statement)
        except NotFound:  # content-absent: completed later, or never
            return []
        return [(digest, index, at) for at, digest in enumerate(digests)]

    def _subject(self, statement: Statement) -> str:
        record = parse_record(self._vault.read(statement.payload))
        return str(record.body.get("did", ""))

    def completed(self, index: int) -> None:
        """Index a manifest whose record list came after its entry."""
        if index < self._index.cursor():
            statement = decode_statement(self._log.entry(index).statement)
            self._index.add(self._rows(index, statement))

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
