"""Many rows in one statement: none lost, none changed, few executions."""

from hashlib import sha256

import pytest
from sqlalchemy import event

from trace_node.store.rows import insert_rows
from trace_node.store.statements import Statements

COUNTS = [0, 1, 2, 15, 16, 17, 255, 256, 257, 271, 1000]


def rows_of(count):
    made = [(sha256(b"%d" % n).digest(), n, None, b"\0?,)" * n) for n in range(count)]
    return sorted(made)


def kept(engine):
    with engine.connect() as connection:
        found = connection.exec_driver_sql(
            "SELECT digest, size, staged, content FROM record ORDER BY digest"
        )
        return [(bytes(d), n, at, bytes(data)) for d, n, at, data in found]


@pytest.fixture
def executions(center):
    seen = []

    @event.listens_for(center, "before_cursor_execute")
    def _count(_connection, _cursor, statement, _values, _context, executemany):
        if statement.startswith("INSERT"):
            seen.append(executemany)

    return seen


@pytest.mark.parametrize("count", COUNTS)
def test_every_row_lands_as_it_was(center, count):
    insert = Statements(center.dialect).insert_record
    rows = rows_of(count)
    with center.begin() as connection:
        insert_rows(connection, insert, rows)
    assert kept(center) == rows
    with center.begin() as connection:  # the first stays
        insert_rows(connection, insert, [(row[0], 7, 7, b"") for row in rows])
    assert kept(center) == rows


# A server's driver sends rows in batches by itself; only SQLite's is taken apart.
on_sqlite = pytest.mark.parametrize("engines", ["sqlite"], indirect=True)


@on_sqlite
def test_the_interpreter_is_not_let_go_of_for_every_row(center, executions):
    insert = Statements(center.dialect).insert_record
    with center.begin() as connection:
        insert_rows(connection, insert, rows_of(1000))
    assert len(executions) <= 3 + 14 + 8
    assert not any(executions)
    # Negative control: the driver's own way is seen by the same counting.
    with center.begin() as connection:
        connection.exec_driver_sql(insert, rows_of(2000)[:1000])
    assert any(executions)


@on_sqlite
def test_a_statement_of_another_form_is_an_error(center):
    for statement in (
        "INSERT INTO record SELECT 1",
        "INSERT INTO record VALUES (?, lower(?))",
        "INSERT INTO record (digest) VALUES (?, 'a')",
    ):
        with center.begin() as connection, pytest.raises(ValueError, match="one row"):
            insert_rows(connection, statement, rows_of(2))
