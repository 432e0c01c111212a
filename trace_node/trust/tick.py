"""Ticks: the center says what time it is, in the log itself.

The record time of an entry is that of the last tick before it, so everyone who
replays the log computes the same times (docs/formats.md, Tick).
"""

from hashlib import sha256

from trace_node.errors import Malformed
from trace_node.trust.statement import MAX_IAT, Statement


def tick_preimage(seconds: int) -> bytes:
    """Return what a tick is about: Unix ``seconds`` in decimal.

    Raises:
        Malformed: not 0 ≤ ``seconds`` < 2^53.
    """
    if not 0 <= seconds <= MAX_IAT:
        raise Malformed("Unix seconds, below 2^53", where="iat")
    return str(seconds).encode()


def check_tick(statement: Statement) -> int:
    """Return the Unix seconds that a tick tells.

    Raises:
        Malformed: it is no tick, or its payload says another time than its iat.
    """
    if not statement.is_tick or statement.iat is None:
        raise Malformed("not a tick", where="media")
    if sha256(tick_preimage(statement.iat)).digest() != statement.payload:
        raise Malformed("payload and iat tell different times", where="payload")
    return statement.iat
