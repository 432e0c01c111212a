"""Servers whose store or sequencer is broken on purpose; ``broken_servers`` names them.

Each function changes the process it is called in, a child that is about to serve.
"""

import os
import time
from contextlib import contextmanager, suppress

from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError

import trace_node.api.app
import trace_node.api.bodies
import trace_node.api.routes.records
import trace_node.cli.center
import trace_node.node
import trace_node.services.publish
import trace_node.store.files
import trace_node.store.heads
import trace_node.store.tiles
import trace_node.store.vault
from trace_node.errors import NotFound, StoreCorrupt
from trace_node.ledger.checkpoint import Checkpoint
from trace_node.ledger.checkpoint import open_checkpoint as open_checkpoint_
from trace_node.ledger.sequencer import Sequencer
from trace_node.node import Node
from trace_node.services.checked import CheckedLog
from trace_node.store.appending import SqlAppending
from trace_node.store.heads import HeadFile, Kept
from trace_node.store.log import SqlLog
from trace_node.store.tiles import TileStore
from trace_node.store.vault import Vault

DISK = (OSError, SQLAlchemyError)


def shrug():
    """Take a commit that failed for one that did not."""

    @contextmanager
    def append(self):
        connection = self._engine.connect()
        try:
            connection.begin()
            yield SqlAppending(connection, self._sql, self._log)
            with suppress(*DISK):
                connection.commit()
        finally:
            connection.close()

    SqlLog.append = append


def hasty_head():
    """Keep the head a moment before the entries are durable."""
    real = Sequencer._write

    def _write(self, tx, entering):
        growth = real(self, tx, entering)
        self._keep(Checkpoint(self._identity.origin, growth.size, growth.root))
        time.sleep(0.05)
        return growth

    Sequencer._write = _write


def careless_start():
    """Write the kept head anew at every start, in place and not at once."""
    start = Node._open_store

    def _open_store(self, **options):
        path = self.folder / "head"
        data = path.read_bytes()
        path.write_bytes(b"")
        time.sleep(0.05)
        path.write_bytes(data)
        start(self, **options)

    Node._open_store = _open_store


def migration_in_parts():
    """Commit each step of a migration by itself."""
    real = trace_node.node.upgrade

    def upgrade(engine, branch):
        @event.listens_for(engine, "after_cursor_execute")
        def _commit(connection, cursor, statement, *_):
            if statement.strip().startswith("CREATE"):
                cursor.execute("COMMIT")
                time.sleep(0.04)
                cursor.execute("BEGIN IMMEDIATE")

        real(engine, branch)
        event.remove(engine, "after_cursor_execute", _commit)

    trace_node.node.upgrade = upgrade


def no_lock():
    """Go on from the head one remembers, over what others wrote, locking nothing."""
    remembered = {}
    init, seal = SqlAppending.__init__, SqlAppending.seal

    def __init__(self, connection, sql, log):  # noqa: N807 - it becomes the method
        init(self, connection, sql, log)
        real = self.head
        self.head = remembered.setdefault("head", real)
        self._real = real

    def _seal(self, sealed):
        run = self._connection.exec_driver_sql
        run("DELETE FROM head WHERE log = ? AND size = ?", (1, sealed.range.size))
        held = self.head
        self.head = self._real
        seal(self, type(sealed)(sealed.range, self._real.epoch, *_rest(sealed)))
        self.head = held
        remembered["head"] = type(held)(sealed.range, self._real.epoch + 1)

    def write(self, first, candidates):
        self._connection.exec_driver_sql(
            "DELETE FROM entry WHERE log = 1 AND entry_index >= ?", (first,)
        )
        real_write(self, first, candidates)

    real_write = SqlAppending.write
    SqlAppending.__init__, SqlAppending.seal = __init__, _seal
    SqlAppending.write = write
    no_guard()
    _no_serve_lock()


