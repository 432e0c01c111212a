"""Backups of a running center, restores of a lost one; and forks that must not be."""

import json
import secrets
import shutil
import sys
from functools import partial
from hashlib import sha256
from pathlib import Path
from threading import Event, Thread

import pytest
from keeping_story import opened, rows

sys.path.insert(0, str(Path(__file__).parents[2]))

from center_story import LAB, big, event, single
from flipping import Flip, answers, dump

from tests import postgres
from tests.faults.checks import Tree, head_faults
from trace_node import node as nodes
from trace_node.cli import keeping, run
from trace_node.errors import (
    Conflict,
    Malformed,
    Misuse,
    Overloaded,
    ReadOnly,
    StoreCorrupt,
)
from trace_node.services import backup as backups
from trace_node.services import restore as restores
from trace_node.services.audit import audit_center
from trace_node.services.backup import Source, back_up, without
from trace_node.services.backup_files import read_manifest
from trace_node.services.held import HOLD
from trace_node.services.restore import learn_head, restore, sign_from
from trace_node.store.blobs import FileBlobs
from trace_node.store.copying import copy_rows, copy_sqlite
from trace_node.store.engine import open_sqlite, place_of
from trace_node.store.heads import lone_head, read_heads, read_slots

MADE, NOW = "2026-11-25T02:00:00Z", "2026-11-25T03:00:00Z"


def source_of(kept, folder):
    return Source(
        folder, kept.vkey, partial(copy_sqlite, folder / "center.db"), FileBlobs(folder)
    )


def audit(kept, folder):
    return audit_center(place_of(folder), kept.origin, kept.vkey, workers=1)


@pytest.fixture
def backup(kept, center, tmp_path):
    back_up(source_of(kept, center), tmp_path / "backup", MADE)
    return tmp_path / "backup"


def give_secret(center, folder):
    shutil.copyfile(center / "keys/passphrase", folder / "keys/passphrase")


def register(node, text):
    raw = single(text, LAB)
    return node.intake.register(node.preparer.prepare(raw))


def test_a_backup_is_a_center_that_audit_can_read(kept, center, backup):
    found = audit(kept, backup)
    assert found.ok, found.findings
    manifest = read_manifest(backup)
    assert (found.size, found.root) == (manifest.size, manifest.root)
    assert manifest.head()[0].size == manifest.size == kept.size
    assert dump(backup / "center.db") == dump(center / "center.db")
    assert not list(backup.glob("center.db-*"))
    assert not (backup / "keys/passphrase").exists()
    assert {f.path for f in manifest.files} == {
        path.relative_to(backup).as_posix()
        for path in backup.rglob("*")
        if path.is_file() and path.name != "backup.json"
    }
    modes = {oct(p.stat().st_mode & 0o77) for p in (backup, *backup.glob("keys/*"))}
    assert modes == {"0o0"}


def test_a_read_only_copy_of_a_backup_is_audited_without_a_trace(kept, backup):
    before = {p: p.stat().st_mtime_ns for p in backup.rglob("*")}
    assert audit(kept, backup).ok
    assert {p: p.stat().st_mtime_ns for p in backup.rglob("*")} == before


def test_a_backup_is_whole_while_entries_come_and_records_are_tidied(
    kept, center, tmp_path
):
    node = opened(center)
    stop, failures = Event(), []

    def write():
        number = 0
        while not stop.is_set():
            number += 1
            data = big(number) if number % 3 == 0 else event(number)
            try:
                node.intake.register(node.preparer.prepare(single(data, LAB), [data]))
                staged = big(1_000 + number)
                node.vault.stage(sha256(staged).digest(), staged, 1)
                node.follower.step()
                node.follower.tidy(kept.clock() + 10_000_000, 1)
            except Exception as error:
                failures.append(error)
                return

    thread = Thread(target=write)
    thread.start()
    try:
        for number in range(6):
            place = tmp_path / f"backup {number // 2}"  # each twice
            made = back_up(source_of(kept, center), place, MADE)
            found = audit(kept, place)
            assert found.ok, found.findings
            head, _ = made.manifest.head()
            assert (head.size, head.root) == (made.manifest.size, made.manifest.root)
            assert made.manifest.damaged == ()
    finally:
        stop.set()
        thread.join()
        node.close()
    assert failures == []
    assert read_manifest(tmp_path / "backup 2").size > kept.size


