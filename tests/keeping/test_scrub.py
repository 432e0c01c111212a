"""Scrubs name what a disk has damaged; repairs put back what proves itself."""

import asyncio
import json
import shutil
from functools import partial
from hashlib import sha256

import pytest
from flipping import Flip, answers, ask, scrub
from keeping_story import opened, rows, vault_name

from trace_node.api.app import create_app
from trace_node.cli import run, scrubbing
from trace_node.services.audit import audit_center
from trace_node.services.backup import Source, back_up
from trace_node.services.repair import Repair
from trace_node.services.scrub import Subject, scrub_center
from trace_node.store.blobs import FileBlobs
from trace_node.store.copying import copy_sqlite
from trace_node.store.engine import open_sqlite, place_of


@pytest.fixture
def backup(kept, tmp_path):
    folder = kept.copy(tmp_path / "sound")
    source = Source(
        folder, kept.vkey, partial(copy_sqlite, folder / "center.db"), FileBlobs(folder)
    )
    back_up(source, tmp_path / "backup", "2026-11-25T02:00:00Z")
    return tmp_path / "backup"


def flip_column(folder, column, table, where, at=20):
    """Flip a bit of a value in a row."""
    path = folder / "center.db"
    ((data,),) = rows(path, f"SELECT {column} FROM {table} WHERE {where}")
    bad = bytearray(data)
    bad[at] ^= 4
    rows(path, f"UPDATE {table} SET {column} = ? WHERE {where}", bytes(bad))


