"""Failures of a database while a center is opened, told in the project's words."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DatabaseError, InterfaceError, OperationalError

from trace_node.errors import StoreCorrupt, Unreachable


@contextmanager
def told() -> Iterator[None]:
    """Turn what a database's driver raises into errors of the project.

    Raises:
        Unreachable: the database is locked, full, or does not answer.
        StoreCorrupt: it answers that it is damaged.
    """
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        raise Unreachable(f"the database does not answer: {error.orig}") from None
    except DatabaseError as error:
        raise StoreCorrupt(f"the database cannot be read: {error.orig}") from None