def test_rows_streamed_from_any_engine_are_the_same_center(kept, center, tmp_path):
    engine = open_sqlite(center / "center.db")
    source = Source(center, kept.vkey, partial(copy_rows, engine), FileBlobs(center))
    back_up(source, tmp_path / "b", MADE)
    engine.dispose()
    copy, own = dump(tmp_path / "b/center.db"), dump(center / "center.db")
    assert {k: sorted(v, key=repr) for k, v in copy.items()} == {
        k: sorted(v, key=repr) for k, v in own.items()
    }
    assert audit(kept, tmp_path / "b").ok


def test_a_second_run_copies_only_what_is_not_there(kept, center, backup):
    files = sorted(p for p in (backup / "vault").rglob("*") if p.is_file())
    stamps = [p.stat().st_mtime_ns for p in files]
    Flip(files[1].relative_to(backup).as_posix(), 5, 1).apply(backup)
    files[2].unlink()
    made = back_up(source_of(kept, center), backup, NOW)
    assert (made.copied, made.kept) == (2, len(files) - 2)
    assert files[0].stat().st_mtime_ns == stamps[0]
    assert audit(kept, backup).ok
    assert read_manifest(backup).made == NOW


def test_an_erased_record_leaves_the_backup_too(kept, center, backup):
    digest = sha256(kept.staged[1]).digest()
    node = opened(center)
    node.vault.drop([digest])
    node.close()
    name = digest.hex()
    file = backup / "vault" / name[:2] / name[2:4] / name
    assert file.exists()
    assert back_up(source_of(kept, center), backup, NOW).dropped == 1
    assert not file.exists()


@pytest.mark.parametrize("step", ["_small_files", "_vault", "listed", "write_file"])
def test_half_a_backup_is_known_as_such_and_finished_by_the_next_run(
    kept, center, tmp_path, monkeypatch, step
):
    class Killed(BaseException):
        pass

    target = tmp_path / "b"
    real = getattr(backups, step)

    def die(*values, **named):
        if step != "write_file" or values[0].name == "backup.json":
            raise Killed
        return real(*values, **named)

    with monkeypatch.context() as patch:
        patch.setattr(backups, step, die)
        with pytest.raises(Killed):
            back_up(source_of(kept, center), target, MADE)
    with pytest.raises(Misuse, match="half a backup"):
        restore(tmp_path / "r", target, NOW)
    assert not (tmp_path / "r").exists()
    back_up(source_of(kept, center), target, MADE)
    restore(tmp_path / "r", target, NOW, workers=1)


def test_a_run_that_dies_over_a_good_backup_leaves_it_good(
    kept, center, backup, monkeypatch, tmp_path
):
    node = opened(center)
    register(node, b"more")
    node.close()
    monkeypatch.setattr(backups, "_vault", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        back_up(source_of(kept, center), backup, NOW)
    done = restore(tmp_path / "r", backup, NOW, workers=1)
    assert done.manifest.size == kept.size


def test_a_record_the_center_has_lost_is_named_and_the_rest_is_saved(
    kept, center, tmp_path
):
    lost = sha256(kept.bigs[0]).hexdigest()
    Flip(f"vault/{lost[:2]}/{lost[2:4]}/{lost}", 9, 3).apply(center)
    made = back_up(source_of(kept, center), tmp_path / "b", MADE)
    assert made.manifest.damaged == (f"record {lost}",)
    found = audit(kept, tmp_path / "b")
    assert [f.kind for f in found.findings.kept] == ["record"]
    done = restore(tmp_path / "r", tmp_path / "b", NOW, workers=1)
    assert any(lost in note for note in done.notes)


def test_a_backup_is_not_made_of_a_database_behind_its_head(kept, center, tmp_path):
    node = opened(center)
    register(node, b"more")
    note = node.keeper.note()
    node.close()
    old = kept.copy(tmp_path / "old")
    (old / "head").write_bytes(lone_head(note))
    with pytest.raises(Overloaded, match="at no moment"):
        back_up(source_of(kept, old), tmp_path / "b", MADE)


def test_a_shorter_log_never_replaces_a_longer_backup(kept, center, tmp_path):
    node = opened(center)
    register(node, b"more")
    node.close()
    back_up(source_of(kept, center), tmp_path / "b", MADE)
    with pytest.raises(Misuse, match="never shrinks"):
        back_up(source_of(kept, kept.copy(tmp_path / "old")), tmp_path / "b", NOW)


def test_backups_do_not_mix(kept, center, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").write_text("x")
    with pytest.raises(Misuse, match="no backup"):
        back_up(source_of(kept, center), tmp_path / "full", MADE)
    back_up(source_of(kept, center), tmp_path / "b", MADE)
    text = (tmp_path / "b/backup.json").read_text()
    other = text.replace("127.0.0.1:8080/log+", "127.0.0.1:8081/log+")
    (tmp_path / "b/backup.json").write_text(other)
    with pytest.raises(Misuse, match="another log"):
        back_up(source_of(kept, center), tmp_path / "b", MADE)
    source = source_of(kept, center)
    with (
        backups._claimed(source, tmp_path / "c"),
        pytest.raises(Misuse, match="another backup"),
    ):
        back_up(source, tmp_path / "c", MADE)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ('origin = "a/log"\n', []),
        ('passphrase = "x"\norigin = "a/log"\n', ["passphrase"]),
        (
            'origin = "a/log"\n  database_url="postgresql+psycopg://u:p@h/d"',
            ["database_url"],
        ),
    ],
)
def test_what_opens_the_keys_and_names_places_is_left_out(text, left):
    kept, gone = without(text)
    assert gone == left
    assert kept.strip() == 'origin = "a/log"'


