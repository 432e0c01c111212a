"""A center's database on a server, read as it lies, for audits.

The questions are those of ``store.scan``; a server keeps types and checks its own
pages, so what guards against a flipped bit there is left out here.
"""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from trace_node.errors import StoreCorrupt
from trace_node.store.scan import IndexScan, Scan

_OR_EMPTY = re.compile(r"ifnull\(CAST\((\w+) AS BLOB\), x''\)")
_BYTES = re.compile(r"CAST\((\w+) AS BLOB\)")


@lru_cache(maxsize=64)
def translated(sql: str) -> str:
    """Return a question of ``store.scan`` in the server's words."""
    sql = _OR_EMPTY.sub(r"coalesce(\1, ''::bytea)", sql)
    return _BYTES.sub(r"\1", sql).replace("?", "%s")


class PostgresScan(Scan):
    """One read-only connection to a schema.

    Args:
        server: libpq's names and values.
        schema: "center" or "index".

    Raises:
        StoreCorrupt: the database cannot be read; so does every method.
    """

    _least: object = b""

    def __init__(self, server: Mapping[str, str], schema: str) -> None:
        import psycopg  # noqa: PLC0415 - only where there is a server

        self._error = (psycopg.Error, UnicodeDecodeError)
        self._name = schema
        options = f"-c search_path={schema} -c default_transaction_read_only=on"
        try:
            self._connection: Any = psycopg.connect(
                **{**server, "options": options},  # type: ignore[arg-type]
                autocommit=True,
            )
        except self._error as error:
            raise StoreCorrupt(f"cannot be read: {error}", where=schema) from None

    def _rows(self, sql: str, values: tuple[Any, ...] = ()) -> Iterator[Any]:
        try:
            yield from self._connection.execute(translated(sql), values or None)
        except self._error as error:
            raise StoreCorrupt(f"cannot be read: {error}", where=self._name) from None

    def integrity(self) -> list[str]:
        """Return nothing: the server checks its pages each time it reads one."""
        return []


class PostgresIndexScan(PostgresScan, IndexScan):
    """One read-only connection to the index schema."""
