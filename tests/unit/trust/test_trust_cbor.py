import io

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trace_node.errors import Malformed
from trace_node.trust import cbor

UINT64 = st.integers(-(2**64), 2**64 - 1)
KEYS = UINT64 | st.binary(max_size=40) | st.text(max_size=40)
SCALARS = KEYS | st.booleans() | st.none()
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(KEYS, inner, max_size=5)
    ),
    max_leaves=25,
)


@given(VALUES)
def test_what_is_encoded_is_decoded(value):
    data = cbor.encode(value)
    assert cbor.decode(data) == value
    assert cbor.encode(cbor.decode(data)) == data


@given(VALUES)
def test_another_library_reads_the_same(value):
    data = cbor.encode(value)
    read = cbor2.loads(data, allow_indefinite=False, allow_duplicate_keys=False)
    assert cbor.encode(read) == data


@given(st.lists(SCALARS, max_size=5))
def test_another_library_writes_the_same_where_no_map_is_sorted(value):
    assert cbor.encode(value) == cbor2.dumps(value, canonical=True)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_once_or_refused(data):
    try:
        value = cbor.decode(data)
    except Malformed:
        return
    assert cbor.encode(value) == data


@given(VALUES, st.data())
def test_a_changed_encoding_never_reads_as_the_same_value(value, data):
    good = bytearray(cbor.encode(value))
    place = data.draw(st.integers(0, len(good) - 1))
    good[place] ^= data.draw(st.integers(1, 255))
    try:
        read = cbor.decode(bytes(good))
    except Malformed:
        return
    assert cbor.encode(read) == bytes(good) != cbor.encode(value)


def test_map_keys_stand_in_bytewise_order_not_by_length():
    # RFC 8949 §4.2.1 against RFC 7049 §3.9, which would put -1 before 24.
    assert cbor.encode({-1: 0, 24: 0, 10: 0}) == bytes.fromhex("a30a001818002000")


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ("00", 0), ("17", 23), ("1818", 24), ("18ff", 255), ("190100", 256),
        ("1a00010000", 65536), ("1bffffffffffffffff", 2**64 - 1),
        ("20", -1), ("3bffffffffffffffff", -(2**64)), ("40", b""), ("60", ""),
        ("80", []), ("a0", {}), ("f4", False), ("f5", True), ("f6", None),
        ("62c3bc", "ü"), ("64f0908591", "\U00010151"), ("826161a161626163", ["a", {"b": "c"}]),
    ],
)  # fmt: skip
def test_examples_of_rfc_8949_appendix_a(data, value):
    assert cbor.decode(bytes.fromhex(data)) == value
    assert cbor.encode(value) == bytes.fromhex(data)


@pytest.mark.parametrize(
    "data",
    [
        "", "1800", "1817", "190000", "1900ff", "1a0000ffff", "1b00000000ffffffff", "3800",
        "5801aa", "590001aa", "7800", "9800", "b800",  # not the shortest
        "5f41aaff", "7f6161ff", "9f01ff", "bf0102ff", "ff", "9fff",  # indefinite
        "1c", "1d", "1e", "1f", "3c", "fc", "fd", "fe",  # reserved
        "f7", "e0", "f3", "f818", "f820", "f8ff", "f814",  # simple values
        "f90000", "fa00000000", "fb0000000000000000", "f97e00", "f97c00",  # floats
        "c000", "c11a00000000", "c24101", "c482200a", "d81c00", "d81d00", "d82300",
        "d9d9f700", "d280", "d8238061", "d81e820102",  # tags
        "a201020103", "a202000100", "a2616100616100", "a220000000", "a1f500", "a1f600",
        "a18000", "a1a000", "a1f9000000",  # keys
        "61ff", "62c328", "63eda080", "62c080", "64f4908080",  # not UTF-8
        "0000", "a0a0", "41", "4100aa", "6161ff", "81", "8200", "a100", "a1", "19", "1901", "5b",
        "5bffffffffffffffff", "7bffffffffffffffff", "9bffffffffffffffff", "bbffffffffffffffff",
        "9a7fffffff00", "ba7fffffff00", "5a7fffffff", "9b000000010000000000",
    ],
)  # fmt: skip
def test_all_else_is_refused(data):
    with pytest.raises(Malformed) as caught:
        cbor.decode(bytes.fromhex(data), where="input")
    assert caught.value.where.startswith("input, byte ")


def test_depth_ends_at_sixteen():
    assert cbor.decode(b"\x81" * 15 + b"\x80")
    for opened in (
        b"\x81" * 16 + b"\x80",
        b"\xa1\x00" * 16 + b"\xa0",
        b"\x81" * 100_000,
    ):
        with pytest.raises(Malformed, match="nested deeper"):
            cbor.decode(opened)


def test_a_sequence_is_read_item_by_item():
    data = cbor.encode([1, b"a"]) + cbor.encode({"b": None})
    first, offset = cbor.decode_first(data)
    second, end = cbor.decode_first(data, offset)
    assert (first, second, end) == ([1, b"a"], {"b": None}, len(data))
    with pytest.raises(Malformed):
        cbor.decode_first(data, end)


def test_tags_are_written_and_not_read():
    data = cbor.encode(cbor2.CBORTag(18, [1]))
    assert data == bytes.fromhex("d28101")
    with pytest.raises(Malformed):
        cbor.decode(data)


@pytest.mark.parametrize(
    "value", [1.5, {1, 2}, io.BytesIO(), {None: 1}, {True: 1}, {(1,): 2}]
)
def test_types_we_do_not_use_are_not_encoded(value):
    with pytest.raises(TypeError):
        cbor.encode(value)


@pytest.mark.parametrize("value", [2**64, -(2**64) - 1, "\ud800"])
def test_values_beyond_cbor_are_not_encoded(value):
    with pytest.raises(ValueError):
        cbor.encode(value)