def test_a_secret_that_would_not_be_found_stops_the_backup():
    with pytest.raises(Misuse, match="lines of their own"):
        without('origin = "a/log"\n"passphrase" = "x"\n')


# Restore.


def test_a_restored_center_answers_the_same_and_signs_nothing(
    kept, told, center, backup, tmp_path
):
    paths, before = told
    folder = tmp_path / "r"
    done = restore(folder, backup, NOW, workers=1)
    assert (done.report.size, done.kept, done.tiles) == (kept.size, kept.size, 1)
    give_secret(center, folder)
    assert answers(folder, paths, kept.clock) == before
    node = opened(folder, kept.clock)
    try:
        node.start()
        assert "restored from a backup" in node.health.reason()
        with pytest.raises(ReadOnly, match="sign-from-here"):
            register(node, b"new")
        sign_from(folder, kept.vkey, kept.size, kept.size, NOW)
        assert register(node, b"new").index == kept.size
        node.intake.recover()
        assert node.health.reason() == ""
    finally:
        node.stop()
    assert not (folder / HOLD).exists()
    (said,) = folder.glob("restored-*.json")
    assert json.loads(said.read_text())["signs_from"] == kept.size
    assert audit(kept, folder).ok


def fork_faults(kept, center, folder, monkeypatch, *, guarded):
    """Sign on a lost center and on its older backup; return what a witness sees."""
    node = opened(center)
    register(node, b"released")
    released = [head for head, _ in filter(None, read_slots(center, kept.vkey))]
    node.close()
    if not guarded:
        monkeypatch.setattr(nodes, "check_held", lambda folder: None)
    node = opened(folder)
    try:
        register(node, b"another in its place")
    except ReadOnly:
        pass
    finally:
        node.close()
    tree = Tree()
    for (raw,) in rows(
        folder / "center.db", "SELECT statement FROM entry ORDER BY entry_index"
    ):
        tree.append(raw)
    return [
        fault
        for fault in head_faults(tree, [(head.size, head.root) for head in released])
        if tree.size >= released[-1].size
    ]


@pytest.mark.parametrize("guarded", [True, False])
def test_only_a_build_without_the_hold_forks_its_log(
    kept, center, backup, tmp_path, monkeypatch, guarded
):
    folder = tmp_path / "r"
    restore(folder, backup, NOW, workers=1)
    give_secret(center, folder)
    faults = fork_faults(kept, center, folder, monkeypatch, guarded=guarded)
    assert bool(faults) is not guarded


def test_a_larger_head_survives_and_no_word_makes_the_center_sign(
    kept, center, backup, tmp_path
):
    node = opened(center)
    register(node, b"after the backup")
    note = node.keeper.note()
    node.close()
    for name in ("center.db", "center.db-wal", "center.db-shm"):
        (center / name).unlink(missing_ok=True)
    done = restore(center, backup, NOW, workers=1)
    assert done.kept > kept.size
    assert any("are lost" in said for said in done.notes)
    with pytest.raises(Conflict, match="are lost"):
        sign_from(center, kept.vkey, kept.size, kept.size, NOW)
    (center / HOLD).unlink()  # even so
    node = opened(center)
    try:
        with pytest.raises(ReadOnly, match="was signed"):
            register(node, b"new")
        assert node.checked.entry(kept.size - 1)
    finally:
        node.close()
    other = tmp_path / "r"  # the same head brought by somebody who holds it
    restore(other, backup, NOW, workers=1)
    assert learn_head(other, kept.vkey, note) == done.kept
    with pytest.raises(Conflict, match="are lost"):
        sign_from(other, kept.vkey, kept.size, kept.size, NOW)


