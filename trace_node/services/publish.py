"""Publishing: at most once a second, the newest head and all of its tiles."""

from collections.abc import Callable

from trace_node.errors import StoreCorrupt, TraceNodeError
from trace_node.ledger.checkpoint import open_checkpoint
from trace_node.store.heads import HeadFile
from trace_node.store.log import SqlLog
from trace_node.store.tiles import TileStore
from trace_node.trust.vkey import VerifierKey


class Publisher:
    """Publishes for the whole center; several processes agree through the log."""

    def __init__(
        self,
        log: SqlLog,
        tiles: TileStore,
        keeper: HeadFile,
        key: VerifierKey,
        now: Callable[[], int],
    ) -> None:
        self._log = log
        self._tiles = tiles
        self._keeper = keeper
        self._key = key
        self._now = now
        self._size = 0
        self._note = b""

    @property
    def size(self) -> int:
        """The size of the published checkpoint that this process saw last."""
        return self._size

    def note(self) -> bytes:
        """Return the signed checkpoint as published, empty before the first.

        Every process of the center answers the same, so nobody who asks twice
        sees the log shrink.

        Raises:
            StoreCorrupt: what is stored is no checkpoint of this log.
        """
        found = self._log.published()
        if found is not None:
            self._see(found[0], found[2])
        return self._note

    def reach(self) -> None:
        """Take in the hashes of all that is published, also by other processes."""
        self.note()
        if self._tiles.size < self._size:
            self._tiles.catch_up(self._size)

    def step(self, *, last: bool = False) -> None:
        """Make the tiles of the newest kept head durable, then publish it.

        Args:
            last: of this process: do not leave it to a next turn.

        A crash before the last line leaves tiles that no published checkpoint
        needs yet; the next start publishes them.
        """
        newest = self._keeper.snapshot()
        found = self._log.published()
        now = self._now()
        own = self._note
        if found is not None:
            self._see(found[0], found[2])
        if newest is None or newest[0].size <= self._size:
            if self._tiles.waiting:  # one was mended while its place did not answer
                self._tiles.flush()
            return
        if found is not None and found[1] == now and found[2] != own and not last:
            return  # another process did, within this second
        head, note = newest
        if self._tiles.size < head.size:
            self._tiles.catch_up(head.size)
        self._tiles.flush()
        self._log.publish(head.size, now, note)
        self._see(head.size, note)

    def _see(self, size: int, note: bytes) -> None:
        if note == self._note:
            return
        try:
            head, _, _ = open_checkpoint(note, [self._key])
        except TraceNodeError as error:
            raise StoreCorrupt(
                f"the published checkpoint: {error}", where="published"
            ) from None
        if head.size != size:
            raise StoreCorrupt("the published checkpoint has another size")
        if size > self._size:
            self._size, self._note = size, note
