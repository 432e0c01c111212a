"""The order of calls that makes a file survive a power cut."""

import os
from pathlib import Path

import pytest

from trace_node.store.files import make_folder, write_file, write_files


@pytest.fixture
def calls(monkeypatch):
    """Record (call, name) of what touches the disk, in order."""
    made = []

    def name_of(handle):
        return Path(f"/proc/self/fd/{handle}").readlink().name

    sync, rename, mkdir = os.fsync, Path.rename, Path.mkdir
    monkeypatch.setattr(
        os, "fsync", lambda h: (made.append(("sync", name_of(h))), sync(h))[1]
    )
    monkeypatch.setattr(
        Path, "rename", lambda p, t: (made.append(("rename", t.name)), rename(p, t))[1]
    )
    monkeypatch.setattr(
        Path, "mkdir", lambda p, **k: (made.append(("mkdir", p.name)), mkdir(p, **k))[1]
    )
    return made


def kinds(calls):
    return [(call, "tmp" if name.endswith(".tmp") else name) for call, name in calls]


def test_a_file_is_synced_then_renamed_then_its_folder_is_synced(tmp_path, calls):
    write_file(tmp_path / "a", b"data")
    assert kinds(calls) == [("sync", "tmp"), ("rename", "a"), ("sync", tmp_path.name)]
    assert (tmp_path / "a").read_bytes() == b"data"


def test_a_folder_of_several_files_is_synced_once_after_all(tmp_path, calls):
    write_files([(tmp_path / name, b"x") for name in "abc"])
    assert kinds(calls)[-1] == ("sync", tmp_path.name)
    assert [name for call, name in calls if call == "rename"] == ["a", "b", "c"]
    assert kinds(calls).count(("sync", tmp_path.name)) == 1


def test_a_new_folder_is_durable_before_a_file_stands_in_it(tmp_path, calls):
    write_file(tmp_path / "one" / "two" / "a", b"x")
    begin = [
        ("mkdir", "one"),
        ("sync", tmp_path.name),
        ("mkdir", "two"),
        ("sync", "one"),
    ]
    assert kinds(calls)[:4] == begin
    assert kinds(calls)[4:] == [("sync", "tmp"), ("rename", "a"), ("sync", "two")]


def test_making_a_folder_that_is_there_does_nothing(tmp_path, calls):
    make_folder(tmp_path)
    assert calls == []


@pytest.mark.parametrize("step", ["fsync", "rename"])
def test_a_failure_leaves_the_old_file_and_nothing_beside_it(
    tmp_path, monkeypatch, step
):
    path = tmp_path / "a"
    write_file(path, b"old")

    def fail(*_):
        raise OSError("disk")

    monkeypatch.setattr(*((os, "fsync") if step == "fsync" else (Path, "rename")), fail)
    with pytest.raises(OSError, match="disk"):
        write_file(path, b"new")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a", b"old")]


def test_modes_are_as_asked_from_the_first_byte(tmp_path, monkeypatch):
    modes = []
    opened = os.open
    monkeypatch.setattr(
        os,
        "open",
        lambda p, f, m=0o777: (modes.append((f & os.O_EXCL, m)), opened(p, f, m))[1],
    )
    write_file(tmp_path / "a", b"secret", mode=0o600)
    assert modes[0] == (os.O_EXCL, 0o600)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
