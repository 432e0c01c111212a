"""Replay a log from its entries: who was entitled to sign what, and when.

The same replay serves a bundle (some entries, the first that fails ends it) and
an audit (all entries, failures are collected by the caller).
"""

from collections.abc import Callable

from trace_node.errors import Refused
from trace_node.trust.governance import Governance
from trace_node.trust.statement import (
    Statement,
    decode_statement,
    verify_statement,
)


class Replay:
    """The fold of a log's entries, each checked before it takes effect.

    Args:
        origin: the log.
        record_of: gives a governance record by its digest, None where it is gone.
    """

    def __init__(self, origin: str, record_of: Callable[[bytes], bytes | None]) -> None:
        self.state = Governance(origin)
        self._record_of = record_of

    def feed(self, index: int, raw: bytes) -> Statement:
        """Check the entry at ``index`` and let it take effect.

        Content may be left out, and ticks that date nothing; governance may not,
        for a revocation left out keeps a key alive. Indices rise.

        Raises:
            Malformed: no statement, or its governance record is none.
            BadSignature: the signature does not hold.
            Refused: the key was not entitled at this index.
        """
        return self.check(index, decode_statement(raw))

    def check(self, index: int, statement: Statement) -> Statement:
        """Do as ``feed`` with an entry that is decoded already."""
        state = self.state
        if index and state.policy_iat is None:
            raise Refused("entry 0 did not set up the log")
        record = None
        if statement.governance_type is not None:
            record = self._record_of(statement.payload)
            if record is None:
                raise Refused("its governance record is missing", where="record")
        verify_statement(statement, state.signing_key(statement, record))
        if statement.is_content:
            state.check(statement)
        else:
            state.apply(index, statement, record)
        return statement
