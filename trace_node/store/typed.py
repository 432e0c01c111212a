"""Values as they must come out of a database, or an error instead of a surprise.

SQLite keeps any type in any column: a flipped bit makes bytes a text, a number or
nothing, and ``bytes(7)`` would be seven zeros.
"""

from trace_node.errors import StoreCorrupt


def blob(value: object) -> bytes:
    """Return a value that must be bytes.

    Raises:
        StoreCorrupt: it is not.
    """
    if isinstance(value, bytes | memoryview):
        return bytes(value)
    raise StoreCorrupt(f"a {type(value).__name__} stands where bytes were stored")


def count(value: object) -> int:
    """Return a value that must be a number of 0 or more.

    Raises:
        StoreCorrupt: it is not.
    """
    if type(value) is int and value >= 0:
        return value
    raise StoreCorrupt(f"a {type(value).__name__} stands where a count was stored")
