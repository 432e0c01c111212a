import json

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trace_node.errors import LimitExceeded, Malformed, TraceNodeError
from trace_node.trust import base64url, strictjson
from trace_node.trust.record import (
    CONTENT_TYPES,
    GOVERNANCE_TYPES,
    MAX_RECORD,
    RECORD_MEDIA,
    loads_strict,
    make_record,
    media_of,
    ni,
    parse_ni,
    parse_record,
    read_members,
)

TEXT = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)  # fmt: skip
# Fragments that meet in odd places: quotes, colons, escapes, doubled keys.
SOUP = st.lists(
    st.sampled_from([
        '"a"', '"a":', '"a" :', '"\\u0061":', '"a\\"":', '"b":', '"":', '":"', '" :"', "{", "}", "[", "]", ",",
        "1", "-0", "0.5", "1e999", "1e20", "9007199254740991", "9007199254740992", "-9007199254740992",
        "18446744073709551616", "9007199254740993.0", "NaN", "null", "true", '"\\u0000"', '"\\ud800"', '"\\\\u0000"', " ", "\n", "\t", "\r",
    ]),
    max_size=14,
).map("".join)  # fmt: skip
PAIRS = st.lists(
    st.tuples(st.sampled_from(['"a"', '"\\u0061"', '"b"', '"a:"', '"\\":"', '""']),
              st.sampled_from([":", " :", "\n:", " \t: "]),
              st.sampled_from(["1", '"x\\":y"', "{}", '{"a":1,"a":2}', "1e20", "9007199254740992", '[{"a" :1}]', '" : "'])),
    max_size=4,
).map(lambda pairs: "{" + ",".join("".join(p) for p in pairs) + "}")  # fmt: skip


def outcome(read, data):
    try:
        return "ok", repr(read(data))
    except Malformed:
        return ("refused",)


def exactly(data):
    """The reference: the slow pass alone, after the parser's own checks."""
    orjson_refuses = Malformed("not JSON")
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        raise orjson_refuses from None
    return strictjson._loads_exact(data)


@given(JSON)
def test_json_is_read_as_it_was_written(value):
    for data in (
        orjson.dumps(value),
        json.dumps(value, indent=1).encode(),
        json.dumps(value, separators=(" , ", " : ")).encode(),
    ):
        assert loads_strict(data) == value


@given(SOUP | PAIRS)
@example('{"a":1,"b" :2,"a":3}')
@example('{"a" :1,"a":"\\":"}')
def test_the_fast_path_and_the_exact_one_agree(text):
    data = text.encode()
    assert outcome(loads_strict, data) == outcome(exactly, data)


@given(
    st.binary(max_size=60) | st.binary(max_size=20).map(lambda b: b'{"a":"' + b + b'"}')
)
def test_the_paths_agree_on_any_bytes(data):
    assert outcome(loads_strict, data) == outcome(exactly, data)


@given(JSON, st.data())
def test_the_paths_agree_on_damaged_documents(value, data):
    raw = bytearray(json.dumps(value, ensure_ascii=data.draw(st.booleans())).encode())
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(
        st.sampled_from(b'":\\,{}[] \0a1e')
    )
    assert outcome(loads_strict, bytes(raw)) == outcome(exactly, bytes(raw))


