"""Record bytes by digest: small ones as rows, large ones and evidence as files.

Whatever is read is hashed again before it is handed on; a flipped bit is an
error here, never an answer. Names are digests in hex made here, so no name from
outside ever becomes a path.
"""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from sqlalchemy import Engine

from trace_node.errors import NotFound, Overloaded, StoreCorrupt
from trace_node.store.files import write_file
from trace_node.store.log import ROW_LIMIT
from trace_node.store.statements import Statements


class Vault:
    """Content beside the log, addressed by SHA-256."""

    def __init__(
        self, engine: Engine, reader: Engine, folder: Path, *, staged_limit: int
    ) -> None:
        """Keep files under ``folder``; stage at most ``staged_limit`` bytes."""
        self._engine = engine
        self._reader = reader
        self._folder = folder
        self._sql = Statements(engine.dialect)
        self._staged_limit = staged_limit
        self._staged = 0
        self.measure()

    def stage(self, digest: bytes, data: bytes, now: int) -> bool:
        """Keep a record that no entry names yet; durable on return.

        Returns:
            True if it is new here, False if it was there already.

        Raises:
            Overloaded: too much is staged; registering or sweeping makes room.
        """
        if self.has(digest):
            return False
        if self._staged + len(data) > self._staged_limit:
            raise Overloaded("too many records wait to be registered")
        content: bytes | None = data
        if len(data) > ROW_LIMIT:
            self.file(digest, data)
            content = None
        with self._engine.begin() as connection:
            done = connection.exec_driver_sql(
                self._sql.insert_record, (digest, len(data), now, content)
            )
            if content is None:
                self.file(digest, data)  # again: `drop` may have come between
        self._staged += len(data)
        return done.rowcount == 1

    def measure(self) -> int:
        """Count the staged bytes again (another process may stage, too)."""
        with self._reader.connect() as connection:
            self._staged = int(
                connection.exec_driver_sql(self._sql.staged_bytes).scalar_one()
            )
        return self._staged

    def staged(self, before: int) -> list[bytes]:
        """Return up to 1,000 records staged before second ``before``."""
        with self._reader.connect() as connection:
            rows = connection.exec_driver_sql(self._sql.staged_digests, (before,))
            return [bytes(row[0]) for row in rows]

    def settle(self, digests: Sequence[bytes]) -> None:
        """Mark records as named by an entry: they wait for nothing any more."""
        if digests:
            with self._engine.begin() as connection:
                connection.exec_driver_sql(self._sql.unstage, [(d,) for d in digests])

    def drop(self, digests: Sequence[bytes]) -> None:
        """Forget staged records that nobody registered.

        The row goes first: a crash between leaves a file that no row names,
        which costs room and misleads nobody. The file goes under the write lock,
        so that whoever names it under that lock can rely on ``has_file``.
        """
        if not digests:
            return
        with self._engine.begin() as connection:
            connection.exec_driver_sql(self._sql.drop_staged, [(d,) for d in digests])
        with self._engine.begin() as connection:
            for digest in digests:
                row = connection.exec_driver_sql(self._sql.record, (digest,)).fetchone()
                if row is None:
                    self._path(digest).unlink(missing_ok=True)

    def file(self, digest: bytes, data: bytes) -> None:
        """Write ``data`` as a file, before the row that will speak of it."""
        path = self._path(digest)
        if not path.exists():
            write_file(path, data)

    def has_file(self, digest: bytes) -> bool:
        """Say whether the file that ``file`` wrote is still there."""
        return self._path(digest).exists()

    def has(self, digest: bytes) -> bool:
        """Say whether the record is here."""
        with self._reader.connect() as connection:
            row = connection.exec_driver_sql(self._sql.record, (digest,)).fetchone()
        return row is not None

    def read(self, digest: bytes) -> bytes:
        """Return the record.

        Raises:
            NotFound: the center does not hold it.
            StoreCorrupt: what is stored has another digest.
        """
        with self._reader.connect() as connection:
            row = connection.exec_driver_sql(self._sql.record, (digest,)).fetchone()
        if row is None:
            raise NotFound("this center does not hold that record")
        data = row[1]
        if data is None:
            try:
                data = self._path(digest).read_bytes()
            except FileNotFoundError:
                raise StoreCorrupt("the record's file is gone") from None
        data = bytes(data)
        if sha256(data).digest() != digest:
            raise StoreCorrupt("the record's bytes changed at rest")
        return data

    def _path(self, digest: bytes) -> Path:
        name = digest.hex()
        return self._folder / name[:2] / name[2:4] / name