def test_the_number_typed_must_be_where_the_log_ends(kept, backup, tmp_path):
    restore(tmp_path / "r", backup, NOW, workers=1)
    for wrong in (0, kept.size - 1, kept.size + 1):
        with pytest.raises(Misuse, match=f"ends at {kept.size}"):
            sign_from(tmp_path / "r", kept.vkey, kept.size, wrong, NOW)
    assert (tmp_path / "r" / HOLD).exists()


def test_a_center_that_was_not_restored_needs_no_word(kept, center):
    with pytest.raises(Misuse, match="not held"):
        sign_from(center, kept.vkey, kept.size, kept.size, NOW)


@pytest.mark.parametrize(
    "name", ["center.db", "center.db-wal", "center.db-shm", "center.db-journal"]
)
def test_a_center_is_never_restored_over_another(backup, tmp_path, name):
    folder = tmp_path / "r"
    folder.mkdir()
    (folder / name).write_bytes(b"")
    with pytest.raises(Misuse, match="never restored over"):
        restore(folder, backup, NOW)
    assert [p.name for p in folder.iterdir()] == [name]


def test_a_folder_of_another_log_is_left_alone(kept, backup, tmp_path):
    folder = tmp_path / "r"
    folder.mkdir()
    text = (backup / "policy.txt").read_text().replace("+A", "+B", 1)
    (folder / "policy.txt").write_text(text)
    with pytest.raises((Misuse, Malformed)):
        restore(folder, backup, NOW)
    assert [p.name for p in folder.iterdir()] == ["policy.txt"]


