"""The sequencer's ports in memory, honest by default, breakable on purpose."""

from contextlib import contextmanager
from hashlib import sha256
from threading import Lock

from tests.faults.checks import Stored, Tree, head_faults
from trace_node.errors import Conflict, Malformed, Refused
from trace_node.ledger.checkpoint import open_checkpoint
from trace_node.ledger.merkle import CompactRange
from trace_node.ledger.sequencer import Candidate, Identity, Sequencer, StoredHead
from trace_node.trust.keys import MemorySigner
from trace_node.trust.vkey import make_vkey

ORIGIN = "memory.example/log"
HEAD_KEY = MemorySigner.from_seed("Ed25519", b"\5" * 32)
RECEIPT_KEY = MemorySigner.from_seed("Ed25519", b"\6" * 32)
VKEY = make_vkey(ORIGIN, 1, HEAD_KEY.public.x)


class PowerOff(BaseException):
    """The process is gone: nobody catches this."""


class MemoryLog:
    """``LogStore``: one commit is applied whole, or not at all."""

    def __init__(self, *, locked=True, compared=True):
        self.entries = []  # (identity, entry)
        self.heads = {}
        self.head = StoredHead(CompactRange(0, ()), 0)
        self.locked, self.compared = locked, compared
        self.lock = Lock()
        self.flip = None  # position in a group where a bit changes while it is written
        self.between = lambda step: None  # called at every step by name

    @contextmanager
    def append(self):
        if self.locked:
            self.lock.acquire()
        try:
            self.between("begin")
            tx = MemoryAppending(self)
            yield tx
            self.between("commit")
            tx.apply()
            self.between("committed")
        finally:
            if self.locked:
                self.lock.release()

    def tree(self):
        tree = Tree()
        for _, entry in self.entries:
            tree.append(entry)
        return tree


class MemoryAppending:
    def __init__(self, log):
        self.log = log
        self.head = log.head
        self.rows = []
        self.first = None
        self.sealed = None

    def known(self, identities):
        places = {identity: at for at, (identity, _) in enumerate(self.log.entries)}
        return {i: places[i] for i in identities if i in places}

    def write(self, first, candidates):
        self.log.between("write")
        self.first = first
        self.rows = [(c.identity, c.entry) for c in candidates]
        if self.log.flip is not None:
            identity, entry = self.rows[self.log.flip]
            self.rows[self.log.flip] = identity, bytes([entry[0] ^ 1]) + entry[1:]
        self.log.between("written")

    def read_back(self, first, count):
        stored = [entry for _, entry in self.rows]
        return stored[first - self.first :][:count]

    def root_at(self, size):
        return self.log.heads.get(size)

    def seal(self, sealed):
        self.log.between("seal")
        if self.log.compared and sealed.epoch != self.log.head.epoch:
            raise Conflict("another sequencer moved the head")
        self.sealed = sealed
        self.log.between("sealed")

    def vouch(self):
        self.log.between("vouch")
        self.vouched = True

    def apply(self):
        if self.sealed is None:
            return
        # Without lock and compare this overwrites what another one wrote.
        self.log.entries[self.first :] = self.rows
        self.log.heads[self.sealed.range.size] = self.sealed.root
        self.log.head = StoredHead(self.sealed.range, self.sealed.epoch + 1)


class MemoryKeeper:
    """``HeadKeeper``: keeps every note it was ever given."""

    def __init__(self, between=lambda step: None):
        self.notes = []
        self.head = None
        self.between = between

    def last(self):
        return self.head

    def keep(self, note, head):
        self.between("keep")
        assert open_checkpoint(note, [VKEY])[0] == head
        self.notes.append(note)
        if self.head is None or head.size > self.head.size:
            self.head = head
        self.between("kept")


class MemoryAdmission:
    """``Admission``: content is "ok", "refused", "malformed", or "revoke"."""

    def __init__(self, log, clock=None):
        self.log = log
        self.clock = clock or (lambda: 0)
        self.size = self.tick = 0
        self.revoked = False
        self.forgotten = 0

    def catch_up(self, size):
        self.size = size
        entries = [entry for _, entry in self.log.entries[:size]]
        self.tick = max((int(e[5:]) for e in entries if e[:5] == b"tick "), default=0)
        self.revoked = any(e.startswith(b"revoke") for e in entries)

    def clock_entry(self):
        if self.clock() <= self.tick:
            return None
        return candidate(f"tick {self.clock()}", "tick")

    def check(self, candidate):
        if candidate.content == "refused" or self.revoked:
            raise Refused("not this one")
        if candidate.content == "malformed":
            raise Malformed("no such record")

    def admit(self, candidate, index):
        self.check(candidate)
        assert index == self.size, "folded out of order"
        if candidate.content == "tick":
            self.tick = int(candidate.entry[5:])
        if candidate.content == "revoke":
            self.revoked = True
        self.size += 1

    def forget(self):
        self.forgotten += 1
        self.size = self.tick = 0
        self.revoked = False


def candidate(text, content="ok"):
    data = text.encode()
    return Candidate(sha256(data).digest(), data, content)


def candidates(*texts):
    return [candidate(text) for text in texts]


class Bench:
    """A sequencer over memory, and what it released."""

    def __init__(self, log=None, keeper=None, clock=None, make=Sequencer):
        self.log = log or MemoryLog()
        self.keeper = keeper or MemoryKeeper()
        self.admission = MemoryAdmission(self.log, clock)
        self.grown = []
        self.sequencer = make(
            self.log,
            self.admission,
            self.keeper,
            Identity(ORIGIN, "did:web:memory.example", HEAD_KEY, RECEIPT_KEY),
            on_commit=self.grown.append,
        )

    def commit(self, *texts):
        return self.sequencer.commit(candidates(*texts))

    def stored(self):
        """The log as ``checks`` reads it."""
        entries = [
            (at, 0, 0, identity, entry)
            for at, (identity, entry) in enumerate(self.log.entries)
        ]
        head = (self.log.head.range.size, self.log.head.epoch)
        return Stored(entries, self.log.heads, head, {}, [])

    def released(self):
        return [open_checkpoint(note, [VKEY])[0] for note in self.keeper.notes]

    def faults(self):
        """Heads, kept or stored, that are no prefix of the log."""
        heads = [(head.size, head.root) for head in self.released()]
        faults = head_faults(self.log.tree(), [*heads, *self.log.heads.items()])
        if len(self.log.entries) != self.log.head.range.size:
            faults.append("the head is not where the entries end")
        return faults