@pytest.mark.parametrize(
    "data",
    [
        b"", b" ", b"{", b"1 1", b"{}x", b"[1,]", b"{'a':1}", b"01", b"+1", b".5", b"1.", b"// c\n1",
        b'{"a":1,"a":1}', b'{"x":{"a":1,"b":{},"a":2}}', b'[{"a":1,"\\u0061":2}]', b'{"a" :1,"a":2}',
        b'{"a":{"deep":{"er":1}},"a":1,"x\\":y":1,"z":"\\":\\":"}', b'{"":1,"":2}',
        '{"ü":1,"\\u00fc":2}'.encode(), '{"😀":1,"\\ud83d\\ude00":2}'.encode(),
        b"NaN", b"Infinity", b"-Infinity", b"[NaN]", b"1e999", b"-1e999", b"[1E400]",
        b"9007199254740992", b"-9007199254740992", b"18446744073709551616", b"-9223372036854775809",
        b"9" * 400, b"9" * 5000, b'{"a":[9007199254740993]}',
        b'"\\ud800"', b'"\\udc00x"', b'{"\\ud800":1}', b'"\\ud800\\ud800"', b'"\xed\xa0\x80"',
        b'"\\u0000"', b'{"a\\u0000":1}', b'"\x00"', b'[{"a":"x\\u0000"}]', b'"\x1f"', b'"\xff"', b'"\xc0\x80"',
        b"\xef\xbb\xbf{}", "{}".encode("utf-16"), "{}".encode("utf-16-le"), "{}".encode("utf-32"),
        b"[" * 33 + b"]" * 33, b'{"a":' * 33 + b"1" + b"}" * 33, b"[" * 2000 + b"]" * 2000, b"[" * 500_000,
        b'{"a":' + b"[" * 900 + b"]" * 900 + b',"a":1}',
    ],
)  # fmt: skip
def test_hostile_json_is_refused(data):
    with pytest.raises(Malformed):
        loads_strict(data)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"9007199254740991", 2**53 - 1), (b"-9007199254740991", 1 - 2**53), (b"1e20", 1e20),
        (b"9007199254740992.0", 2.0**53), (b"-1.5e300", -1.5e300), (b"1e-999", 0.0), (b"-0", 0),
        (b'"\\\\u0000"', "\\u0000"), (b'"\\ud83d\\ude00"', "😀"), (b'{"a\\":":"\\":"}', {'a":': '":'}),
        (b"[" * 32 + b"]" * 32, None), (b'{"a":{"a":1},"b":[{"a":1},{"a":2}]}', None), (b" \r\n\t[ ] ", []),
        ('"\x7f\u2028\ufeff"'.encode(), "\x7f\u2028\ufeff"), (b"null", None),
    ],
)  # fmt: skip
def test_odd_but_plain_json_is_read(data, value):
    read = loads_strict(data)
    if value is not None:
        assert read == value
        assert type(read) is type(value)


def test_size_is_limited_before_anything_is_parsed():
    with pytest.raises(LimitExceeded):
        loads_strict(b"[" + b"1," * 10_000_000 + b"1]")
    with pytest.raises(LimitExceeded):
        loads_strict(b'"123"', max_bytes=4)
    assert loads_strict(b'"' + b"x" * (MAX_RECORD - 2) + b'"')


def test_too_deep_says_so_and_a_repeated_key_is_named():
    with pytest.raises(LimitExceeded, match="deeper"):
        loads_strict(b"[" * 33 + b"]" * 33)
    with pytest.raises(Malformed) as caught:
        loads_strict(b'{"lot":1,"x":{"lot":1,"lot":2}}')
    assert caught.value.where == "lot"


GOOD = {
    "type": "event",
    "profile": "4-segments@1",
    "issued": "2026-11-23T08:00:00Z",
    "salt": "AAAAAAAAAAAAAAAAAAAAAA",
    "body": {"a": 1},
}


def test_a_record_is_made_compact_in_the_order_of_the_format():
    raw = make_record(
        "event", "4-segments@1", "2026-11-23T08:00:00Z", bytes(16), {"a": 1}
    )
    assert raw == json.dumps(GOOD, separators=(",", ":")).encode()
    parsed = parse_record(raw)
    assert parsed.raw == raw
    assert parsed.body == {"a": 1}
    assert parsed.salt == bytes(16)
    assert parse_ni(ni(parsed.digest)) == parsed.digest


@given(
    st.sampled_from(sorted(CONTENT_TYPES | GOVERNANCE_TYPES)),
    st.binary(min_size=16, max_size=16),
    st.dictionaries(TEXT, JSON, max_size=3),
)
def test_what_is_made_is_parsed(kind, salt, body):
    parsed = parse_record(
        make_record(kind, "0-x@12", "2024-02-29T23:59:59.123456789Z", salt, body)
    )
    assert (parsed.type, parsed.salt, parsed.body) == (kind, salt, body)


