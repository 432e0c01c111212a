"""Record bytes at rest: hashed on every read, staged within a limit."""

from hashlib import sha256

import pytest
from sqlalchemy import text

from trace_node.errors import NotFound, Overloaded, StoreCorrupt
from trace_node.store import vault as module
from trace_node.store.engine import reading
from trace_node.store.log import ROW_LIMIT
from trace_node.store.vault import MINUTE, Vault

SMALL = b"a small record"
LARGE = b"a large record" * ROW_LIMIT
LIMIT = 2 * len(LARGE)


def name(data):
    return sha256(data).digest()


class Clock:
    seconds = 1_000

    def __call__(self):
        return self.seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def make(center, place, clock):
    def make(limit=LIMIT):
        return Vault(
            center, reading(center), place.blobs, staged_limit=limit, clock=clock
        )

    return make


@pytest.fixture
def vault(make):
    return make()


def blob_of(data):
    text = name(data).hex()
    return f"vault/{text[:2]}/{text[2:4]}/{text}"


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["row", "blob"])
def test_a_record_comes_back_as_it_was(vault, data):
    assert vault.stage(name(data), data, 10)
    assert vault.has(name(data))
    assert vault.read(name(data)) == data
    assert not vault.stage(name(data), data, 11)


def test_small_records_are_rows_and_large_ones_files(vault, place):
    vault.stage(name(SMALL), SMALL, 1)
    vault.stage(name(LARGE), LARGE, 1)
    assert place.all() == {blob_of(LARGE)}
    assert place.get(blob_of(LARGE)) == LARGE


def test_a_record_of_the_limit_is_a_row(vault, place):
    for extra in (0, 1):
        data = b"x" * (ROW_LIMIT + extra)
        vault.stage(name(data), data, 1)
        assert (blob_of(data) in place.all()) == bool(extra)
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


def spoiled(kind):
    if kind == "short":
        return LARGE[:-1]
    if kind == "empty":
        return b""
    data = bytearray(LARGE)
    data[12_345] ^= 1
    return bytes(data)


SPOILED = pytest.mark.parametrize("kind", ["flipped", "short", "empty"])


@SPOILED
def test_a_spoiled_blob_is_never_served(vault, place, kind):
    vault.stage(name(LARGE), LARGE, 1)
    place.put(blob_of(LARGE), spoiled(kind))
    with pytest.raises(StoreCorrupt, match="changed at rest"):
        vault.read(name(LARGE))


def test_a_build_that_does_not_hash_what_it_reads_serves_it(vault, place, monkeypatch):
    """The control: without the hash the test above goes red."""
    monkeypatch.setattr(module, "sha256", lambda data: Anything())
    vault.stage(name(LARGE), LARGE, 1)
    place.put(blob_of(LARGE), spoiled("flipped"))
    assert vault.read(name(LARGE)) == spoiled("flipped")


class Anything:
    def digest(self):
        return self

    def __eq__(self, _other):
        return True

    __hash__ = None


def test_a_blob_that_is_gone_is_told(vault, place):
    vault.stage(name(LARGE), LARGE, 1)
    place.delete(blob_of(LARGE))
    with pytest.raises(StoreCorrupt, match="gone"):
        vault.read(name(LARGE))


@pytest.mark.parametrize("kind", ["flipped", "short", "gone"])
def test_whoever_brings_a_record_again_mends_it(vault, place, kind):
    vault.stage(name(LARGE), LARGE, 1)
    vault.settle([name(LARGE)])
    if kind == "gone":
        place.delete(blob_of(LARGE))
    else:
        place.put(blob_of(LARGE), spoiled(kind))
    assert not vault.stage(name(LARGE), LARGE, 2)
    assert vault.read(name(LARGE)) == LARGE
    assert place.get(blob_of(LARGE)) == LARGE