DAMAGE = {
    "a statement": lambda f, k: flip_column(
        f, "statement", "entry", "entry_index = 40"
    ),
    "a signature of a tick": lambda f, k: flip_column(
        f,
        "statement",
        "entry",
        "entry_index = (SELECT min(entry_index) FROM entry WHERE kind = 2)",
        -3,
    ),
    "a kind": lambda f, k: rows(
        f / "center.db", "UPDATE entry SET kind = 0 WHERE entry_index = 3"
    ),
    "a time": lambda f, k: rows(
        f / "center.db",
        "UPDATE entry SET recorded = recorded - 1 WHERE entry_index = 9",
    ),
    "an identity": lambda f, k: flip_column(f, "identity", "entry", "entry_index = 77"),
    "an entry gone": lambda f, k: rows(
        f / "center.db", "DELETE FROM entry WHERE entry_index = 50"
    ),
    "a head": lambda f, k: flip_column(f, "receipt_signature", "head", "size = 1"),
    "a root": lambda f, k: flip_column(f, "root", "head", "size = 1"),
    "a record list": lambda f, k: flip_column(f, "digests", "manifest", "1"),
    "a record": lambda f, k: flip_column(
        f, "content", "record", f"digest = x'{sha256(k.twice).hexdigest()}'"
    ),
    "a record's name": lambda f, k: flip_column(
        f, "digest", "record", f"digest = x'{sha256(k.twice).hexdigest()}'"
    ),
    "a record's size": lambda f, k: rows(
        f / "center.db",
        "UPDATE record SET size = 5 WHERE digest = ?",
        sha256(k.twice).digest(),
    ),
    "evidence": lambda f, k: Flip(vault_name(k.bigs[0]), 60_000, 2).apply(f),
    "evidence gone": lambda f, k: (f / vault_name(k.bigs[1])).unlink(),
    "a tile": lambda f, k: Flip("tile/0/000", 4_000, 0).apply(f),
    "an index row": lambda f, k: rows(
        f / "index.db",
        "UPDATE commitment SET digest = zeroblob(32) WHERE entry_index = 30",
    ),
    "an index position": lambda f, k: rows(
        f / "index.db", "UPDATE commitment SET position = 11 WHERE position = 10"
    ),
    "a subject": lambda f, k: rows(
        f / "index.db", "DELETE FROM governance_subject WHERE subject <> ''"
    ),
    "a cursor": lambda f, k: rows(f / "index.db", "UPDATE cursor SET size = 9999"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_found_mended_from_a_backup_and_answers_are_as_before(
    kept, told, center, backup, tmp_path, name, capsys
):
    paths, before = told
    assert scrub(center) == []
    DAMAGE[name](center, kept)
    assert scrub(center) != []
    code = run(["scrub", str(center), "--repair", "--from", str(backup), "--json"])
    said = json.loads(capsys.readouterr().out)
    assert (code, said["holds"]) == (0, True), said
    assert said["mended"] != {}
    assert scrub(center) == []
    assert audit_center(place_of(center), kept.origin, kept.vkey, workers=1).ok
    assert answers(center, paths, kept.clock) == before


@pytest.mark.parametrize("name", ["a tile", "a kind", "an index row", "a time"])
def test_what_is_made_from_entries_needs_no_backup(kept, center, name, capsys):
    DAMAGE[name](center, kept)
    assert run(["scrub", str(center)]) == 1
    assert run(["scrub", str(center), "--repair"]) == 0
    assert "MENDED" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["a statement", "evidence", "a head"])
def test_what_cannot_be_proven_is_left_and_named(kept, center, name, capsys):
    DAMAGE[name](center, kept)
    assert run(["scrub", str(center), "--repair"]) == 1
    told = capsys.readouterr()
    assert "WRONG" in told.out or "no signed head" in told.err


def test_a_backup_that_has_rotted_is_not_mended_from(kept, center, backup, capsys):
    DAMAGE["a record"](center, kept)
    flip_column(backup, "statement", "entry", "entry_index = 41")
    assert run(["scrub", str(center), "--repair", "--from", str(backup)]) == 1
    assert "not as it was" in capsys.readouterr().err


def test_a_repair_that_does_not_compare_with_the_signed_head_is_seen(
    kept, center, backup, monkeypatch
):
    """Negative control: without the comparison a wrong entry goes in."""
    flip_column(center, "statement", "entry", "entry_index = 40")
    flip_column(backup, "statement", "entry", "entry_index = 40", 30)
    engine = open_sqlite(center / "center.db")
    monkeypatch.setattr(
        "trace_node.services.repair.CompactRange.root",
        lambda self, real=None: roots[0],
    )
    work = Repair(center, engine, backup)
    roots = [work._scan.root_at(kept.size)]
    try:
        work.run()
    finally:
        work.close()
        engine.dispose()
    monkeypatch.undo()
    assert scrub(center) != []


@pytest.mark.parametrize("use", ["root", "center", "receipt", "log"])
def test_another_key_in_a_key_file_is_found(kept, center, use):
    other = {"root": "log", "center": "receipt", "receipt": "center", "log": "root"}
    shutil.copyfile(center / f"keys/{other[use]}.pem", center / f"keys/{use}.pem")
    assert any(f"keys/{use}.pem" in line for line in scrub(center))


def test_settings_that_call_the_center_otherwise_are_found(center):
    path = center / "node.toml"
    path.write_text(path.read_text().replace("测试", "测验"))
    assert any(line.startswith("settings") for line in scrub(center))


def test_a_torn_head_slot_is_found(center):
    Flip("head", 30, 3).apply(center)
    assert any(line.startswith("kept-head") for line in scrub(center))


def test_an_index_that_differs_from_its_table_is_found_and_made_again(center, capsys):
    sql = "SELECT rootpage FROM sqlite_master WHERE name = 'uq_entry_log_identity'"
    ((page,),) = rows(center / "center.db", sql)
    ((size,),) = rows(center / "center.db", "PRAGMA page_size")
    Flip("center.db", page * size - 20, 3).apply(center)
    assert any("database" in line for line in scrub(center))
    assert run(["scrub", str(center), "--repair"]) == 0
    assert scrub(center) == []


def test_a_scrub_beside_a_running_center_finds_nothing(kept, center):
    node = opened(center, kept.clock)
    try:
        node.start()
        subject = Subject(place_of(center), kept.origin, kept.vkey, "测试")
        for number in range(5):
            node.say(
                "party",
                {"did": f"did:web:p{number}.example", "name": "P", "kind": "service"},
            )
            report = scrub_center(subject, workers=1)
            assert report.ok, report.findings.kept
    finally:
        node.stop()


def test_processes_find_the_same(kept, center):
    subject = Subject(place_of(center), kept.origin, kept.vkey, "测试")
    DAMAGE["evidence"](center, kept)
    one, two = scrub_center(subject, workers=1), scrub_center(subject, workers=2)
    assert one.findings.kept == two.findings.kept != []
    assert one.counts == two.counts


def test_a_scrub_keeps_to_its_rate(kept, center, monkeypatch):
    slept, clock = [], [0.0]
    monkeypatch.setattr(scrubbing.time, "monotonic", lambda: clock[0])

    def sleep(seconds):
        slept.append(seconds)
        clock[0] += seconds

    monkeypatch.setattr(scrubbing.time, "sleep", sleep)
    pacer, read = scrubbing.Pacer(100_000), []
    subject = Subject(place_of(center), kept.origin, kept.vkey, "测试")
    scrub_center(subject, pace=lambda n: (read.append(n), pacer(n)))
    entries = (center / "center.db").stat().st_size
    assert sum(read) > 400_000  # the vault files alone are 280,000
    assert sum(slept) == pytest.approx(sum(read) / 100_000, rel=0.01)
    assert entries


# The patrol of a running center.


def patrol(node):
    found = []
    for _ in range(20):
        found += node.patrol.step(64)
        if node.patrol.rounds:
            return found
    raise AssertionError("it never came round")


SEEN = [
    "a statement",
    "a kind",
    "a time",
    "an identity",
    "an entry gone",
    "a head",
    "a record list",
    "a record",
    "evidence",
    "evidence gone",
    "a tile",
    "an index row",
    "an index position",
]


@pytest.mark.parametrize("name", SEEN)
def test_a_running_center_finds_damage_by_itself(kept, center, name):
    node = opened(center, kept.clock)
    try:
        node.tiles.read(0, 0)
        assert patrol(node) == []
        DAMAGE[name](center, kept)
        node.patrol.rounds = 0
        found = patrol(node)
        assert found != []
        assert node.patrol.damage
        if name == "a tile":  # mended on the spot, so the next round is sound
            node.patrol.rounds = 0
            patrol(node)
            assert node.patrol.damage == {}
    finally:
        node.close()


def test_damage_stands_in_the_metrics(kept, center):
    DAMAGE["evidence"](center, kept)
    node = opened(center, kept.clock)
    try:
        patrol(node)
        (text,) = [
            line
            for line in metrics(node).splitlines()
            if line.startswith("trace_node_damaged ")
        ]
        assert float(text.split()[1]) >= 1
    finally:
        node.close()


def metrics(node):
    return asyncio.run(ask(create_app(node), ["/metrics"]))["/metrics"][1].decode()
