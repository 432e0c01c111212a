"""Builds broken on purpose: what the tests of this folder are there to catch."""

import os
import time
from contextlib import contextmanager, nullcontext

import psycopg
from sqlalchemy import event

from trace_node import node
from trace_node.cli import serve
from trace_node.ledger.checkpoint import Checkpoint
from trace_node.ledger.merkle import grow
from trace_node.ledger.sequencer import Sequencer
from trace_node.node import Node
from trace_node.services.admission import LogAdmission
from trace_node.store import postgres
from trace_node.store.appending import SqlAppending
from trace_node.store.blobs import FileBlobs
from trace_node.store.log import KIND_MANIFEST, KIND_RECORD, SqlLog
from trace_node.trust.merkle import leaf_hash


class BlindSequencer(Sequencer):
    """Signs what it meant to write and does not read it back."""

    def _write(self, tx, entering):
        tx.write(tx.head.range.size, entering)
        return grow(tx.head.range, [leaf_hash(c.entry) for c in entering])


class UnguardedSequencer(Sequencer):
    """Does not compare the database with the head signed last."""

    def _guard(self, head, tx):
        pass


class HastySequencer(Sequencer):
    """Keeps the head before the entries are durable."""

    def _write(self, tx, entering):
        growth = super()._write(tx, entering)
        self._keep(Checkpoint(self._identity.origin, growth.size, growth.root))
        return growth


class ForgetfulAdmission(LogAdmission):
    """Checks the signature and leaves out the check under the lock."""

    def check(self, candidate):
        if candidate.content.kind not in {KIND_RECORD, KIND_MANIFEST}:
            super().check(candidate)

    def admit(self, candidate, index):
        if candidate.content.kind in {KIND_RECORD, KIND_MANIFEST}:
            candidate.content.recorded = self.state.last_tick
            self._size = index + 1
            return
        super().admit(candidate, index)


class StaleAdmission(LogAdmission):
    """Does not look at what another process appended."""

    def catch_up(self, size):
        if self._size == 0:
            super().catch_up(size)
        self._size = size


class ElephantAdmission(LogAdmission):
    """Keeps the fold of a commit that failed."""

    def forget(self):
        pass


class NormalNode(Node):
    """Syncs the database only now and then (``synchronous=NORMAL``)."""

    level = "NORMAL"

    def _open_store(self, **options):
        super()._open_store(**options)

        @event.listens_for(self.engines.center, "connect")
        def _less(connection, _record):
            connection.execute(f"PRAGMA synchronous={self.level}")

        self.engines.center.dispose()


class SleepyNode(NormalNode):
    """Syncs nothing: neither the database nor the kept head."""

    level = "OFF"

    def _open_store(self, **options):
        os.fsync = os.fdatasync = lambda handle: None
        super()._open_store(**options)


class SleepyHeadNode(Node):
    """Does not sync the kept head; all else."""

    def _open_store(self, **options):
        super()._open_store(**options)
        write = self.keeper._write

        def unsynced(*given):
            real, os.fdatasync = os.fdatasync, lambda handle: None
            try:
                return write(*given)
            finally:
                os.fdatasync = real

        self.keeper._write = unsynced


class UnsyncedBlobs(FileBlobs):
    """Writes files as ``store.files`` does, and syncs none of them."""

    def create(self, blobs):
        there = []
        self._write(self._missing(blobs, there))
        return there

    def replace(self, blobs):
        self._write((self._folder / name, data) for name, data in blobs)

    def _write(self, files):
        for path, data in files:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.parent / f".{path.name}.tmp"
            temporary.write_bytes(data)
            temporary.rename(path)


class SleepyVaultNode(Node):
    """Does not sync the vault's files; all else."""

    def _open_store(self, **options):
        super()._open_store(**options)
        self._places.vault.__class__ = UnsyncedBlobs


class SleepyTilesNode(Node):
    """Does not sync tiles; all else."""

    def _open_store(self, **options):
        super()._open_store(**options)
        self._places.tiles.__class__ = UnsyncedBlobs


def late_commit():
    """Make ``SqlLog`` commit every 50th group, and say nothing about it."""
    kept = {}

    @contextmanager
    def append(self):
        if not kept:
            kept["connection"] = self._engine.connect()
            kept["transaction"] = kept["connection"].begin()
            kept["groups"] = 0
        yield SqlAppending(kept["connection"], self._sql, self._log)
        kept["groups"] += 1
        if kept["groups"] == 50:
            kept["transaction"].commit()
            kept["connection"].close()
            kept.clear()

    SqlLog.append = append
    SqlLog.publish = lambda *_: None  # the open transaction holds the write lock


def no_idle_limit():
    """Let a session hold the head's lock for ever while its worker is paused."""
    postgres.IDLE_SECONDS = 0  # as the server reads it: never


def hasty():
    """Serve with a sequencer that keeps heads before they are durable."""
    write = HastySequencer._write

    def slowly(self, tx, entering):
        growth = write(self, tx, entering)
        time.sleep(0.1)  # wide enough to be stopped in
        return growth

    HastySequencer._write = slowly
    node.Sequencer = HastySequencer


def trusting():
    """Take every COMMIT that the server answers for a durable one."""
    postgres.BoundedConnection.commit = psycopg.Connection.commit


def eager():
    """Sign a head that was found at once, before a commit has waited."""
    guard = Sequencer._guard

    def at_once(self, head, tx):
        unkept = guard(self, head, tx)
        if unkept:
            self._keep(unkept)
        return unkept

    Sequencer._guard = at_once


def unlocked():
    """Let several servers serve one folder."""
    serve.held = lambda folder: nullcontext(-1)


NODES = {
    "": Node,
    "sleepy": SleepyNode,
    "database normal": NormalNode,
    "head unsynced": SleepyHeadNode,
    "vault unsynced": SleepyVaultNode,
    "tiles unsynced": SleepyTilesNode,
}
