"""What may enter the log: the governance fold, under the head lock.

One instance belongs to one sequencer thread; nobody else touches its fold. The
fold is a cache of the log: dropped when a commit fails, caught up when another
process has appended, and never trusted beyond the head that the lock shows.
"""

from trace_node.errors import NotFound, Refused, StoreCorrupt
from trace_node.ledger.sequencer import Candidate
from trace_node.services.clock import TickClock
from trace_node.store.log import (
    KIND_GOVERNANCE,
    KIND_MANIFEST,
    KIND_RECORD,
    KIND_TICK,
    Content,
    SqlLog,
)
from trace_node.store.vault import Vault
from trace_node.trust.governance import Governance
from trace_node.trust.keys import Signer
from trace_node.trust.statement import (
    TICK_MEDIA,
    Statement,
    decode_statement,
    sign_statement,
    verify_statement,
)
from trace_node.trust.tick import tick_preimage


def kind_of(statement: Statement) -> int:
    """Return the store's kind of an entry (a hint for quick reading)."""
    if statement.is_tick:
        return KIND_TICK
    if statement.is_manifest:
        return KIND_MANIFEST
    return KIND_GOVERNANCE if statement.governance_type else KIND_RECORD


class LogAdmission:
    """``sequencer.Admission`` over statements."""

    def __init__(
        self,
        origin: str,
        log: SqlLog,
        vault: Vault,
        ticker: Signer,
        clock: TickClock,
    ) -> None:
        self._origin = origin
        self._log = log
        self._vault = vault
        self._ticker = ticker
        self._clock = clock
        self._state: Governance | None = None
        self._size = 0

    @property
    def state(self) -> Governance:
        """The fold as of ``size``."""
        if self._state is None:
            self._state, self._size = Governance(self._origin), 0
        return self._state

    def catch_up(self, size: int) -> None:
        """Fold the governance entries up to ``size``.

        Raises:
            ReadOnly: the clock may not date what comes next. Asked here, at every
                commit and at that of nothing, too, so that a center whose clock is
                wrong says so, and takes writes again as soon as it is right.
        """
        self._fold_to(size)
        if size:
            self._clock.read(self.state.last_tick)

    def _fold_to(self, size: int) -> None:
        if size == self._size:
            return
        if size < self._size:
            self.forget()
        try:
            self._fold(size)
        except BaseException:
            self.forget()  # half a fold is none
            raise

    def _fold(self, size: int) -> None:
        state = self.state
        for entry in self._log.governance(self._size, size):
            statement = decode_statement(entry.statement)
            if statement.governance_type is None:
                raise StoreCorrupt("its kind changed", where=f"entry {entry.index}")
            state.apply(entry.index, statement, self._record_of(statement))
        # Ticks are not replayed one by one: the record time of the last entry
        # is that of the last tick. Column and tick are compared, for a time that
        # changed at rest would let the next tick go back.
        recorded = self._log.entry(size - 1).recorded
        told = self._log.tick_before(size - 1).statement
        if decode_statement(told).iat != recorded:
            raise StoreCorrupt("its record time changed", where=f"entry {size - 1}")
        state.last_tick = recorded
        self._size = size

    def refresh(self) -> bool:
        """Catch up with what other processes committed; say if there was any."""
        size = self._log.head().range.size
        if size == self._size and self._state is not None:
            return False
        self._fold_to(size)
        return True

    def forget(self) -> None:
        """Drop the fold; the next ``catch_up`` rebuilds it from the log."""
        self._state = None
        self._size = 0

    def verify(self, candidate: Candidate) -> None:
        """Check the signature against the key the log knows.

        Raises:
            Refused: the key is not known, or not for this.
            BadSignature: the signature does not hold.
        """
        content: Content = candidate.content
        key = self.state.signing_key(content.statement, content.record)
        verify_statement(content.statement, key)

    def check(self, candidate: Candidate) -> None:
        """Raise ``Refused`` if ``candidate`` may not enter now."""
        content: Content = candidate.content
        self._check_files(content)
        self.state.check(content.statement, content.record)

    def admit(self, candidate: Candidate, index: int) -> None:
        """Fold ``candidate`` at ``index`` or raise ``Refused``."""
        content: Content = candidate.content
        state = self.state
        self._check_files(content)
        if content.kind in {KIND_GOVERNANCE, KIND_TICK}:
            state.apply(index, content.statement, content.record)
        else:
            state.check(content.statement, content.record)
        content.recorded = state.last_tick
        self._size = index + 1

    def clock_entry(self) -> Candidate | None:
        """Return a signed tick if the second has moved on since the last one."""
        state = self.state
        if self._size == 0:
            return None
        now = self._clock.read(state.last_tick)
        if now <= state.last_tick:
            return None
        raw = sign_statement(
            self._ticker,
            iss=state.operator,
            aud=self._origin,
            media=TICK_MEDIA,
            preimage=tick_preimage(now),
            iat=now,
        )
        statement = decode_statement(raw)
        return Candidate(statement.identity, raw, Content(statement, KIND_TICK))

    def _check_files(self, content: Content) -> None:
        # Staged before the lock; the vault's tidying may have come between. The
        # row tells, so that no commit waits for the blobs.
        for digest, _ in content.filed:
            if not self._vault.has(digest):
                raise Refused("a record was dropped: send it again", where="records")

    def _record_of(self, statement: Statement) -> bytes:
        try:
            return self._vault.read(statement.payload)
        except NotFound:
            raise Refused("a governance record is gone from the vault") from None
