"""The quiet scrub of a running center: a few entries a second, round and round.

What is damaged is refused when it is read (``services.checked``); the patrol reads
what nobody asks for, so that an operator hears of a dying disk while the backup
still holds what it damaged. It walks over the log and looks at all that hangs on
an entry: its bytes and columns, records, hash tile, receipt and index rows. A tile
file that is wrong is written again on the spot; the rest is for
`trace-node scrub --repair`, which looks at keys and database indexes, too.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from trace_node.errors import NotFound, Overloaded, StoreCorrupt, TraceNodeError
from trace_node.ledger.tiles import TILE_WIDTH, tile_path
from trace_node.services.admission import kind_of
from trace_node.services.bundle import Library
from trace_node.services.receipts import Receipts
from trace_node.store.files import write_file
from trace_node.store.log import LogEntry
from trace_node.trust.statement import Statement, decode_statement

MOST = 100  # places that are remembered


class Patrol:
    """Walks over one center; ``step`` is called by one thread, now and then.

    Args:
        folder: of the center.
        library: what is read.
        receipts: what makes receipts.
    """

    def __init__(self, folder: Path, library: Library, receipts: Receipts) -> None:
        self._folder = folder
        self._library = library
        self._receipts = receipts
        self._at = 0
        self._head = 0  # size of the head whose receipt was looked at last
        self._round: dict[str, str] = {}
        self.damage: dict[str, str] = {}  # place -> what is wrong with it
        self.entries = 0  # looked at since the start
        self.rounds = 0

    def step(self, count: int) -> list[str]:
        """Look at the next ``count`` entries; return what was not known before."""
        log = self._library.log
        begin, self._at = self._at, self._at + count
        try:
            found = log.entries(begin, self._at)
        except StoreCorrupt:  # one by one, to name the place
            found = []
            for index in range(begin, self._at):
                self._try(f"entry {index}", partial(self._take, found, index))
        for entry in found:
            self._try(f"entry {entry.index}", partial(self._entry, entry))
        first = -(-begin // TILE_WIDTH)  # the first tile that begins here
        for index in range(first, -(-self._at // TILE_WIDTH) if found else first):
            self._try(tile_path(0, index), partial(self._tile, index))
        self.entries += len(found)
        new = [f"{p}: {m}" for p, m in self._round.items() if p not in self.damage]
        if len(self.damage) < MOST:
            self.damage |= self._round
        if not found and self._at >= self._library.tiles.size:
            self._turn()
        return new

    def _turn(self) -> None:
        """Begin again at entry 0; what was mended meanwhile is forgotten."""
        self.damage, self._round = self._round, {}
        self._at = self._head = 0
        self.rounds += 1

    def _try(self, place: str, look: Callable[[], object]) -> None:
        try:
            look()
        except (NotFound, Overloaded):
            return  # the log ends here, or the head is kept in a moment
        except TraceNodeError as error:
            self._round[place] = str(error)

    def _take(self, found: list[LogEntry], index: int) -> None:
        found.append(self._library.log.entry(index))

    def _entry(self, entry: LogEntry) -> None:
        library = self._library
        statement = decode_statement(entry.statement)
        if (entry.kind, entry.identity) != (kind_of(statement), statement.identity):
            raise StoreCorrupt("its columns changed at rest")
        library.log.tick_of(entry)
        for position, digest in self._records(entry.index, statement):
            if entry.index < library.index.cursor() and not any(
                (mention.index, mention.position) == (entry.index, position)
                for mention in library.index.mentions(digest)
            ):
                raise StoreCorrupt(f"the index does not lead to {digest.hex()}")
            try:
                library.vault.read(digest)
            except NotFound:
                continue  # content may come later, or never
        if entry.index >= self._head:
            self._head = self._receipts.covered(entry.index)
            self._receipts.receipt(entry.index)

    def _records(self, index: int, statement: Statement) -> Iterator[tuple[int, bytes]]:
        """Yield (first position, digest) of the records that an entry speaks of."""
        if statement.is_tick:
            return
        if not statement.is_manifest:
            yield 0, statement.payload
            return
        try:
            digests = self._library.log.manifest(index, statement)
        except NotFound:
            return
        seen: set[bytes] = set()
        for position, digest in enumerate(digests):
            if digest not in seen:
                seen.add(digest)
                yield position, digest

    def _tile(self, index: int) -> None:
        path = self._folder / tile_path(0, index)
        tile = self._library.tiles.read(0, index)
        if path.is_file() and path.read_bytes() != tile:
            write_file(path, tile)
            raise StoreCorrupt("the file was not what the entries make; written again")
