"""A process that dies at a named step of a commit, and what it leaves on the disk.

At the step the folder is copied as it lies there, with the database's log of
uncommitted pages and all, and ``Crash`` is raised; whoever catches it closes the
node and opens a new one on the copy. Two steps leave something half written:
``torn commit`` cuts the database's log inside the commit, ``torn head`` mixes the
old and the new bytes of the slot that was being written.
"""

from contextlib import contextmanager

from tests.faults.story import copy_center
from trace_node.store.heads import SLOT

STEPS = [
    "lock",
    "locked",
    "write",
    "written",
    "read back",
    "seal",
    "sealed",
    "commit",
    "torn commit",
    "committed",
    "keep",
    "torn head",
    "kept",
    "tiles",
]


class Crash(BaseException):
    """The process is gone: nobody catches this."""


class Injector:
    """Dies at one step; ``committed`` says whether the group was durable then."""

    def __init__(self):
        self.step = None
        self.fraction = 0.0
        self.target = None
        self.failed = False
        self.committed = False
        self.exact = True  # the cut of a torn commit is inside this commit
        self._folder = None
        self._log_size = 0
        self._head = b""
        self.head_name = "head"  # of the process that keeps

    def arm(self, step, fraction, target):
        """Die at ``step``; without a ``target`` only fail there, once."""
        self.step, self.fraction, self.target = step, fraction, target
        self.committed, self.exact = False, True

    def install(self, node):
        self._folder = node.folder
        sequencer = node.sequencer
        sequencer._store = CrashingLog(sequencer._store, self)
        sequencer._keeper = CrashingKeeper(sequencer._keeper, self)
        grow = sequencer._on_commit

        def on_commit(growth):
            grow(growth)
            self.hit("tiles", node.folder)

        sequencer._on_commit = on_commit

    def hit(self, step, folder):
        if step == "commit":
            self._log_size = size_of(folder / "center.db-wal")
        if step == "keep":
            self._head = (folder / self.head_name).read_bytes()
        if step == "committed":
            self.committed = True
        if step == self.step and self.target is None:
            self.step, self.failed = None, True
            raise OSError(5, "Input/output error")
        if step == self.step:
            copy_center(folder, self.target)
            raise Crash
        if step == "committed" and self.step == "torn commit":
            self._tear_commit(folder)
        if step == "kept" and self.step == "torn head":
            self._tear_head(folder)

    def _tear_commit(self, folder):
        after = size_of(folder / "center.db-wal")
        copy_center(folder, self.target)
        self.exact = after > self._log_size
        if self.exact:
            cut = self._log_size + int(self.fraction * (after - self._log_size))
            with (self.target / "center.db-wal").open("r+b") as file:
                file.truncate(min(cut, after - 1))
            self.committed = False
        raise Crash

    def _tear_head(self, folder):
        copy_center(folder, self.target)
        path = self.target / self.head_name
        new = path.read_bytes()
        cut = int(self.fraction * SLOT)
        slots = []
        for at in (0, SLOT):
            before, after = self._head[at : at + SLOT], new[at : at + SLOT]
            slots.append(after[:cut] + before[cut:])
        path.write_bytes(b"".join(slots))
        raise Crash


def size_of(path):
    return path.stat().st_size if path.exists() else 0


class CrashingLog:
    def __init__(self, log, injector):
        self.log, self.injector = log, injector

    @contextmanager
    def append(self):
        folder = self.injector._folder
        hit = self.injector.hit
        hit("lock", folder)
        with self.log.append() as tx:
            hit("locked", folder)
            crashing = CrashingAppending(tx, hit, folder)
            yield crashing
            if crashing.wrote:
                hit("commit", folder)
        if crashing.wrote:
            hit("committed", folder)


class CrashingAppending:
    def __init__(self, tx, hit, folder):
        self.tx, self.hit, self.folder = tx, hit, folder
        self.head, self.known, self.root_at = tx.head, tx.known, tx.root_at
        self.wrote = False

    def write(self, first, candidates):
        self.hit("write", self.folder)
        self.tx.write(first, candidates)
        self.wrote = True
        self.hit("written", self.folder)

    def read_back(self, first, count):
        entries = self.tx.read_back(first, count)
        self.hit("read back", self.folder)
        return entries

    def vouch(self):
        self.tx.vouch()
        self.wrote = True

    def seal(self, sealed):
        self.hit("seal", self.folder)
        self.tx.seal(sealed)
        self.hit("sealed", self.folder)


class CrashingKeeper:
    def __init__(self, keeper, injector):
        self.keeper, self.injector = keeper, injector
        self.last = keeper.last

    def keep(self, note, head):
        folder = self.injector._folder
        self.injector.head_name = self.keeper.path.name
        self.injector.hit("keep", folder)
        self.keeper.keep(note, head)
        self.injector.hit("kept", folder)
