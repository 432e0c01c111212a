"""Record bytes by digest: small ones as rows, large ones and evidence as blobs.

Whatever is read is hashed again before it is handed on; a flipped bit is an
error here, never an answer. Names are digests in hex made here, so no name from
outside ever becomes a path.

Blobs may be on another machine, so no transaction waits for one. A blob is
written before the row that speaks of it, and whoever wants to rely on it looks
at the row:

    stage      write the blob; insert the row     a crash between: a blob that no
                                                  row names costs room, no more
    drop       doom the row; delete the blob;     a doomed row is no record; a later
               a minute later delete the blob     turn goes on where a crash ended
               again, then the row

The row is doomed under the head lock, so that a commit that saw it keeps it. While
it is doomed the record cannot be staged anew: a delete that is still under way
would take the new blob with it. The minute is for those that nobody waits for.
"""

from collections.abc import Callable, Sequence
from hashlib import sha256

from sqlalchemy import Connection, Engine

from trace_node.errors import NotFound, Overloaded, StoreCorrupt
from trace_node.store.blobs import BlobStore, vault_name, write_sound
from trace_node.store.log import OWN_LOG, ROW_LIMIT
from trace_node.store.statements import Statements
from trace_node.store.typed import blob

MINUTE = 60  # seconds; far more than a request to the blobs may take


class Vault:
    """Content beside the log, addressed by SHA-256."""

    def __init__(
        self,
        engine: Engine,
        reader: Engine,
        blobs: BlobStore,
        *,
        staged_limit: int,
        clock: Callable[[], int],
    ) -> None:
        """Keep what is large in ``blobs``; stage at most ``staged_limit`` bytes.

        ``clock`` tells Unix seconds.
        """
        self._engine = engine
        self._reader = reader
        self._blobs = blobs
        self._sql = Statements(engine.dialect)
        self._staged_limit = staged_limit
        self._clock = clock
        self._staged = 0
        self.measure()

    def stage(self, digest: bytes, data: bytes, now: int) -> bool:
        """Keep a record that no entry names yet; durable on return.

        Returns:
            True if it is new here, False if it was there already.

        Raises:
            Overloaded: too much is staged; registering or sweeping makes room.
            BlobsDown: it is large, and the blobs are out of reach.
        """
        if len(data) > ROW_LIMIT:
            return self._stage([(digest, data)], now) == 1
        if self.has(digest):
            return False
        self._check_limit(len(data))
        with self._engine.begin() as connection:
            done = connection.exec_driver_sql(
                self._sql.insert_record, (digest, len(data), now, data)
            )
        self._staged += len(data)
        return done.rowcount == 1

    def stage_large(self, records: Sequence[tuple[bytes, bytes]]) -> None:
        """Keep records (digest, bytes) over ``ROW_LIMIT`` before they are registered.

        Raises:
            Overloaded, BlobsDown: as ``stage``.
        """
        if records:
            self._stage(records, self._clock())

    def _stage(self, records: Sequence[tuple[bytes, bytes]], now: int) -> int:
        """Write blobs, then their rows; return how many are new.

        A blob that is there is compared, so bringing a record again mends it.
        """
        digests = [digest for digest, _ in records]
        with self._reader.connect() as connection:
            self._check_doomed(connection, digests)
        self._check_limit(sum(len(data) for d, data in records if not self.has(d)))
        write_sound(self._blobs, [(vault_name(d), data) for d, data in records])
        new = 0
        with self._engine.begin() as connection:
            for digest, data in records:
                done = connection.exec_driver_sql(
                    self._sql.insert_record, (digest, len(data), now, None)
                )
                new += done.rowcount
                self._staged += len(data) * done.rowcount
            self._check_doomed(connection, digests)
        return new

    def _check_limit(self, size: int) -> None:
        if self._staged + size > self._staged_limit:
            raise Overloaded("too many records wait to be registered")

    def _check_doomed(self, connection: Connection, digests: Sequence[bytes]) -> None:
        for digest in digests:
            if connection.exec_driver_sql(self._sql.doom_of, (digest,)).fetchone():
                error = Overloaded("the record is being dropped: bring it again later")
                error.retry_after = MINUTE
                raise error

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
            return [blob(row[0]) for row in rows]

    def settle(self, digests: Sequence[bytes]) -> None:
        """Mark records as named by an entry: they wait for nothing any more."""
        if digests:
            with self._engine.begin() as connection:
                connection.exec_driver_sql(self._sql.unstage, [(d,) for d in digests])

    def drop(self, digests: Sequence[bytes]) -> None:
        """Forget staged records that nobody registered; go on with earlier ones.

        Raises:
            BlobsDown: the blobs are out of reach; the next call goes on.
        """
        if digests:
            doom = -self._clock()
            with self._engine.begin() as connection:
                run = connection.exec_driver_sql
                run(self._sql.lock_head, (OWN_LOG,))
                run(self._sql.drop_staged, [(d,) for d in digests])
                run(self._sql.doom, [(doom, d) for d in digests])
                large = [d for d in digests if run(self._sql.doom_of, (d,)).fetchone()]
            self._blobs.delete([vault_name(digest) for digest in large])
        self._sweep()

    def _sweep(self) -> None:
        """Take away the rows that were doomed more than a minute ago."""
        with self._reader.connect() as connection:
            rows = connection.exec_driver_sql(
                self._sql.doomed, (MINUTE - self._clock(),)
            ).fetchall()
        if rows:
            self._blobs.delete([vault_name(bytes(row[0])) for row in rows])
            with self._engine.begin() as connection:
                for digest, doom in rows:
                    connection.exec_driver_sql(self._sql.forget, (digest, doom))

    def has(self, digest: bytes) -> bool:
        """Say whether the record is here; of a large one, whether its row is."""
        with self._reader.connect() as connection:
            row = connection.exec_driver_sql(self._sql.record, (digest,)).fetchone()
        return row is not None

    def read(self, digest: bytes) -> bytes:
        """Return the record.

        Raises:
            NotFound: the center does not hold it.
            StoreCorrupt: what is stored has another digest.
            BlobsDown: it is large, and the blobs are out of reach.
        """
        with self._reader.connect() as connection:
            row = connection.exec_driver_sql(self._sql.record, (digest,)).fetchone()
        if row is None:
            raise NotFound("this center does not hold that record")
        data = row[1]
        if data is None:
            data = self._blobs.get(vault_name(digest))
            if data is None:
                raise StoreCorrupt("the record's blob is gone")
        data = blob(data)
        if sha256(data).digest() != digest:
            raise StoreCorrupt("the record's bytes changed at rest")
        return data
