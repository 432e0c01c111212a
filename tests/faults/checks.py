"""What must hold of a center's folder after any fault, told as a list of faults.

Reads the database by plain SQL and computes the tree by a few lines of its own,
so that a mistake in the product's readers or in its Merkle code shows, too. The
real tests demand an empty list; the negative controls demand that the same
functions find something.
"""

from dataclasses import dataclass, field
from hashlib import sha256

import psycopg

from tests import postgres
from trace_node.ledger.checkpoint import open_checkpoint
from trace_node.ledger.receipt import verify_receipt
from trace_node.store.engine import sqlite_driver
from trace_node.store.heads import SLOT
from trace_node.trust.governance import Governance
from trace_node.trust.statement import decode_statement, verify_statement

EMPTY = sha256(b"").digest()
MARK = "database"  # a file with the name of the database, where that is a server's


class Tree:
    """RFC 9162 roots of every prefix, by a stack of perfect subtrees."""

    def __init__(self):
        self.size = 0
        self._stack = []
        self.roots = [EMPTY]

    def append(self, entry):
        node, height = sha256(b"\0" + entry).digest(), 0
        while self._stack and self._stack[-1][0] == height:
            node = sha256(b"\1" + self._stack.pop()[1] + node).digest()
            height += 1
        self._stack.append((height, node))
        self.size += 1
        root = self._stack[-1][1]
        for _, left in reversed(self._stack[:-1]):
            root = sha256(b"\1" + left + root).digest()
        self.roots.append(root)


@dataclass
class Stored:
    """A center as it lies on the disk."""

    entries: list  # (index, kind, recorded, identity, statement)
    heads: dict  # size -> root
    head: tuple  # size, epoch
    records: dict  # digest -> content (None: a file)
    kept: list  # checkpoints that prove themselves
    tree: Tree = field(default_factory=Tree)

    def __post_init__(self):
        for entry in self.entries:
            self.tree.append(entry[4])


def kept_heads(path, vkey):
    """Return (checkpoint, note) of every slot of the head file that is whole."""
    data = path.read_bytes() if path.exists() else b""
    found = []
    for slot in (data[:SLOT], data[SLOT : 2 * SLOT]):
        try:
            note = slot.rstrip(b"\0")
            found.append((open_checkpoint(note, [vkey])[0], note))
        except Exception:
            continue
    return found


def read_center(folder, vkey):
    """Read all of it with a connection of our own."""
    mark = folder / MARK
    if mark.exists():
        run, close = _postgres(mark.read_text())
    else:
        connection = sqlite_driver().connect(folder / "center.db")
        run, close = connection.execute, connection.close
    try:
        entries = run(
            "SELECT entry_index, kind, recorded, identity, statement FROM entry"
            " WHERE log = 1 ORDER BY entry_index"
        ).fetchall()
        heads = dict(run("SELECT size, root FROM head WHERE log = 1").fetchall())
        head = run("SELECT size, epoch FROM log_head WHERE log = 1").fetchone()
        records = dict(run("SELECT digest, content FROM record").fetchall())
    finally:
        close()
    kept = [head for path in folder.glob("head*") for head, _ in kept_heads(path, vkey)]
    return Stored(entries, heads, head, records, kept)


def _postgres(name):
    connection = psycopg.connect(
        host=str(postgres.shared().folder),
        user="postgres",
        dbname=name,
        autocommit=True,
        options="-c search_path=center",
    )
    return connection.execute, connection.close


def log_faults(stored):
    """Faults of the log itself: places, roots, heads, ticks."""
    faults = []
    indexes = [entry[0] for entry in stored.entries]
    if indexes != list(range(len(indexes))):
        faults.append("an index is skipped or used twice")
    size = len(indexes)
    if len({entry[3] for entry in stored.entries}) != size:
        faults.append("an identity stands twice")
    if stored.head[0] != size:
        faults.append(f"the head row says {stored.head[0]}, there are {size} entries")
    if stored.head[1] != len(stored.heads):
        faults.append("the epoch does not count the commits")
    if size and size not in stored.heads:
        faults.append("no head was signed at the end")
    faults += head_faults(stored.tree, stored.heads.items())
    if stored.kept and max(kept.size for kept in stored.kept) > size:
        faults.append("the kept head is ahead of the database")
    faults += head_faults(stored.tree, [(kept.size, kept.root) for kept in stored.kept])
    return faults + tick_faults(stored.entries)


def head_faults(tree, heads):
    """Heads that are no prefix of the tree: two views of one log."""
    return [
        f"the head of size {size} is no prefix of the log"
        for size, root in heads
        if size > tree.size or tree.roots[size] != root
    ]


def tick_faults(entries):
    """Ticks that go back, stand alone, or date their entries otherwise."""
    faults, last, ticked = [], 0, False
    for index, kind, recorded, identity, raw in entries:
        statement = decode_statement(raw)
        if statement.identity != identity:
            faults.append(f"entry {index} has another identity")
        if statement.is_tick != (kind == 2):
            faults.append(f"entry {index} is of another kind")
        if statement.is_tick or index == 0:
            if statement.iat <= last:
                faults.append(f"the tick at {index} goes back")
            if ticked:
                faults.append(f"the tick at {index} dates nothing before it")
            last = statement.iat
        if recorded != last:
            faults.append(f"entry {index} is dated {recorded}, the tick says {last}")
        ticked = statement.is_tick
    return faults + (["the log ends with a tick"] if ticked else [])


def replay(stored, origin, *, signatures=False):
    """Fold governance from entry bytes and records alone; raises on a fault."""
    state = Governance(origin)
    for index, _, _, _, raw in stored.entries:
        statement = decode_statement(raw)
        record = (
            stored.records[statement.payload] if statement.governance_type else None
        )
        if signatures:
            verify_statement(statement, state.signing_key(statement, record))
        state.apply(index, statement, record)
    return state


def replay_faults(stored, origin, *, signatures=True):
    """Entries that their own log does not allow."""
    try:
        replay(stored, origin, signatures=signatures)
    except Exception as error:
        return [f"replay: {type(error).__name__}: {error}"]
    return []


def ack_faults(stored, acks, receipt_key, *, again=None):
    """Acknowledged statements that are lost, moved, or have another receipt.

    Args:
        stored: the center.
        acks: (identity, index, receipt) as clients got them.
        receipt_key: the center's public receipt key.
        again: index -> receipt as the center makes it now, or None.
    """
    faults, first = [], {}
    for identity, index, receipt in acks:
        if first.setdefault(identity, (index, receipt)) != (index, receipt):
            faults.append(f"entry {index} was acknowledged in two ways")
            continue
        if index >= len(stored.entries) or stored.entries[index][3] != identity:
            faults.append(f"acknowledged entry {index} is lost or replaced")
            continue
        try:
            proven = verify_receipt(receipt, stored.entries[index][4], receipt_key)
        except Exception as error:
            faults.append(f"the receipt of {index}: {type(error).__name__}")
            continue
        if proven.index != index:
            faults.append(f"the receipt of {index} is for {proven.index}")
        if again is not None and again(index) != receipt:
            faults.append(f"entry {index} has another receipt now")
    return faults