def test_every_changed_byte_of_a_backup_is_refused(kept, backup, tmp_path):
    for file in read_manifest(backup).files:
        place = tmp_path / "changed"
        shutil.copytree(backup, place)
        Flip(file.path, file.size // 2, 4).apply(place)
        with pytest.raises(StoreCorrupt, match="not as it was"):
            restore(tmp_path / "r", place, NOW)
        shutil.rmtree(place)
    assert not (tmp_path / "r").exists()


def test_a_log_that_does_not_hold_is_not_restored(kept, backup, tmp_path):
    rows(backup / "center.db", "UPDATE entry SET recorded = recorded + 1")
    text = json.loads((backup / "backup.json").read_text())
    for file in text["files"]:
        data = (backup / file["path"]).read_bytes()
        file["size"], file["sha256"] = len(data), sha256(data).hexdigest()
    (backup / "backup.json").write_text(json.dumps(text))
    with pytest.raises(StoreCorrupt, match="does not hold"):
        restore(tmp_path / "r", backup, NOW, workers=1)
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("path", ["../out", "/etc/passwd", "vault/../../x", ""])
def test_a_manifest_does_not_lead_out_of_the_folder(backup, tmp_path, path):
    text = json.loads((backup / "backup.json").read_text())
    text["files"][0]["path"] = path
    (backup / "backup.json").write_text(json.dumps(text))
    with pytest.raises(Malformed, match="no file of a backup"):
        restore(tmp_path / "r", backup, NOW)


def test_a_crash_in_a_restore_leaves_no_center_or_a_held_one(
    kept, center, backup, tmp_path
):
    steps = ("_files", "_heads", "write_tiles", "_database")
    for step in steps:
        folder = tmp_path / step
        real = getattr(restores, step)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(restores, step, lambda *_, **__: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                restore(folder, backup, NOW, workers=1)
        assert real is getattr(restores, step)
        assert (folder / HOLD).exists()
        assert not (folder / "center.db").exists()
        assert restore(folder, backup, NOW, workers=1).kept == kept.size
        assert read_heads(folder, kept.vkey).size == kept.size


# PostgreSQL.


@pytest.fixture
def served():
    """An empty database on a real server."""
    server = postgres.shared()
    name = f"keeping_{secrets.token_hex(4)}"
    yield server.create(name)
    server.drop(name)


def test_from_file_to_server_and_back_it_is_the_same_center(
    kept, told, center, backup, tmp_path, served, capsys, monkeypatch
):
    paths, before = told
    folder, back = tmp_path / "on server", tmp_path / "back"
    monkeypatch.setenv("TRACE_NODE_DATABASE_URL", served)
    monkeypatch.setenv("TRACE_NODE_DATABASE_ACCEPT", postgres.ACCEPT)
    code, said = command(capsys, "restore", folder, "--from", backup)
    assert (code, said["size"]) == (0, kept.size)
    assert not (folder / "center.db").exists()
    code, said = command(capsys, "restore", tmp_path / "r", "--from", backup)
    assert (code, said["error"]) == (1, "conflict")  # the server holds it already
    assert not (tmp_path / "r").exists()
    give_secret(center, folder)
    assert answers(folder, paths, kept.clock) == before
    node = opened(folder, kept.clock)
    try:
        with pytest.raises(ReadOnly, match="sign-from-here"):
            register(node, b"new")
        args = ("restore", folder, "--sign-from-here", kept.size)
        assert command(capsys, *args)[0] == 0
        register(node, b"new")
        code, said = command(capsys, "backup", folder, "--to", back)
    finally:
        node.close()
    assert (code, said["size"]) == (0, kept.size + 1)
    assert audit(kept, back).ok
    assert "database_url" not in (back / "node.toml").read_text()
    monkeypatch.delenv("TRACE_NODE_DATABASE_URL")
    assert command(capsys, "restore", tmp_path / "file", "--from", back)[0] == 0
    assert audit(kept, tmp_path / "file").ok


def test_a_server_is_backed_up_while_it_takes_entries(
    kept, center, backup, tmp_path, served, monkeypatch
):
    monkeypatch.setenv("TRACE_NODE_DATABASE_URL", served)
    monkeypatch.setenv("TRACE_NODE_DATABASE_ACCEPT", postgres.ACCEPT)
    folder = tmp_path / "on server"
    assert run(["restore", str(folder), "--from", str(backup)]) == 0
    give_secret(center, folder)
    assert run(["restore", str(folder), "--sign-from-here", str(kept.size)]) == 0
    node, stop, failures = opened(folder, kept.clock), Event(), []

    def write():
        number = 0
        try:
            while not stop.is_set():
                number += 1
                register(node, b"server %d" % number)
        except Exception as error:
            failures.append(error)

    thread = Thread(target=write)
    thread.start()
    try:
        for number in range(3):
            place = tmp_path / f"b{number}"
            assert run(["backup", str(folder), "--to", str(place)]) == 0
            assert audit(kept, place).ok
    finally:
        stop.set()
        thread.join()
        node.close()
    assert failures == []
    assert read_manifest(tmp_path / "b2").size > kept.size


# The commands.


def command(capsys, *arguments):
    code = run([*map(str, arguments), "--json"])
    (line,) = capsys.readouterr().out.splitlines()
    return code, json.loads(line)


def test_the_commands_tell_their_story_to_machines(kept, center, tmp_path, capsys):
    place, again = tmp_path / "b", tmp_path / "r"
    code, said = command(capsys, "backup", center, "--to", place)
    assert (code, said["size"], said["vault_copied"]) == (0, kept.size, 4)
    assert said["left_out"] == ["the passphrase of the key files"]
    code, said = command(capsys, "restore", again)
    assert (code, said["error"]) == (2, "misuse")
    code, said = command(capsys, "restore", again, "--from", place)
    assert (code, said["size"], said["largest_head"]) == (0, kept.size, kept.size)
    code, said = command(capsys, "restore", again, "--from", place)
    assert (code, said["error"]) == (2, "misuse")
    code, said = command(capsys, "restore", again, "--sign-from-here", kept.size + 1)
    assert (code, said["error"]) == (2, "misuse")
    code, said = command(capsys, "restore", again, "--sign-from-here", kept.size)
    assert (code, said["signs_from"]) == (0, kept.size)
    lost = sha256(kept.bigs[0]).hexdigest()
    (center / "vault" / lost[:2] / lost[2:4] / lost).unlink()
    code, said = command(
        capsys, "backup", center, "--to", tmp_path / "b2", "--with-passphrase"
    )
    assert (code, said["damaged"]) == (1, [f"record {lost}"])
    assert (tmp_path / "b2/keys/passphrase").exists()


def test_a_person_is_told_what_to_do_after_a_restore(backup, tmp_path, capsys):
    assert run(["restore", str(tmp_path / "r"), "--from", str(backup)]) == 0
    text = capsys.readouterr().out
    assert "--sign-from-here" in text
    assert "--known-head" in text
    assert keeping._NEXT.splitlines()[1].split("{")[0] in text
