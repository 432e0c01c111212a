"""Give entries their place: one group, one transaction, one signed head.

The sequencer is the only writer of a log. It knows trees, heads and receipts;
what an entry says is the business of its ``Admission``. It touches no disk: the
ports below do, and their docstrings are the contract that a store must keep.

One commit, and what a crash leaves behind after each step:

1.  take the head lock, read the head           nothing happened
2.  compare it with the head signed last        nothing happened; a database that
                                                is ahead gets its head signed when
                                                this transaction has committed,
                                                and so proved it durable
3.  admit and write the entries                 rolled back by the store
4.  re-read them, grow the tree twice           rolled back; a bit that flipped
                                                between write and read is found
                                                before anything is signed
5.  sign the root for receipts                  a signature nobody has seen
6.  write the head, commit                      all of it or nothing; if all: the
                                                entries stand, unreceipted, and a
                                                repeated submission gets their
                                                first receipt
7.  sign the checkpoint, keep it outside        as 6: the database is ahead of
                                                the kept head, which step 2 allows
8.  return; receipts are released               nothing to repair
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from trace_node.errors import Malformed, ReadOnly, Refused, StoreCorrupt
from trace_node.ledger.checkpoint import Checkpoint, sign_checkpoint
from trace_node.ledger.merkle import Growth, grow
from trace_node.ledger.ports import (
    Admission,
    Appending,
    Candidate,
    HeadKeeper,
    LogStore,
    Outcome,
    Placed,
    Sealed,
    StoredHead,
)
from trace_node.ledger.receipt import encode_receipt, receipt_protected, sign_root
from trace_node.trust.keys import Signer
from trace_node.trust.merkle import leaf_hash

__all__ = [
    "Admission",
    "Appending",
    "Candidate",
    "Commit",
    "HeadKeeper",
    "Identity",
    "LogStore",
    "Outcome",
    "Placed",
    "Sealed",
    "Sequencer",
    "StoredHead",
]


@dataclass(frozen=True, slots=True)
class Identity:
    """What a log signs with; head and receipts have keys of their own."""

    origin: str
    issuer: str
    head_signer: Signer
    receipt_signer: Signer

    def protected(self) -> bytes:
        """Return the protected header that all receipts of this log share."""
        key = self.receipt_signer
        return receipt_protected(
            key.alg, key.public.thumbprint, self.issuer, self.origin
        )


@dataclass(slots=True)
class Commit:
    """What one group became; outcomes stand in the order of the candidates."""

    outcomes: list[Outcome]
    head: Checkpoint | None = None
    appended: int = 0


class Sequencer:
    """Appends groups of candidates; one instance a process, any number a log."""

    def __init__(
        self,
        store: LogStore,
        admission: Admission,
        keeper: HeadKeeper,
        identity: Identity,
        *,
        on_commit: Callable[[Growth], None],
        check_held: Callable[[], None] = lambda: None,  # raises ReadOnly
    ) -> None:
        self._store = store
        self._admission = admission
        self._keeper = keeper
        self._identity = identity
        self._protected = identity.protected()
        self._on_commit = on_commit
        self._check_held = check_held

    def commit(self, candidates: Sequence[Candidate]) -> Commit:
        """Append what may enter; return an outcome for each candidate.

        Raises:
            ReadOnly: the database is behind, or beside, the head signed last, or
                the log does not take this center's own tick.
            StoreCorrupt: what was written is not what is read.
        """
        try:
            return self._commit(candidates)
        except BaseException:
            self._admission.forget()
            raise

    def settle(self) -> None:
        """Compare the database with the head kept here, and keep a newer one.

        What a process elsewhere appended is then held against the database by
        this one, too. Safe in any thread; admits nothing.

        Raises:
            ReadOnly: as ``commit``.
        """
        with self._store.append() as tx:
            unkept = self._guard(tx.head, tx)
            if unkept:
                tx.vouch()
        if unkept:
            self._keep(unkept)

    def _commit(self, candidates: Sequence[Candidate]) -> Commit:
        growth: Growth | None = None
        signature = b""
        with self._store.append() as tx:
            head = tx.head
            unkept = self._guard(head, tx)
            self._admission.catch_up(head.range.size)
            outcomes, entering = self._admit(candidates, tx)
            if entering:
                growth = self._write(tx, entering)
                signature = sign_root(
                    self._identity.receipt_signer, self._protected, growth.root
                )
                tx.seal(
                    Sealed(
                        growth.frontier,
                        head.epoch,
                        growth.root,
                        self._protected,
                        signature,
                    )
                )
            elif unkept:
                tx.vouch()
        # Committed and durable from here on, with all that came before it.
        if growth is None:
            if unkept:
                self._keep(unkept)
            return Commit(outcomes)
        checkpoint = Checkpoint(self._identity.origin, growth.size, growth.root)
        self._keep(checkpoint)
        self._on_commit(growth)
        self._receipt(outcomes, growth, signature)
        return Commit(outcomes, checkpoint, len(entering))

    def _guard(self, head: StoredHead, tx: Appending) -> Checkpoint | None:
        """Return the head to keep once ``tx`` has committed, None if it is kept."""
        self._check_held()
        # A restored backup or a lost commit shows here, before anything is
        # signed: a second branch over signed history would be an equivocation.
        last = self._keeper.last()
        size, root = head.range.size, head.range.root()
        if last is None and size > 1:
            # Only the very first commit (entry 0) may find no kept head.
            raise ReadOnly("the database has entries, but the kept head is gone")
        if last is not None:
            if size < last.size:
                raise ReadOnly(
                    f"the database ends at {size}, but a head of {last.size} was signed"
                )
            if (root if size == last.size else tx.root_at(last.size)) != last.root:
                raise ReadOnly(
                    f"the database has another root at {last.size} than the head signed"
                )
        if size and (last is None or last.size < size):
            # A crash between steps 6 and 7, or another process. The commit can be
            # read, but a server that restarted shows commits that no standby has
            # yet; signed now, they would be a fork if its machine were lost.
            return Checkpoint(self._identity.origin, size, root)
        return None

    def _keep(self, head: Checkpoint) -> None:
        note = sign_checkpoint(
            head.origin, head.size, head.root, self._identity.head_signer
        )
        self._keeper.keep(note, head)

    def _admit(
        self, candidates: Sequence[Candidate], tx: Appending
    ) -> tuple[list[Outcome], list[Candidate]]:
        known = tx.known([candidate.identity for candidate in candidates])
        first = tx.head.range.size
        outcomes: list[Outcome] = []
        entering: list[Candidate] = []
        for candidate in candidates:
            index = known.get(candidate.identity)
            if index is not None:
                outcomes.append(Placed(index, None))
                continue
            try:
                self._enter(candidate, first, entering)
            except (Refused, Malformed) as refusal:
                outcomes.append(refusal)
                continue
            index = first + len(entering) - 1
            known[candidate.identity] = index
            outcomes.append(Placed(index, None))
        return outcomes, entering

    def _enter(
        self, candidate: Candidate, first: int, entering: list[Candidate]
    ) -> None:
        # The clock entry comes only with something to date, and before it: a log
        # that nobody writes to does not grow, nor by what is refused.
        if not entering:
            self._admission.check(candidate)
            clock = self._admission.clock_entry()
            if clock is not None:
                self._tick(clock, first)
                entering.append(clock)
        self._admission.admit(candidate, first + len(entering))
        entering.append(candidate)

    def _tick(self, clock: Candidate, first: int) -> None:
        # Not the candidate's fault: a policy ended the key that this process
        # ticks with, and nothing may enter undated.
        try:
            self._admission.admit(clock, first)
        except (Refused, Malformed) as error:
            raise ReadOnly(
                f"the log does not take this center's tick: {error}"
            ) from error

    def _write(self, tx: Appending, entering: Sequence[Candidate]) -> Growth:
        range_ = tx.head.range
        tx.write(range_.size, entering)
        meant = grow(range_, [leaf_hash(c.entry) for c in entering])
        stored = [
            leaf_hash(entry) for entry in tx.read_back(range_.size, len(entering))
        ]
        if grow(range_, stored).root != meant.root or len(stored) != len(entering):
            raise StoreCorrupt("the entries read back are not those written")
        return meant

    def _receipt(
        self, outcomes: Sequence[Outcome], growth: Growth, signature: bytes
    ) -> None:
        for outcome in outcomes:
            if isinstance(outcome, Placed) and outcome.index >= growth.old_size:
                outcome.receipt = encode_receipt(
                    self._protected,
                    signature,
                    growth.size,
                    outcome.index,
                    growth.path(outcome.index),
                )
