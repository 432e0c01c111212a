"""The log as it may be handed on: what is read was compared with the tree.

Databases do not notice a bit that flips at rest (of 200 flips in SQLite 181 came
back as data), so nothing read from one is passed on as it is. An entry's bytes
must hash to the leaf that the tiles hold, and these lead to the signed head; a
record list must make its manifest's payload; the time of an entry must be what
the tick before it says. A difference is ``StoreCorrupt``, never an answer.
"""

from collections.abc import Sequence
from hashlib import sha256

from trace_node.errors import Malformed, NotFound, StoreCorrupt
from trace_node.ledger.tiles import TILE_WIDTH
from trace_node.store.log import LogEntry, SqlLog
from trace_node.store.tiles import TileStore
from trace_node.trust.manifest import manifest_preimage
from trace_node.trust.merkle import HASH_SIZE, leaf_hash
from trace_node.trust.statement import Statement, decode_statement


class CheckedLog:
    """Reads a log and believes the tree, not the rows."""

    def __init__(self, log: SqlLog, tiles: TileStore) -> None:
        self._log = log
        self._tiles = tiles

    def entry(self, index: int) -> LogEntry:
        """Return one entry.

        Raises:
            NotFound: the log has no such entry.
            StoreCorrupt: its bytes changed at rest, or it is gone.
        """
        found = self.entries(index, index + 1)
        if not found:
            raise NotFound(f"no entry {index}")
        return found[0]

    def entries(self, begin: int, end: int) -> list[LogEntry]:
        """Return the entries [begin, end), fewer where the log ends before."""
        size = self._tiles.size  # before reading: entries may come at any moment
        found = self._log.entries(begin, end)
        for index, entry in enumerate(found, begin):
            if entry.index != index:
                raise StoreCorrupt("an entry is gone", where=f"entry {index}")
        reached = begin + len(found)
        if reached < min(end, size):
            raise StoreCorrupt("an entry is gone", where=f"entry {reached}")
        self._compare(begin, [entry.statement for entry in found])
        return found

    def statements(self, begin: int, end: int) -> list[bytes]:
        """Return the entry bytes of [begin, end), all of which the tree has."""
        found = self._log.statements(begin, end)
        if len(found) != end - begin:
            raise StoreCorrupt("entries are gone", where=f"entries {begin} to {end}")
        self._compare(begin, found)
        return found

    def manifest(self, index: int, statement: Statement) -> list[bytes]:
        """Return the record digests of a manifest entry, in order.

        Raises:
            NotFound: the center was not given them.
            StoreCorrupt: they are not those that were signed.
        """
        digests = self._log.manifest(index)
        try:
            payload = sha256(manifest_preimage(digests)).digest()
        except Malformed:
            payload = b""
        if payload != statement.payload:
            raise StoreCorrupt(
                "the record list changed at rest", where=f"entry {index}"
            )
        return digests

    def tick_of(self, entry: LogEntry) -> LogEntry:
        """Return the tick, or entry 0, that dates ``entry``.

        Found by the column ``kind``, compared with the column ``recorded``: two
        that would have to be wrong together.

        Raises:
            StoreCorrupt: what was found is none, or tells another time.
        """
        try:
            found = self._log.tick_before(entry.index)
        except NotFound as error:
            raise StoreCorrupt(error.message) from None
        self._compare(found.index, [found.statement])
        if decode_statement(found.statement).iat != entry.recorded:
            raise StoreCorrupt(
                "its record time changed at rest", where=f"entry {entry.index}"
            )
        return found

    def _compare(self, begin: int, statements: Sequence[bytes]) -> None:
        reached = begin + len(statements)
        if not statements:
            return
        if self._tiles.size < reached:  # another process appended it
            self._tiles.catch_up(reached)
        for first in range(begin // TILE_WIDTH * TILE_WIDTH, reached, TILE_WIDTH):
            low, high = max(begin, first), min(reached, first + TILE_WIDTH)
            tile = self._tiles.read(0, first // TILE_WIDTH, high - first)
            hashes = tile[(low - first) * HASH_SIZE :]
            if (
                b"".join(map(leaf_hash, statements[low - begin : high - begin]))
                != hashes
            ):
                raise StoreCorrupt(
                    "the bytes changed at rest", where=f"entries {low} to {high}"
                )
