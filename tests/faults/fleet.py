"""One center with several workers on one PostgreSQL, and what is true of its log.

Each worker is a process with a folder of its own, as on machines of their own;
keys and origin are the same in all, the database is one.
"""

import json
import shutil
import tomllib
from dataclasses import dataclass, field

import psycopg

from tests.faults import story
from tests.faults.checks import (
    Stored,
    ack_faults,
    head_faults,
    log_faults,
    replay_faults,
)
from tests.faults.serving import Server, add_parties
from tests.faults.story import identity_of
from trace_node.config import FILE, build
from trace_node.ledger.checkpoint import open_checkpoint
from trace_node.ledger.receipt import decode_receipt
from trace_node.node import found
from trace_node.store.heads import SLOT, head_files
from trace_node.trust.merkle import leaf_hash, root_from_inclusion


class Fleet:
    """The center and its workers.

    Args:
        folder: of the founding folder and of the workers' copies of it.
        url: of the database, as the workers are given it.
        settings: what stands behind ``database_`` in the workers' settings.
    """

    def __init__(self, folder, url, **settings):
        self.folder = folder
        self.url = url
        folder.mkdir()
        self.workers = []
        self.founded = folder / "founded"
        self._settings = {f"database_{name}": settings[name] for name in settings}
        given = {**story.SETTINGS, **self._settings, "database_url": url}
        node = found(self.founded, build(None, given))
        add_parties(node)
        self.vkey, self.receipt_key = node.vkey, node.keys.receipt.public
        node.close()

    def hire(self, zygote=None):
        """Start one more worker, with the folder as it was when the center began.

        Its connections carry its number, so that the server can tell whose they are.
        """
        name = f"worker{len(self.workers)}"
        folder = self.folder / name
        shutil.copytree(self.founded, folder)
        settings = tomllib.loads((folder / FILE).read_text())
        url = f"{self.url}&application_name={name}"
        settings |= {**self._settings, "database_url": url}
        (folder / FILE).write_text(
            "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())
        )
        self.workers.append(Server(folder, zygote))
        return self.workers[-1]

    def dismiss(self):
        """End all workers."""
        for worker in self.workers:
            worker.kill()

    def kept(self):
        """Return every note in the workers' own files: heads outside the database."""
        notes = []
        for worker in self.workers:
            for file in head_files(worker.folder):
                data = file.read_bytes()
                notes += [data[:SLOT].rstrip(b"\0"), data[SLOT:].rstrip(b"\0")]
        return [note for note in notes if note]


def read_database(**place):
    """Return the log in a database as it stands at one moment (``checks.Stored``)."""
    options = "-c search_path=center -c statement_timeout=60000"
    with psycopg.connect(**place, connect_timeout=3, options=options) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        run = connection.execute
        entries = run(
            "SELECT entry_index, kind, recorded, identity, statement FROM entry"
            " WHERE log = 1 ORDER BY entry_index"
        ).fetchall()
        heads = dict(run("SELECT size, root FROM head WHERE log = 1").fetchall())
        head = run("SELECT size, epoch FROM log_head WHERE log = 1").fetchone()
        records = dict(run("SELECT digest, content FROM record").fetchall())
    return Stored(entries, heads, head, records, [])


@dataclass
class Verdict:
    """What is true of a log after its faults, as figures and as words."""

    entries: int = 0
    acked: int = 0
    lost: int = 0
    heads: int = 0  # released: checkpoints, kept heads, roots that receipts sign
    forked: int = 0
    faults: list = field(default_factory=list)


def judge(traffic, fleet, read, *, signatures=False):
    """Hold the log, as it stands now, against all that was told until now.

    Args:
        traffic: what clients and watchers kept.
        fleet: its keys, and the heads that its workers kept.
        read: returns the log; called after what was told is noted, so that what
            is told meanwhile is for the next time.
        signatures: verify every statement's, too.
    """
    acks = list(traffic.work.acks)
    notes = signed_notes(traffic, fleet)
    stored = read()
    verdict = Verdict(entries=len(stored.entries), acked=len(acks))
    lost = ack_faults(stored, acks, fleet.receipt_key)
    verdict.lost = len(lost)
    released = heads_of(notes, fleet) | receipt_heads(stored, acks, traffic.work.sent)
    forked = head_faults(stored.tree, released)
    verdict.heads, verdict.forked = len(released), len(forked)
    verdict.faults = [*lost, *forked, *log_faults(stored)]
    verdict.faults += replay_faults(stored, story.ORIGIN, signatures=signatures)
    return verdict


def signed_notes(traffic, fleet):
    """Return every checkpoint that was published or kept so far."""
    notes = {note for door in traffic.doors for note in list(door.notes)}
    return notes | set(fleet.kept())


def heads_of(notes, fleet):
    """Return (size, root) of signed checkpoints."""
    heads = (open_checkpoint(note, [fleet.vkey])[0] for note in notes)
    return {(head.size, head.root) for head in heads}


def receipt_heads(stored, acks, sent):
    """Return (size, root) of every head that a receipt was made under.

    A receipt does not carry its root: the entry's path leads to it. The entry is
    the client's own copy where the log has lost it.
    """
    kept = {identity_of(raw): raw for raw in list(sent)}
    heads = set()
    for identity, index, receipt in acks:
        entry = kept[identity]
        if index < len(stored.entries) and stored.entries[index][3] == identity:
            entry = stored.entries[index][4]  # perhaps the twin of what was sent
        proof = decode_receipt(receipt)
        leaf = leaf_hash(entry)
        root = root_from_inclusion(leaf, index, proof.size, proof.path)
        heads.add((proof.size, root))
    return heads