@pytest.mark.parametrize(
    "change",
    [
        {"type": "gossip"}, {"type": 1}, {"type": []}, {"type": None}, {"profile": ""}, {"profile": 1},
        {"profile": "4-segments"}, {"profile": "44-x@1"}, {"profile": "4-x@1\n"}, {"profile": "4-" + "x" * 64 + "@1"},
        {"profile": "4-X@1"}, {"issued": "2026-02-30T08:00:00Z"}, {"issued": "2026-11-23T08:00:00+00:00"},
        {"issued": "2026-11-23 08:00:00Z"}, {"issued": "2026-11-23T08:00:60Z"}, {"issued": "2026-11-23T24:00:00Z"},
        {"issued": "2026-11-23T08:00Z"}, {"issued": "0000-01-01T00:00:00Z"}, {"issued": 5}, {"issued": "2026-11-23T08:00:00.Z"},
        {"issued": "\uff12026-11-23T08:00:00Z"}, {"issued": "2026-11-23T08:00:00Z\n"}, {"issued": "2026-11-23T08:00:00.1234567890Z"},
        {"salt": "AAAAAAAAAAAAAAAAAAAAAB"}, {"salt": "AAAAAAAAAAAAAAAAAAAAAA=="}, {"salt": "AAAA"}, {"salt": None},
        {"body": []}, {"body": None}, {"body": "x"}, {"more": 1},
    ],
)  # fmt: skip
def test_a_bad_envelope_is_refused_and_the_member_named(change):
    with pytest.raises(Malformed) as caught:
        parse_record(json.dumps(GOOD | change).encode())
    assert caught.value.where == ("" if "more" in change else next(iter(change)))


@given(
    st.text("AQgwBz-_9+/= \n", min_size=20, max_size=24)
    | st.binary(min_size=14, max_size=18).map(base64url.encode)
)
def test_the_salt_is_what_the_decoder_takes(salt):
    # A pattern decides while reading; the decoder is the reference.
    data = json.dumps(GOOD | {"salt": salt}).encode()
    try:
        expected = base64url.decode(salt, size=16)
    except Malformed:
        with pytest.raises(Malformed) as caught:
            read_members(data)
        assert caught.value.where == "salt"
    else:
        assert read_members(data)["salt"] == salt
        assert parse_record(data).salt == expected


def test_what_is_remembered_of_one_record_does_not_pass_another():
    # Profiles and times are remembered: by their text and by nothing else.
    for _ in range(2):
        read_members(json.dumps(GOOD).encode())
        for change in (
            {"profile": GOOD["profile"] + " "},
            {"issued": GOOD["issued"] + " "},
            {"issued": [GOOD["issued"]]},
            {"profile": {GOOD["profile"]: 1}},
            {"issued": GOOD["profile"]},
            {"profile": GOOD["issued"]},
        ):
            with pytest.raises(Malformed):
                read_members(json.dumps(GOOD | change).encode())


@pytest.mark.parametrize("missing", sorted(GOOD))
def test_every_member_is_needed(missing):
    with pytest.raises(Malformed):
        parse_record(
            json.dumps({k: v for k, v in GOOD.items() if k != missing}).encode()
        )


@pytest.mark.parametrize("data", [b"[]", b"1", b"null", b'"type"'])
def test_a_record_is_an_object(data):
    with pytest.raises(Malformed):
        parse_record(data)


@given(st.binary(max_size=100))
def test_any_bytes_are_a_record_or_refused(data):
    for read in (parse_record, loads_strict, lambda d: parse_ni(d.decode("latin-1"))):
        try:
            read(data)
        except TraceNodeError:
            continue


@pytest.mark.parametrize(
    "body",
    [
        {"a": {1, 2}},
        {"a": "\ud800"},
        {"a": 2**60},
        {"a": "\0"},
        {1: 2},
        {"a": "x" * MAX_RECORD},
    ],
)
def test_no_record_is_made_that_others_refuse(body):
    with pytest.raises(Malformed):
        make_record("event", "4-x@1", "2026-11-23T08:00:00Z", bytes(16), body)


def test_media_types_do_not_tell_content_apart():
    assert {media_of(kind) for kind in CONTENT_TYPES} == {RECORD_MEDIA}
    assert media_of("party") == "application/vnd.trace-node.party+json"
    assert not CONTENT_TYPES & GOVERNANCE_TYPES
    with pytest.raises(Malformed):
        media_of("gossip")


def test_names_of_digests():
    # RFC 6920 §8.1: the digest of "Hello World!".
    digest = bytes.fromhex(
        "7f83b1657ff1fc53b92dc18148a1d65dfc2d4b1fa3d677284addd200126d9069"
    )
    assert ni(digest) == "ni:///sha-256;f4OxZX_x_FO5LcGBSKHWXfwtSx-j1ncoSt3SABJtkGk"
    for bad in [
        "",
        5,
        None,
        "ni:///sha-256;",
        ni(digest) + "A",
        ni(digest)[:-1] + "l",
        ni(digest).upper(),
        "ni:///sha-256-128;" + ni(digest)[14:],
    ]:
        with pytest.raises(Malformed):
            parse_ni(bad)
