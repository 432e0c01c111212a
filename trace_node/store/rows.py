"""Many rows in one statement, so that no other thread stands between two of them.

SQLite's driver lets go of the interpreter lock for each execution and must get it
back after: ``executemany`` does so for every row, and beside a busy thread each
row then waits for up to a switch interval (1 ms) where the insert itself takes
10 µs. A statement of many rows lets go of the lock once, and works while others
compute. A server's driver sends rows in batches by itself.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

from sqlalchemy import Connection

BLOCKS = (256, 16, 1)  # rows a statement: few texts, so the driver keeps them all


def insert_rows(
    connection: Connection, statement: str, rows: Sequence[tuple[Any, ...]]
) -> None:
    """Insert ``rows`` through ``statement``, whose VALUES name one row.

    Their order is kept; a row costs the same alone and among many.
    """
    if connection.dialect.name != "sqlite":
        if rows:
            connection.exec_driver_sql(statement, list(rows))
        return
    begin = 0
    for size in BLOCKS:
        text = _of(statement, size)
        while len(rows) - begin >= size:
            values = tuple(chain.from_iterable(rows[begin : begin + size]))
            connection.exec_driver_sql(text, values)
            begin += size


@lru_cache(maxsize=64)
def _of(statement: str, count: int) -> str:
    """Return the statement for ``count`` rows."""
    head, values, rest = statement.partition(" VALUES (")
    one, end, tail = rest.partition(")")
    if not values or not end or one.strip("?, "):
        raise ValueError(f"no insert of one row of values: {statement}")
    return head + " VALUES " + ", ".join([f"({one})"] * count) + tail
