"""Every migration, from every older schema, over real content: nothing is lost.

A log died elsewhere of a migration that dropped rows; it was noticed weeks later.
Here each revision is followed by the whole verification: all rows are there as
they were, the log is audited, and the center answers as before.
"""

import secrets
import shutil
import sys
from functools import partial
from pathlib import Path

import pytest
from alembic import command
from alembic.script import ScriptDirectory

sys.path.insert(0, str(Path(__file__).parents[2]))

from flipping import answers, scrub
from sqlalchemy import inspect

from tests import postgres
from trace_node.errors import TraceNodeError
from trace_node.services.audit import audit_center
from trace_node.services.backup import Source, back_up
from trace_node.store import migrate
from trace_node.store.blobs import FileBlobs
from trace_node.store.copying import copy_rows, load_rows
from trace_node.store.engine import open_engines, open_sqlite, place_of
from trace_node.store.migrate import _config, upgrade

FILES = {"center": "center.db", "index": "index.db"}


def revisions(branch):
    """Return the revisions of a branch, oldest first."""
    script = ScriptDirectory.from_config(_config(None, branch))
    found = [r.revision for r in script.walk_revisions("base", f"{branch}@head")]
    return [name for name in found[::-1] if name.startswith(branch)]


STEPS = [(b, r) for b in FILES for r in revisions(b)]


def downgrade(engine, branch, revision):
    with engine.begin() as connection:
        command.downgrade(_config(connection, branch), f"{branch}@{revision}")


def rows_of(engine):
    """Return {table: {rows as sets of (column, value)}} of a database."""
    found = {}
    with engine.connect() as connection:
        for table in inspect(engine).get_table_names():
            if table.startswith("alembic"):
                continue
            result = connection.exec_driver_sql(f'SELECT * FROM "{table}"')
            names = tuple(result.keys())
            found[table] = [
                frozenset(zip(names, map(plain, row), strict=True)) for row in result
            ]
    return found


def plain(value):
    return bytes(value) if isinstance(value, memoryview) else value


def row_faults(before, after):
    """Rows that are gone, changed or doubled; columns may come, and tables."""
    faults = []
    for table, old in before.items():
        names = {name for row in old for name, _ in row}
        new = [
            frozenset(pair for pair in row if pair[0] in names)
            for row in after.get(table, [])
        ]
        if len(new) != len(old):
            faults.append(f"{table}: {len(old)} rows became {len(new)}")
        if set(old) - set(new):
            faults.append(f"{table}: {len(set(old) - set(new))} rows changed")
    return faults


def upgrade_faults(kept, folder, branch, revision):
    """Take a center back to a revision and up again; return what is wrong then."""
    engine = open_sqlite(folder / FILES[branch])
    try:
        before = rows_of(engine)
        upgrade(engine, branch)
        faults = row_faults(before, rows_of(engine))
    except Exception as error:
        return [f"upgrade: {type(error).__name__}: {error}"]
    finally:
        engine.dispose()
    try:
        report = audit_center(place_of(folder), kept.origin, kept.vkey, workers=1)
        faults += [f"audit: {f.where}: {f.message}" for f in report.findings.kept]
        faults += [f"scrub: {line}" for line in scrub(folder)]
    except TraceNodeError as error:
        faults.append(f"audit: {error}")
    return faults


def taken_back(center, branch, revision):
    engine = open_sqlite(center / FILES[branch])
    downgrade(engine, branch, revision)
    engine.dispose()


@pytest.mark.parametrize(("branch", "revision"), STEPS)
def test_from_every_revision_to_the_newest_nothing_is_lost(
    kept, told, center, tmp_path, branch, revision
):
    paths, before = told
    taken_back(center, branch, revision)
    assert upgrade_faults(kept, center, branch, revision) == []
    assert answers(center, paths, kept.clock) == before


BAD = {
    "an entry dropped": ("center", "DELETE FROM entry WHERE entry_index = 40"),
    "a time changed": ("center", "UPDATE entry SET recorded = recorded + 1"),
    "an entry doubled": (
        "center",
        "INSERT INTO entry SELECT log, 999, 0, 1, zeroblob(32), x'00' FROM log",
    ),
    "a record dropped": (
        "center",
        "DELETE FROM record WHERE rowid = (SELECT max(rowid) FROM record)",
    ),
    "a staged record settled": ("center", "UPDATE record SET staged = NULL"),
    "a root changed": ("center", "UPDATE head SET root = zeroblob(32) WHERE size = 1"),
    "heads renumbered": ("center", "UPDATE log_head SET epoch = epoch + 1"),
    "a list shortened": (
        "center",
        "UPDATE manifest SET digests = substr(digests, 1, length(digests) - 32)",
    ),
    "an index row dropped": ("index", "DELETE FROM commitment WHERE entry_index = 9"),
    "a cursor set back": ("index", "UPDATE cursor SET size = size - 1"),
}


@pytest.mark.parametrize("name", ["", *BAD])
def test_a_migration_that_loses_something_is_seen(
    kept, center, tmp_path, monkeypatch, name
):
    branch, sql = BAD[name] if name else ("center", "SELECT 1")
    folder = tmp_path / "migrations"
    shutil.copytree(migrate.migrations_folder(), folder)
    (folder / "versions" / f"{branch}_9999_bad.py").write_text(
        "from alembic import op\n"
        f"revision = '{branch}_9999'\n"
        f"down_revision = '{revisions(branch)[-1]}'\n"
        "branch_labels = depends_on = None\n"
        f"def upgrade():\n    op.execute({sql!r})\n"
        "def downgrade():\n    pass\n"
    )
    monkeypatch.setattr(migrate, "migrations_folder", lambda: folder)
    assert revisions(branch)[-1] == f"{branch}_9999"
    faults = upgrade_faults(kept, center, branch, revisions(branch)[-2])
    print(name, "->", faults[:2])
    assert bool(faults) == bool(name)


@pytest.mark.parametrize("revision", revisions("center"))
def test_the_same_on_postgresql(kept, center, tmp_path, revision):
    server = postgres.shared()
    name = f"upgrade_{secrets.token_hex(4)}"
    engines = open_engines(
        center, server.create(name), accept=postgres.ACCEPT.split(",")
    )
    try:
        load_rows(center / "center.db", engines.center, lambda *_: None)
        downgrade(engines.center, "center", revision)
        before = rows_of(engines.center)
        upgrade(engines.center, "center")
        assert row_faults(before, rows_of(engines.center)) == []
        source = Source(
            center, kept.vkey, partial(copy_rows, engines.center), FileBlobs(center)
        )
        back_up(source, tmp_path / "b", "2026-11-25T02:00:00Z")
        assert audit_center(
            place_of(tmp_path / "b"), kept.origin, kept.vkey, workers=1
        ).ok
    finally:
        engines.dispose()
        server.drop(name)
