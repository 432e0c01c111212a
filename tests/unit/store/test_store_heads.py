"""The head files: two slots each, of which a power cut tears one at most."""

import os
import random
from hashlib import sha256
from threading import Thread

import pytest

from trace_node.errors import Misuse, StoreCorrupt
from trace_node.ledger.checkpoint import Checkpoint, sign_checkpoint
from trace_node.store import heads
from trace_node.store.heads import SLOT, HeadFile
from trace_node.trust.keys import MemorySigner
from trace_node.trust.vkey import make_vkey

ORIGIN = "heads.example/log"
KEY = MemorySigner.from_seed("Ed25519", b"\3" * 32)
STRANGER = MemorySigner.from_seed("Ed25519", b"\4" * 32)
VKEY = make_vkey(ORIGIN, 1, KEY.public.x)


def head(size):
    return Checkpoint(ORIGIN, size, sha256(b"%d" % size).digest())


def keep(file, size, key=KEY):
    file.keep(sign_checkpoint(ORIGIN, size, head(size).root, key), head(size))


@pytest.fixture
def opened(tmp_path):
    """Open the head file as often as processes would."""
    files = []

    def open_file():
        files.append(HeadFile(tmp_path, VKEY))
        return files[-1]

    open_file.folder = tmp_path
    yield open_file
    for file in files:
        file.close()


@pytest.fixture
def reopened(opened):
    """Open the head file of the only process again, as its next start would."""
    files = []

    def open_file():
        if files:
            files.pop().close()
        files.append(HeadFile(opened.folder, VKEY))
        return files[-1]

    yield open_file
    for file in files:
        file.close()


def damage(path, slot, at, data):
    with path.open("r+b") as file:
        file.seek(slot * SLOT + at)
        file.write(data)


def test_a_new_file_holds_no_head(opened):
    file = opened()
    assert (file.last(), file.note(), file.snapshot()) == (
        None,
        b"",
        None,
    )


def test_what_was_kept_is_there_after_opening_again(opened):
    keep(opened(), 1)
    assert opened().last() == head(1)
    file = opened()
    keep(file, 7)
    assert file.snapshot() == (head(7), file.note())
    assert opened().last() == head(7)


def test_a_head_is_synced_before_keep_returns(opened, monkeypatch):
    calls = []
    write, sync = os.pwrite, os.fdatasync
    monkeypatch.setattr(os, "pwrite", lambda *a: (calls.append("write"), write(*a))[1])
    monkeypatch.setattr(os, "fdatasync", lambda f: (calls.append("sync"), sync(f))[1])
    keep(opened(), 1)
    assert calls == ["write", "sync"]


def test_a_smaller_head_never_replaces_one(opened):
    file = opened()
    keep(file, 9)
    keep(file, 8)
    assert (file.last(), opened().last()) == (head(9), head(9))


def test_slots_are_written_in_turn(opened, tmp_path):
    file = opened()
    for size in (1, 2, 3):
        keep(file, size)
    data = (tmp_path / "head").read_bytes()
    assert b"\n3\n" in data[:SLOT]
    assert b"\n2\n" in data[SLOT:]


@pytest.mark.parametrize("seed", range(40))
def test_with_one_slot_torn_the_other_counts(reopened, tmp_path, seed):
    dice = random.Random(seed)
    file = reopened()
    keep(file, 4)
    keep(file, 5)
    slot = dice.randrange(2)
    note = (tmp_path / "head").read_bytes()[slot * SLOT :][:SLOT].rstrip(b"\0")
    at = dice.randrange(len(note))
    kinds = [
        dice.randbytes(dice.randrange(1, 200)),
        b"\0" * (SLOT - at),
        bytes([note[at] ^ 1 << dice.randrange(8)]),
    ]
    damage(tmp_path / "head", slot, at, dice.choice(kinds))
    other = head(5) if slot == 0 else head(4)
    again = reopened()
    assert again.last() == other
    keep(again, 6)  # the torn slot is the one written next
    assert reopened().last() == head(6)
    damage(tmp_path / "head", slot, 0, b"\0" * SLOT)
    assert reopened().last() == other


