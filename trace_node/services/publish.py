"""Publishing: at most once a second, the newest head and all of its tiles."""

from trace_node.ledger.checkpoint import Checkpoint
from trace_node.store.heads import HeadFile
from trace_node.store.log import SqlLog
from trace_node.store.tiles import TileStore


class Publisher:
    """Holds the checkpoint that the world sees."""

    def __init__(self, log: SqlLog, tiles: TileStore, keeper: HeadFile) -> None:
        self._log = log
        self._tiles = tiles
        self._keeper = keeper
        self._published: tuple[Checkpoint, bytes] | None = None

    @property
    def note(self) -> bytes:
        """The signed checkpoint as published, empty before the first."""
        return self._published[1] if self._published else b""

    @property
    def size(self) -> int:
        """The size of the published checkpoint."""
        return self._published[0].size if self._published else 0

    def step(self) -> None:
        """Make the tiles of the newest kept head durable, then publish it.

        A crash before the last line leaves tiles that no published checkpoint
        needs yet; the next start publishes them.
        """
        self._keeper.refresh()
        newest = self._keeper.snapshot()
        if newest is None or newest[0].size == self.size:
            return
        if self._tiles.size < newest[0].size:
            self._tiles.catch_up(newest[0].size)
        self._tiles.flush()
        self._published = newest
