"""Where a center's bytes are: in its folder, or where its settings put them.

Picklable and light, for an audit hands it to a process a core: the SQL toolkit is
imported by whoever makes a place, never by whoever reads there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from trace_node.errors import Misuse
from trace_node.store.blobs import BlobStore, open_blobs, vault_name
from trace_node.store.scan import IndexScan, Scan
from trace_node.store.scan_postgres import PostgresIndexScan, PostgresScan


@dataclass(frozen=True, slots=True)
class Place:
    """A center as it lies there; ``store.engine.place_of`` makes one.

    Args:
        folder: of the center.
        driver: the SQLite module to use.
        server: libpq's names and values for a PostgreSQL database; None: SQLite.
        blobs: the setting of that name.
    """

    folder: Path
    driver: str
    server: Mapping[str, str] | None = field(default=None, repr=False)
    blobs: str = ""

    def scan(self) -> Scan:
        """Return a reader of the center's database.

        Raises:
            Misuse: there is none.
            StoreCorrupt: it cannot be read.
        """
        if self.server is not None:
            return PostgresScan(self.server, "center")
        database = self.folder / "center.db"
        if not database.is_file():
            raise Misuse(f"no center in {self.folder}: it has no center.db")
        return Scan(database, self.driver)

    def index(self) -> IndexScan | None:
        """Return a reader of the index, None where it is not made yet."""
        if self.server is not None:
            return PostgresIndexScan(self.server, "index")
        path = self.folder / "index.db"
        return IndexScan(path, self.driver) if path.is_file() else None

    def open_blobs(self, origin: str) -> BlobStore:
        """Return where tiles and large records are."""
        return open_blobs(self.blobs, self.folder, origin)


def read_record(scan: Scan, blobs: BlobStore, digest: bytes) -> bytes | None:
    """Return a record's bytes, row or blob, unchecked; None where there are none."""
    data = scan.record(digest)
    return blobs.get(vault_name(digest)) if data is None else data