@pytest.mark.parametrize("seed", range(10))
def test_with_both_slots_torn_nothing_is_opened(reopened, tmp_path, seed):
    dice = random.Random(seed)
    file = reopened()
    keep(file, 4)
    keep(file, 5)
    for slot in (0, 1):
        damage(tmp_path / "head", slot, dice.randrange(100), dice.randbytes(20))
    with pytest.raises(StoreCorrupt, match="no slot"):
        HeadFile(tmp_path, VKEY)


def test_the_very_first_write_torn_leaves_no_head(reopened, tmp_path):
    keep(reopened(), 1)
    damage(tmp_path / "head", 0, 30, b"torn")
    file = reopened()
    assert file.last() is None
    keep(file, 1)
    assert reopened().last() == head(1)


def test_a_head_by_another_key_does_not_count(reopened):
    file = reopened()
    keep(file, 3)
    keep(file, 99, STRANGER)
    assert reopened().last() == head(3)


def test_what_one_process_keeps_binds_all(opened, tmp_path):
    a, b = opened(), opened()
    assert (a.path.name, b.path.name) == ("head", "head.1")
    keep(a, 5)
    assert b.last() == head(5)
    keep(b, 3)  # its own file takes it, and the greatest stays what it is
    assert b.last() == head(5)
    keep(b, 6)
    assert a.last() == head(6)
    keep(a, 6)
    assert b"\n6\n" in (tmp_path / "head").read_bytes()
    assert opened().last() == head(6)


def test_nobody_waits_for_a_process_that_is_stopped_while_it_keeps(opened):
    a, b = opened(), opened()
    with a._guard:  # as if stopped in the middle: its lock and file stay taken
        keep(b, 4)
        assert b.last() == head(4)


def test_a_file_is_taken_again_when_its_process_is_gone(opened):
    first, second = opened(), opened()
    keep(first, 2)
    keep(second, 3)
    first.close()
    third = opened()
    assert third.path == first.path
    assert third.last() == head(3)
    first._file = os.open(first.path, os.O_RDONLY)  # for the fixture to close


def test_a_head_is_not_unsaid_by_a_file_that_goes_away(opened):
    a, b = opened(), opened()
    keep(b, 8)
    assert a.last() == head(8)
    b.path.unlink()
    assert a.last() == head(8)


def test_a_file_that_does_not_prove_itself_stops_all(opened):
    a, b = opened(), opened()
    keep(b, 1)
    keep(b, 2)
    damage(b.path, 0, 40, b"x")
    damage(b.path, 1, 40, b"x")
    with pytest.raises(StoreCorrupt, match=r"head\.1"):
        a.last()


def test_there_is_an_end_to_how_many_processes_sign(opened, monkeypatch):
    monkeypatch.setattr(heads, "PROCESSES", 2)
    opened(), opened()
    with pytest.raises(Misuse, match="2 processes"):
        opened()


def test_writers_at_the_same_time_leave_the_greatest_and_no_torn_slot(opened):
    files = [opened() for _ in range(4)]

    def run(number):
        for size in range(number + 1, 101, 4):
            keep(files[number], size)
            assert files[number].last().size >= size

    threads = [Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert opened().last() == head(100)
    assert [file.last() for file in files] == [head(100)] * 4


def test_after_a_failed_sync_the_head_is_written_once_more(opened, monkeypatch):
    # A failed fsync may leave pages that look clean and are on no disk.
    file = opened()
    keep(file, 1)

    def fail(_):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fail)
        with pytest.raises(OSError, match="Input/output"):
            keep(file, 2)
    assert file.last() == head(1)
    calls = []
    write, sync = os.pwrite, os.fdatasync
    monkeypatch.setattr(os, "pwrite", lambda *a: (calls.append("write"), write(*a))[1])
    monkeypatch.setattr(os, "fdatasync", lambda f: (calls.append("sync"), sync(f))[1])
    keep(file, 2)
    assert (calls, file.last()) == (["write", "sync"], head(2))
    keep(file, 2)
    assert calls == ["write", "sync"]


def test_a_note_that_fits_no_slot_is_not_kept(opened):
    file = opened()
    with pytest.raises(StoreCorrupt, match="fits no slot"):
        file.keep(b"x" * SLOT, head(1))
    assert file.last() is None


def test_the_file_is_durable_before_anything_is_kept(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(heads, "sync_folder", synced.append)
    HeadFile(tmp_path, VKEY).close()
    assert synced == [tmp_path]
    assert (tmp_path / "head").stat().st_size == 2 * SLOT