def test_a_stray_blob_is_not_believed(vault, place):
    # A crash left it before its row, or the disk spoiled it meanwhile.
    place.put(blob_of(LARGE), spoiled("flipped"))
    assert vault.stage(name(LARGE), LARGE, 1)
    assert vault.read(name(LARGE)) == LARGE


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


def test_dropped_rows_leave_nothing(vault):
    vault.stage(name(SMALL), SMALL, 1)
    vault.drop([name(SMALL)])
    assert not vault.has(name(SMALL))
    assert vault.stage(name(SMALL), SMALL, 2)
    assert vault.read(name(SMALL)) == SMALL


def rows(center):
    with center.connect() as connection:
        return connection.exec_driver_sql("SELECT digest, staged FROM record").all()


def test_a_dropped_blob_is_gone_at_once_and_its_row_a_minute_later(
    vault, place, center, clock
):
    vault.stage(name(LARGE), LARGE, 1)
    vault.drop([name(LARGE)])
    assert place.all() == set()
    assert not vault.has(name(LARGE))
    with pytest.raises(NotFound):
        vault.read(name(LARGE))
    assert vault.staged(9_999) == []
    clock.seconds += MINUTE
    vault.drop([])
    assert rows(center) == [(name(LARGE), -1_000)]
    clock.seconds += 1
    vault.drop([])
    assert rows(center) == []
    assert vault.stage(name(LARGE), LARGE, 2)
    assert vault.read(name(LARGE)) == LARGE


def test_a_record_is_not_taken_while_it_is_dropped(vault, place):
    # A delete that is still under way would take the new blob with it.
    vault.stage(name(LARGE), LARGE, 1)
    vault.drop([name(LARGE)])
    for _ in range(2):
        with pytest.raises(Overloaded, match="later") as caught:
            vault.stage(name(LARGE), LARGE, 2)
        assert caught.value.retry_after == MINUTE
        with pytest.raises(Overloaded, match="later"):
            vault.stage_large([(name(LARGE), LARGE)])
    assert place.all() == set()


def test_a_blob_that_came_late_goes_with_its_row(vault, place, clock):
    vault.stage(name(LARGE), LARGE, 1)
    vault.drop([name(LARGE)])
    place.put(blob_of(LARGE), LARGE)  # by whoever looked before it was doomed
    clock.seconds += MINUTE + 1
    vault.drop([])
    assert place.all() == set()


def test_a_doomed_record_is_not_settled(vault, center):
    vault.stage(name(LARGE), LARGE, 1)
    vault.drop([name(LARGE)])
    vault.settle([name(LARGE)])
    assert rows(center) == [(name(LARGE), -1_000)]


def test_what_an_entry_names_is_not_dropped(vault, place):
    vault.stage(name(LARGE), LARGE, 1)
    vault.settle([name(LARGE)])
    vault.drop([name(LARGE)])
    assert vault.read(name(LARGE)) == LARGE


def test_large_records_of_a_submission_are_staged_before_their_entry(vault, place):
    other = LARGE[1:]
    vault.stage_large([(name(LARGE), LARGE), (name(other), other)])
    assert place.all() == {blob_of(LARGE), blob_of(other)}
    assert sorted(vault.staged(1_001)) == sorted([name(LARGE), name(other)])
    vault.stage_large([(name(LARGE), LARGE)])
    assert vault.measure() == len(LARGE) + len(other)


def test_nothing_to_do_is_done(vault):
    vault.settle([])
    vault.drop([])


def test_a_record_doomed_while_its_blob_is_written_is_not_taken(
    make, place, center, monkeypatch
):
    vault, other = make(), make()
    vault.stage(name(LARGE), LARGE, 1)
    write = module.write_sound

    def write_then_drop(blobs, wanted):
        write(blobs, wanted)
        other.drop([name(LARGE)])

    monkeypatch.setattr(module, "write_sound", write_then_drop)
    with pytest.raises(Overloaded, match="later"):
        vault.stage(name(LARGE), LARGE, 2)
    assert rows(center) == [(name(LARGE), -1_000)]