def _rest(sealed):
    return sealed.root, sealed.receipt_protected, sealed.receipt_signature


def _no_serve_lock():
    """Take every file lock for free."""
    trace_node.store.heads.fcntl.flock = lambda *_: None


def forgets_files():
    """Say that a file was written, whatever became of it."""
    real = Vault.file

    def file(self, digest, data):
        with suppress(OSError):
            real(self, digest, data)

    Vault.file = file


def careless_head():
    """Release receipts whether or not their head could be kept."""
    real = HeadFile.keep

    def keep(self, note, head):
        with suppress(OSError):
            real(self, note, head)
        self._best = Kept(head, note, 0)

    HeadFile.keep = keep


def in_place():
    """Write files where they belong, without a temporary one."""

    def write_files(files, *, mode=0o644):
        for path, data in files:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

    for module in (trace_node.store.files, trace_node.store.tiles):
        module.write_files = write_files
    trace_node.store.vault.write_file = lambda path, data: write_files([(path, data)])


def sleepy():
    """Sync nothing."""
    os.fsync = os.fdatasync = lambda _: None
    sync_database("OFF")


def sync_database(level):
    """Give every connection another ``synchronous`` than was asserted."""
    real = trace_node.node.open_engines

    def open_engines(*given, **named):
        engines = real(*given, **named)

        @event.listens_for(engines.center, "connect")
        def _less(connection, _record):
            connection.execute(f"PRAGMA synchronous={level}")

        engines.center.dispose()
        return engines

    trace_node.node.open_engines = open_engines


def statements_unchecked():
    """Serve the bytes of an entry as the database has them."""
    CheckedLog._compare = lambda *_: None


def no_guard():
    """Sign without a look at the head signed last."""
    Sequencer._guard = lambda self, head, tx: None


def trusts_the_head():
    """Take what a slot says without a look at its signature."""
    real = open_checkpoint_

    def open_checkpoint(data, keys):
        try:
            return real(data, keys)
        except Exception:
            lines = data.split(b"\n")
            size = int(lines[1]) if lines[1].isdigit() else 1 << 40
            return Checkpoint(lines[0].decode("latin-1"), size, bytes(32)), (), ()

    trace_node.store.heads.open_checkpoint = open_checkpoint
    trace_node.services.publish.open_checkpoint = open_checkpoint


def trusts_tiles():
    """Hand on a tile as its file has it."""

    def _checked(self, level, index):
        return self._file(level, index) or self._made(level, index)

    real = TileStore._try_load

    def _try_load(self, range_, tile):
        real(self, range_, tile)
        return True

    TileStore._checked, TileStore._try_load = _checked, _try_load


def no_second_making():
    """Do not make a tile again that is gone."""

    def _made_if_missing(self, level, index):
        tile = self._file(level, index)
        if tile is None:
            raise StoreCorrupt("a tile is gone")
        return tile

    TileStore._made_if_missing = _made_if_missing


def trusts_the_vault():
    """Hand on what the file has, whatever its digest."""
    Vault.read = _read_unchecked


def _read_unchecked(self, digest):
    with self._reader.connect() as connection:
        row = connection.exec_driver_sql(self._sql.record, (digest,)).fetchone()
    if row is None:
        raise NotFound("this center does not hold that record")
    return row[1] if row[1] is not None else self._path(digest).read_bytes()


def says_not_found():
    """Say of a record that is lost that it never was."""
    real = Vault.read

    def read(self, digest):
        try:
            return real(self, digest)
        except StoreCorrupt:
            raise NotFound("this center does not hold that record") from None

    Vault.read = read


def never_catches_up():
    """Take a database that is ahead of the kept head for a foreign one."""
    real = Sequencer._guard

    def _guard(self, head, tx):
        last = self._keeper.last()
        if last is not None and head.range.size > last.size:
            raise StoreCorrupt("the database is ahead")
        real(self, head, tx)

    Sequencer._guard = _guard
