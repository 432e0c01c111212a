"""Record bytes at rest: hashed on every read, staged within a limit."""

from hashlib import sha256

import pytest
from sqlalchemy import text

from trace_node.errors import NotFound, Overloaded, StoreCorrupt
from trace_node.store.engine import reading
from trace_node.store.log import ROW_LIMIT
from trace_node.store.vault import Vault

SMALL = b"a small record"
LARGE = b"a large record" * ROW_LIMIT
LIMIT = 2 * len(LARGE)


def name(data):
    return sha256(data).digest()


@pytest.fixture
def make(center, tmp_path):
    def make(limit=LIMIT):
        return Vault(center, reading(center), tmp_path / "vault", staged_limit=limit)

    return make


@pytest.fixture
def vault(make):
    return make()


def file_of(tmp_path, data):
    text = name(data).hex()
    return tmp_path / "vault" / text[:2] / text[2:4] / text


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["row", "file"])
def test_a_record_comes_back_as_it_was(vault, data):
    assert vault.stage(name(data), data, 10)
    assert vault.has(name(data))
    assert vault.read(name(data)) == data
    assert not vault.stage(name(data), data, 11)


def test_small_records_are_rows_and_large_ones_files(vault, tmp_path):
    vault.stage(name(SMALL), SMALL, 1)
    vault.stage(name(LARGE), LARGE, 1)
    assert not file_of(tmp_path, SMALL).exists()
    assert file_of(tmp_path, LARGE).read_bytes() == LARGE


def test_a_record_of_the_limit_is_a_row(vault, tmp_path):
    for extra in (0, 1):
        data = b"x" * (ROW_LIMIT + extra)
        vault.stage(name(data), data, 1)
        assert file_of(tmp_path, data).exists() == bool(extra)
        assert vault.read(name(data)) == data


def test_an_unknown_record_is_not_found(vault):
    with pytest.raises(NotFound):
        vault.read(name(SMALL))


@pytest.mark.parametrize("bit", [0, 7, 8 * len(SMALL) - 1])
def test_a_bit_flipped_in_a_row_is_never_served(vault, center, bit):
    vault.stage(name(SMALL), SMALL, 1)
    data = bytearray(SMALL)
    data[bit // 8] ^= 1 << bit % 8
    with center.begin() as connection:
        connection.execute(text("UPDATE record SET content = :c"), {"c": bytes(data)})
    with pytest.raises(StoreCorrupt, match="changed at rest"):
        vault.read(name(SMALL))


def test_a_bit_flipped_in_a_file_is_never_served(vault, tmp_path):
    vault.stage(name(LARGE), LARGE, 1)
    with file_of(tmp_path, LARGE).open("r+b") as file:
        file.seek(12_345)
        file.write(b"!")
    with pytest.raises(StoreCorrupt, match="changed at rest"):
        vault.read(name(LARGE))


def test_a_file_that_is_gone_is_told(vault, tmp_path):
    vault.stage(name(LARGE), LARGE, 1)
    file_of(tmp_path, LARGE).unlink()
    with pytest.raises(StoreCorrupt, match="gone"):
        vault.read(name(LARGE))


def test_no_more_is_staged_than_the_limit(make):
    vault = make(limit=2 * len(SMALL))
    first, second, third = (SMALL[:-1] + bytes([k]) for k in range(3))
    vault.stage(name(first), first, 1)
    vault.stage(name(second), second, 1)
    with pytest.raises(Overloaded):
        vault.stage(name(third), third, 1)
    assert not vault.has(name(third))
    vault.settle([name(first)])
    vault.measure()
    assert vault.stage(name(third), third, 1)


def test_what_is_staged_is_counted_after_a_restart(make):
    make().stage(name(SMALL), SMALL, 1)
    again = make(limit=len(SMALL))
    with pytest.raises(Overloaded):
        again.stage(name(b"x"), b"x", 1)


def test_staged_records_are_told_by_age(vault):
    vault.stage(name(b"old"), b"old", 10)
    vault.stage(name(b"new"), b"new", 20)
    assert vault.staged(10) == []
    assert vault.staged(20) == [name(b"old")]
    assert vault.staged(21) == [name(b"old"), name(b"new")]


def test_settled_records_stay_and_are_no_longer_staged(vault):
    vault.stage(name(SMALL), SMALL, 1)
    vault.settle([name(SMALL)])
    vault.drop([name(SMALL)])
    assert vault.staged(99) == []
    assert vault.read(name(SMALL)) == SMALL
    assert vault.measure() == 0


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["row", "file"])
def test_dropped_records_leave_nothing(vault, tmp_path, data):
    vault.stage(name(data), data, 1)
    vault.drop([name(data)])
    assert not vault.has(name(data))
    assert not file_of(tmp_path, data).exists()
    assert vault.stage(name(data), data, 2)
    assert vault.read(name(data)) == data


def test_nothing_to_do_is_done(vault):
    vault.settle([])
    vault.drop([])


def test_a_file_dropped_between_looking_and_writing_the_row_is_written_again(
    make, tmp_path, monkeypatch
):
    vault, other = make(), make()
    digest = name(LARGE)
    vault.file(digest, LARGE)  # left by an earlier try
    look, seen = Vault.file, []

    def file_then_drop(self, digest, data):
        look(self, digest, data)
        if not seen:
            seen.append(True)
            other.drop([digest])

    monkeypatch.setattr(Vault, "file", file_then_drop)
    assert vault.stage(digest, LARGE, 1)
    assert seen
    assert vault.read(digest) == LARGE
