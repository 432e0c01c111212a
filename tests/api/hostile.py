"""Hostile inputs as data, and the checker that sends them.

A case knows how it looks on any route: a path that no parameter should have, a
header that lies, a body that is no body, a client that does not behave. What it
makes is a script: bytes, pauses, and whether the client stays or goes.
"""

import asyncio
import contextlib
import gzip
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

import orjson
from api_story import (
    EDDIE,
    GONE,
    ISSUED,
    NOBODY,
    ORIGIN,
    PAULA,
    fresh,
    governance,
    head,
    item,
    record,
    request,
    say,
    string,
)

from trace_node.trust.did import did_key
from trace_node.trust.record import media_of
from trace_node.trust.statement import sign_statement

DEFECTS = {500, 502, 504}
DEADLINE = 2.0  # seconds for an answer, or the end of the connection


@dataclass(frozen=True)
class Route:
    """One operation of openapi.json; ``path`` still has its {parameters}."""

    method: str
    path: str

    @property
    def media(self):
        if self.path == "/entries":
            return "application/cose"
        if self.path == "/submissions":
            return "application/cbor-seq"
        return "application/json" if self.method == "PUT" else ""

    def filled(self, value="1.0"):
        return re.sub(r"\{.*\}", lambda _: value, self.path)

    def __str__(self):
        return f"{self.method} {self.path}"


@dataclass(frozen=True)
class Script:
    """What the client does: pieces are bytes to send or seconds to wait."""

    pieces: tuple
    leaves: bool = False


@dataclass(frozen=True)
class Case:
    name: str
    make: Callable[[Route], Script]

    def __str__(self):
        return self.name


# --- how a value becomes a request on a route


def in_path(value):
    def make(route):
        path = route.filled(value) if "{" in route.path else f"{route.path}/{value}"
        return Script((request(route.method, path, b"", headers_of(route)),))

    return make


def in_query(value):
    def make(route):
        path = f"{route.filled()}?{value}"
        return Script((request(route.method, path, b"", headers_of(route)),))

    return make


def with_method(method):
    return lambda route: Script((request(method, route.filled()),))


def with_headers(*headers, body=b"x", without_media=False):
    def make(route):
        own = () if without_media else headers_of(route)
        return Script((request(route.method, route.filled(), body, (*own, *headers)),))

    return make


def with_json(data):
    """A record's bytes: named by their digest, or inside a good statement."""

    def make(route):
        path, body = route.filled(), data
        if route.method == "PUT":
            path = route.filled(sha256(data).hexdigest())
        elif route.path == "/submissions":
            body = item(say(data), [data]) + item(fresh())
        return Script((request(route.method, path, body, headers_of(route)),))

    return make


def with_statement(data):
    """Bytes that claim to be a statement, bare or framed."""

    def make(route):
        path, body = route.filled(), data
        if route.method == "PUT":
            path = route.filled(sha256(data).hexdigest())
        elif route.path == "/submissions":
            body = item(data) + item(fresh())
        return Script((request(route.method, path, body, headers_of(route)),))

    return make


def with_body(data, chunked=False):
    """Bytes as they are, whatever the route expects."""

    def make(route):
        path = route.filled(sha256(data).hexdigest())
        body, headers = data, headers_of(route)
        if chunked:
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data)
            headers = (*headers, ("Transfer-Encoding", "chunked"))
        return Script((request(route.method, path, body, headers),))

    return make


def on_wire(*pieces, leaves=False):
    """Raw pieces; %M is the method, %P the path."""

    def make(route):
        method, path = route.method.encode(), route.filled().encode()
        made = (
            piece.replace(b"%M", method).replace(b"%P", path)
            if isinstance(piece, bytes)
            else piece
            for piece in pieces
        )
        return Script(tuple(made), leaves)

    return make


def headers_of(route):
    return (("Content-Type", route.media),) if route.media else ()


# --- the data

HOST = b"%M %P HTTP/1.1\r\nHost: api.example\r\n"
CHUNKED = HOST + b"Transfer-Encoding: chunked\r\n\r\n"

PATHS = {
    "percent without digits": "%",
    "percent with one digit": "%4",
    "percent with letters": "%zz",
    "percent NUL": "1.0%00",
    "overlong slash": "%c0%af",
    "percent lone surrogate": "%ed%a0%80",
    "percent invalid UTF-8": "%ff%fe",
    "dots": "../../../../etc/passwd",
    "percent dots": "%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "percent slashes": "..%2f..%2f..%2fetc%2fpasswd",
    "backslashes": "..%5c..%5cwindows",
    "2,000 characters": "a" * 2_000,
    "3,000 characters": "a" * 3_000,
    "60,000 characters": "a" * 60_000,
    "many slashes": "/" * 500,
    "nothing": "",
    "unicode digits": "1.%d9%a1%d9%a2%d9%a3",
    "full width digits": "%ef%bc%91.%ef%bc%90",
    "superscript digit": "1.%c2%b2",
    "twenty nines": "1.99999999999999999999",
    "2^63": "1.9223372036854775808",
    "2^63 - 1": "1.9223372036854775807",
    "2^31": "1.2147483648",
    "300 digits": "1." + "9" * 300,
    "negative": "1.-1",
    "plus": "1.+1",
    "leading zero": "1.00",
    "float": "1.0e3",
    "hexadecimal": "1.0x10",
    "no number": "NaN",
    "newline": "1.0%0a",
    "header injection": "1.0%0d%0aX-Evil:%20yes",
    "sql": "1.0'%20OR%20'1'='1",
    "wildcards": "%25%25%5f%5f",
    "tile of level 63": "63/x999/x999/x999/x999/x999/x999/999",
    "tile of level 64": "64/000",
    "tile of width 0": "0/000.p/0",
    "tile of width 256": "0/000.p/256",
    "tile of width 999": "0/000.p/999",
    "tile beyond the end": "0/x999/999",
    "entries beyond the end": "entries/x009/x223/x372/x036/x854/x775/807",
    "ni of another hash": "ni:%2f%2f%2fsha-512;AAAA",
    "ni too short": "ni:%2f%2f%2fsha-256;AAAA",
    "ni with spare bits": "ni:%2f%2f%2fsha-256;" + "A" * 42 + "B",
    "digest in unicode": "%ef%bc%91" * 64,
    "hexadecimal with spaces": "ab%20" * 21 + "a",
    "64 letters that are no hexadecimal": "g" * 64,
    "template": "{{7*7}}${7*7}",
    "markup": "%3Cscript%3Ealert(1)%3C/script%3E",
}
QUERIES = {
    "no such format": "format=xml",
    "format twice": "format=record&format=bundle",
    "format NUL": "format=%00",
    "format lone surrogate": "format=%ed%a0%80",
    "limit -1": "limit=-1&offset=-1",
    "offset over 2^63": "offset=9223372036854775808&limit=99999999999999999999",
    "percent without digits in the query": "%&%4&%zz=%",
    "1,900 parameters": "&" * 1_900,
    "long query": "q=" + "a" * 10_000,
    "brackets": "a[b][c]=d&a[]=e",
    "format bundle of nothing": "format=bundle",
}
METHODS = {
    f"method {name}": name
    for name in (
        "HEAD",
        "OPTIONS",
        "TRACE",
        "DELETE",
        "PATCH",
        "GET",
        "PUT",
        "POST",
        "CONNECT",
        "PROPFIND",
        "BREW",
        "get",
        "A" * 300,
    )
}
BOMB = gzip.compress(b"\0" * 10_000_000)
HEADERS = {
    "gzip bomb": with_headers(("Content-Encoding", "gzip"), body=BOMB),
    "gzip in gzip": with_headers(
        ("Content-Encoding", "gzip, gzip"), body=gzip.compress(BOMB)
    ),
    "unknown coding": with_headers(("Content-Encoding", "zstd")),
    "media xml": with_headers(("Content-Type", "text/xml"), without_media=True),
    "media form": with_headers(
        ("Content-Type", "multipart/form-data"), without_media=True
    ),
    "media nonsense": with_headers(
        ("Content-Type", ";;;=/\xff\xfe,"), without_media=True
    ),
    "media twice": with_headers(("Content-Type", "text/html")),
    "media of 60,000 bytes": with_headers(
        ("Content-Type", "a/" + "b" * 60_000), without_media=True
    ),
    "host bracket": with_headers(("Host", "[")),
    "host with markup": with_headers(("Host", "<script>\xff")),
    "accept nonsense": with_headers(("Accept", "\xff/\xfe;q=NaN,,,")),
    "range beyond": with_headers(("Range", "bytes=9-1,-0,99999999999999999999-")),
    "upgrade websocket": with_headers(
        ("Connection", "Upgrade"), ("Upgrade", "websocket")
    ),
    "upgrade h2c": with_headers(("Connection", "Upgrade"), ("Upgrade", "h2c")),
    "expect nonsense": with_headers(("Expect", "a miracle")),
    "100 headers": with_headers(*((f"X-{n}", "v" * 50) for n in range(100))),
    "5,000 headers": with_headers(*((f"X-{n}", "v") for n in range(5_000))),
    "header of 64 KiB": with_headers(("X-Long", "v" * 65_536)),
    "header of 1 MiB": with_headers(("X-Long", "v" * (1 << 20))),
    "cookie nonsense": with_headers(("Cookie", "=;=;\xff=" * 100)),
    "authorization nonsense": with_headers(("Authorization", "Bearer \xff\xfe")),
    "method override": with_headers(("X-HTTP-Method-Override", "DELETE")),
    "length too large": with_headers(("Content-Length", "60000")),
    "length of 10^12": with_headers(("Content-Length", "1000000000000")),
    "length over 2^64": with_headers(("Content-Length", "99999999999999999999")),
    "length negative": with_headers(("Content-Length", "-1")),
    "length no number": with_headers(("Content-Length", "ten")),
    "length in unicode": with_headers(("Content-Length", "\xb2")),
    "length with plus": with_headers(("Content-Length", "+1")),
    "length empty": with_headers(("Content-Length", "")),
    "two lengths": with_headers(("Content-Length", "1"), ("Content-Length", "2")),
    "length too small": with_headers(("Content-Length", "1"), body=b"xGET / HTTP"),
    "length and chunks": with_headers(
        ("Content-Length", "1"), ("Transfer-Encoding", "chunked"), body=b"0\r\n\r\n"
    ),
    "unknown transfer coding": with_headers(("Transfer-Encoding", "gzip, identity")),
    "chunked twice": with_headers(
        ("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "chunked")
    ),
}


def _json(body, **members):
    whole = {
        "type": "document",
        "profile": "4-segments@1",
        "issued": ISSUED,
        "salt": "A" * 22,
        "body": body,
    }
    return orjson.dumps({**whole, **members})


def _in_body(text):
    """A record whose body holds ``text`` as a value, byte for byte."""
    return _json({"v": 0}).replace(b'"v":0', b'"v":' + text)


RECORDS = {
    "duplicate keys": _in_body(b'1,"v":2'),
    "duplicate keys, one escaped": _in_body(b'1,"\\u0076":2'),
    "two types": b'{"type":"party",' + _json({})[1:],
    "NaN": _in_body(b"NaN"),
    "Infinity": _in_body(b"-Infinity"),
    "1e999": _in_body(b"1e999"),
    "2^53": _in_body(b"9007199254740992"),
    "2^63": _in_body(b"9223372036854775808"),
    "2^64": _in_body(b"18446744073709551616"),
    "5,000 digits": _in_body(b"9" * 5_000),
    "0.1 with 5,000 digits": _in_body(b"0." + b"1" * 5_000),
    "leading zero of a number": _in_body(b"01"),
    "lone surrogate": _in_body(b'"\\ud800"'),
    "lone surrogate as a key": _in_body(b'{"\\udfff":1}'),
    "surrogates in the wrong order": _in_body(b'"\\udc00\\ud800"'),
    "surrogate in bytes": _in_body(b'"\xed\xa0\x80"'),
    "NUL escaped": _in_body(b'"\\u0000"'),
    "NUL as a key": _in_body(b'{"\\u0000":1}'),
    "NUL raw": _in_body(b'"\0"'),
    "control characters": _in_body(b'"\x01\x1f\n"'),
    "UTF-16": _json({}).decode().encode("utf-16"),
    "UTF-32": _json({}).decode().encode("utf-32"),
    "byte order mark": b"\xef\xbb\xbf" + _json({}),
    "latin-1": _in_body(b'"\xe9"'),
    "overlong UTF-8": _in_body(b'"\xc0\x80"'),
    "cut UTF-8": _in_body(b'"\xe2\x82"'),
    "depth 33": _in_body(b"[" * 33 + b"]" * 33),
    "depth 100,000": _in_body(b"[" * 100_000 + b"]" * 100_000),
    "depth 100,000 of objects": _in_body(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "depth hidden by a duplicate": _in_body(
        b'{"a":' + b"[" * 900 + b"]" * 900 + b',"a":1}'
    ),
    "opened 100,000 times": b"[" * 100_000,
    "trailing bytes": _json({}) + b"{}",
    "cut off": _json({})[:-3],
    "comment": b"/* hello */" + _json({}),
    "trailing comma": _in_body(b"[1,]"),
    "single quotes": b"{'type':'document'}",
    "empty": b"",
    "white space": b" \n\t ",
    "null": b"null",
    "a number": b"1",
    "a string": b'"record"',
    "an array": b"[" + _json({}) + b"]",
    "body is an array": _json([]),
    "body is null": _json(None),
    "type is a number": _json({}, type=1),
    "type is an object": _json({}, type={"a": 1}),
    "no such type": _json({}, type="../../etc/passwd"),
    "profile of 100,000 characters": _json({}, profile="4-" + "a" * 100_000 + "@1"),
    "profile in unicode digits": _json({}, profile="\uff14-segments@\uff11"),
    "issued in year 0": _json({}, issued="0000-00-00T00:00:00Z"),
    "issued on February 30": _json({}, issued="2026-02-30T00:00:00Z"),
    "issued is a number": _json({}, issued=1e308),
    "salt of another size": _json({}, salt="AAAA"),
    "salt with spare bits": _json({}, salt="A" * 21 + "B"),
    "salt is null": _json({}, salt=None),
    "one more member": _json({}, extra=1),
    "prototype": _json({"__proto__": {"admin": True}, "constructor": {}}),
    "party that is none": _json({"did": 1}, type="party"),
    "party with a long text": _json({"did": "x" * 900_000}, type="party"),
    "1 MiB and one byte": _json({"v": "x" * (1 << 20)}),
    "100,000 keys": _json({f"k{n}": n for n in range(50_000)}),
    "quotes and colons": _json({"v": '":' * 100_000}),
}

GOOD = say(record("good"))


def _signed_governance(**given):
    """A well-signed statement of ours with unusual claims."""
    given = {"iss": did_key(EDDIE.public), "aud": ORIGIN, **given}
    return sign_statement(EDDIE, **given)


def _claims(raw, old, new):
    """Replace text of equal length in a good statement: the signature is broken."""
    assert len(old) == len(new)
    assert old in raw
    return raw.replace(old, new)


STATEMENTS = {
    "no bytes": b"",
    "one byte": b"\xd2",
    "no tag": GOOD[1:],
    "tag 17": b"\xd1" + GOOD[1:],
    "tag 98": b"\xd8\x62" + GOOD[1:],
    "tag 18 twice": b"\xd2" + GOOD,
    "tag 18 in two bytes": b"\xd8\x12" + GOOD[1:],
    "tag 55799": b"\xd9\xd9\xf7" + GOOD,
    "array of five": b"\xd2\x85" + GOOD[2:] + b"\xf6",
    "indefinite array": b"\xd2\x9f" + GOOD[2:] + b"\xff",
    "array length in two bytes": b"\xd2\x98\x04" + GOOD[2:],
    "indefinite bytes": b"\xd2\x84\x5f" + GOOD[2:],
    "bytes of 2^64 - 1": b"\xd2\x84\x5b" + b"\xff" * 8 + GOOD[5:],
    "bytes of 2^31": b"\xd2\x84\x5a\x80\0\0\0" + GOOD[5:],
    "array of 2^64 - 1": b"\xd2\x9b" + b"\xff" * 8,
    "map of 2^63": b"\xbb\x80" + b"\0" * 7,
    "100,000 arrays": b"\x81" * 60_000,
    "60,000 tags": b"\xd2" * 60_000,
    "reserved length": b"\xd2\x84\x5c" + GOOD[3:],
    "break alone": b"\xff",
    "protected is text": GOOD[:2] + bytes((GOOD[2] | 0x20,)) + GOOD[3:],
    "one byte more": GOOD + b"\0",
    "one byte less": GOOD[:-1],
    "twice": GOOD + GOOD,
    "signature of zeros": GOOD[:-64] + bytes(64),
    "signature of ones": GOOD[:-64] + b"\xff" * 64,
    "flipped signature": GOOD[:-1] + bytes((GOOD[-1] ^ 1,)),
    "payload of another": GOOD[:-98] + bytes(32) + GOOD[-66:],
    "alg none": GOOD.replace(b"\xa6\x01\x32", b"\xa6\x01\x00", 1),
    "alg is a float": GOOD.replace(b"\xa6\x01\x32", b"\xa6\x01\xf9", 1),
    "alg of the other curve": GOOD.replace(b"\xa6\x01\x32", b"\xa6\x01\x28", 1),
    "label 4 twice": GOOD.replace(b"\x04\x58\x20", b"\x01\x58\x20", 1),
    "kid of nobody": GOOD.replace(EDDIE.public.thumbprint, bytes(32)),
    "iss with NUL": _claims(GOOD, b"did:key:z6Mk", b"did:key:z6\0k"),
    "iss no UTF-8": _claims(GOOD, b"did:key:z6Mk", b"did:key:z\xff\xfek"),
    "iss lone surrogate": _claims(GOOD, b"did:key:z6Mk", b"did:key:z\xed\xa0\x80"),
    "iss no DID": _claims(GOOD, b"did:key:z6Mk", b"http://[::1]"),
    "sub of another": _claims(GOOD, b"ni:///sha-256;", b"ni:///sha-512;"),
    "aud with NUL": _claims(GOOD, ORIGIN.encode(), b"\0" * len(ORIGIN)),
    "aud of another log": say(record(), aud="other.example/log"),
    "unknown key": say(record(), by=NOBODY),
    "revoked key": say(record(), by=GONE),
    "unprotected header": GOOD.replace(b"\xa0\x58\x20", b"\xa1\x04\x41\x00\x58\x20", 1),
    "not our media type": GOOD.replace(b"record+json", b"rekord+json", 1),
    "P-256 with s of zeros": say(record(), by=PAULA)[:-32] + bytes(32),
    "P-256 with r and s of ones": say(record(), by=PAULA)[:-64] + b"\xff" * 64,
    "a tick of a party": _signed_governance(
        media="application/vnd.trace-node.tick", preimage=b"1", iat=1
    ),
    "a tick in the far future": _signed_governance(
        media="application/vnd.trace-node.tick",
        preimage=b"9007199254740991",
        iat=2**53 - 1,
    ),
    "a policy of a party": _signed_governance(
        media=media_of("registration-policy"), preimage=b"{}", iat=2**53 - 1
    ),
    "a type without rules": governance({"did": "x"}, kind="fork-proof")[1],
    "a party of a party": governance({"did": "x" * 9_000}, kind="party")[1],
    "65,536 bytes": GOOD + bytes(65_536 - len(GOOD)),
    "100,000 bytes": bytes(100_000),
    "random bytes": secrets.token_bytes(500),
    "zeros": bytes(500),
}
CUTS = {f"statement cut at {at}": GOOD[:at] for at in range(10, len(GOOD), 10)}

FRAMES = {
    "array of one": b"\x81" + string(fresh()),
    "array of three": b"\x83" + string(fresh()) + b"\x80\x80",
    "indefinite item": b"\x9f" + string(fresh()) + b"\x80\xff",
    "item length in two bytes": b"\x98\x02" + string(fresh()) + b"\x80",
    "statement as text": b"\x82\x61a\x80",
    "statement of 2^64 - 1": b"\x82\x5b" + b"\xff" * 8,
    "statement of 4 GiB": b"\x82\x5a\xff\xff\xff\xff",
    "records of 2^64 - 1": b"\x82" + string(fresh()) + b"\x9b" + b"\xff" * 8,
    "10,001 records": b"\x82" + string(fresh()) + head(4, 10_001),
    "record of 4 GiB": b"\x82" + string(fresh()) + b"\x81\x5a\xff\xff\xff\xff",
    "records of records": b"\x82" + string(fresh()) + b"\x81" * 100_000,
    "100,000 nested arrays": b"\x82" * 100_000,
    "length not the shortest": b"\x82\x58\x01a\x80",
    "length of 8 bytes for 1": b"\x82\x5b\0\0\0\0\0\0\0\x01a\x80",
    "reserved info": b"\x82\x5e",
    "simple value": b"\xf6",
    "ten items and a broken one": item(GOOD) * 10 + b"\xff",
    "item cut off": item(GOOD)[:-40],
    "good and garbage": item(GOOD) + secrets.token_bytes(200),
    "foreign record": item(GOOD, [record()]),
    "1,000 foreign records": item(GOOD, [b"{}"] * 1_000),
}

OVERSIZE = {
    "1 MiB and one of zeros": with_body(bytes((1 << 20) + 1)),
    "1 MiB and one in one chunk": with_body(bytes((1 << 20) + 1), chunked=True),
    "8 MiB in one chunk": with_body(bytes(8 << 20), chunked=True),
}

WIRE = {
    "nothing": on_wire(),
    "one byte": on_wire(b"G"),
    "half a request line": on_wire(b"%M %P HT"),
    "a head without an end": on_wire(HOST + b"X-Half: "),
    "a head line by line": on_wire(
        *(piece for _ in range(9) for piece in (b"%M %P HTTP/1.1\r\n", 0.4))
    ),
    "a head a byte at a time": on_wire(
        *(p for byte in b"%M / HTTP/1.1" for p in (bytes((byte,)), 0.3))
    ),
    "half a body": on_wire(HOST + b"Content-Length: 100\r\n\r\n" + GOOD[:50]),
    "a body a byte every 1.2 seconds": on_wire(
        HOST + b"Content-Length: 100\r\n\r\n", b"a", 1.2, b"b", 1.2, b"c"
    ),
    "no body after the head": on_wire(HOST + b"Content-Length: 300\r\n\r\n"),
    "waits to be told to go on": on_wire(
        HOST + b"Content-Length: 300\r\nExpect: 100-continue\r\n\r\n"
    ),
    "half a chunk": on_wire(CHUNKED + b"10\r\nabc"),
    "chunk without an end": on_wire(CHUNKED + b"3\r\nabc\r\n"),
    "chunk size no number": on_wire(CHUNKED + b"zz\r\nabc\r\n0\r\n\r\n"),
    "chunk size negative": on_wire(CHUNKED + b"-3\r\nabc\r\n0\r\n\r\n"),
    "chunk size over 2^64": on_wire(CHUNKED + b"f" * 17 + b"\r\nabc\r\n0\r\n\r\n"),
    "chunk size of 60,000 digits": on_wire(CHUNKED + b"0" * 60_000 + b"3\r\nabc"),
    "chunk size with plus": on_wire(CHUNKED + b"+3\r\nabc\r\n0\r\n\r\n"),
    "chunk longer than said": on_wire(CHUNKED + b"2\r\nabcdef\r\n0\r\n\r\n"),
    "chunk extension of 60,000 bytes": on_wire(
        CHUNKED + b"3;" + b"a" * 60_000 + b"\r\nabc\r\n0\r\n\r\n"
    ),
    "trailers without an end": on_wire(
        CHUNKED + b"3\r\nabc\r\n0\r\nX-A: b\r\n" + b"X-B: c\r\n" * 1_000
    ),
    "leaves after half a body": on_wire(
        HOST + b"Content-Length: 100\r\n\r\nabc", leaves=True
    ),
    "leaves after half a head": on_wire(HOST, leaves=True),
    "leaves at once": on_wire(leaves=True),
    "leaves before the answer": on_wire(
        HOST + b"Content-Length: 3\r\n\r\nabc", leaves=True
    ),
    "twenty requests at once": on_wire((HOST + b"Content-Length: 1\r\n\r\nx") * 20),
    "a request and garbage": on_wire(HOST + b"\r\n" + b"\0\xff" * 50),
    "HTTP/0.9": on_wire(b"%M %P\r\n"),
    "HTTP/1.0 without a host": on_wire(b"%M %P HTTP/1.0\r\n\r\n"),
    "HTTP/1.1 without a host": on_wire(b"%M %P HTTP/1.1\r\n\r\n"),
    "HTTP/2 preface": on_wire(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "HTTP/9.9": on_wire(b"%M %P HTTP/9.9\r\nHost: a\r\n\r\n"),
    "no version": on_wire(b"%M %P XTTP/1.1\r\nHost: a\r\n\r\n"),
    "TLS hello": on_wire(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32)),
    "SSH": on_wire(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "garbage": on_wire(secrets.token_bytes(2_000)),
    "zeros": on_wire(bytes(2_000)),
    "line feeds": on_wire(b"\r\n" * 20_000),
    "absolute target": on_wire(b"%M http://[/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    "absolute target without a path": on_wire(
        b"%M http://x HTTP/1.1\r\nHost: a\r\n\r\n"
    ),
    "asterisk": on_wire(b"%M * HTTP/1.1\r\nHost: a\r\n\r\n"),
    "target not ASCII": on_wire(b"%M %P\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n"),
    "target with NUL": on_wire(b"%M %P\0 HTTP/1.1\r\nHost: a\r\n\r\n"),
    "target with a blank": on_wire(b"%M %P a HTTP/1.1\r\nHost: a\r\n\r\n"),
    "target with a fragment": on_wire(b"%M %P#a HTTP/1.1\r\nHost: a\r\n\r\n"),
    "header with NUL": on_wire(HOST + b"X: a\0b\r\n\r\n"),
    "header without a name": on_wire(HOST + b": a\r\n\r\n"),
    "header without a colon": on_wire(HOST + b"hello\r\n\r\n"),
    "header with a blank name": on_wire(HOST + b"Content-Length : 5\r\n\r\nabcde"),
    "header folded": on_wire(HOST + b"X-A: b\r\n c\r\n\r\n"),
    "bare line feeds": on_wire(b"%M %P HTTP/1.1\nHost: a\n\n"),
    "bare carriage returns": on_wire(b"%M %P HTTP/1.1\rHost: a\r\r"),
}


def _cases():
    groups = (
        ("path", PATHS, in_path),
        ("query", QUERIES, in_query),
        ("method", METHODS, with_method),
        ("header", HEADERS, lambda make: make),
        ("record", RECORDS, with_json),
        ("statement", STATEMENTS, with_statement),
        ("cut", CUTS, with_statement),
        ("frame", FRAMES, with_body),
        ("oversize", OVERSIZE, lambda make: make),
        ("wire", WIRE, lambda make: make),
    )
    for kind, group, wrap in groups:
        for name, value in group.items():
            yield Case(f"{kind}: {name}", wrap(value))


CASES = list(_cases())


# --- the checker


async def attack(port, script, deadline=DEADLINE):
    """Play a script; return the status answered, 0 for a closed connection.

    Raises:
        TimeoutError: neither came within the deadline after the last byte.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        answer = asyncio.create_task(_read(reader, script))
        with contextlib.suppress(OSError):
            for piece in script.pieces:
                if answer.done():
                    break
                if isinstance(piece, float):
                    await asyncio.wait([answer], timeout=piece)
                else:
                    writer.write(piece)
                    await asyncio.wait_for(writer.drain(), deadline)
        if script.leaves:
            answer.cancel()
            writer.transport.abort()
            return 0
        return await asyncio.wait_for(answer, deadline)
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _read(reader, script):
    """Read one whole answer; return its status."""
    try:
        top = await reader.readuntil(b"\r\n\r\n")
        while top.startswith(b"HTTP/1.1 100"):
            top = await reader.readuntil(b"\r\n\r\n")
        status = int(top[9:12])
        first = script.pieces[0] if script.pieces else b""
        length = re.search(rb"\r\ncontent-length: (\d+)", top)
        if first.startswith(b"HEAD ") or status in {204, 304}:
            return status
        if length:
            await reader.readexactly(int(length[1]))
        elif b"chunked" in top:
            while size := int(await reader.readuntil(b"\r\n"), 16):
                await reader.readexactly(size + 2)
    except (asyncio.IncompleteReadError, OSError):
        return 0
    return status


async def faults(port, routes, cases=CASES, *, deadline=DEADLINE, at_once=32):
    """Send every case to every route.

    Returns:
        A line for each defect, and how often each status was answered.
    """
    found, statuses = [], {}
    gate = asyncio.Semaphore(at_once)

    async def one(case, route):
        async with gate:
            begin = time.perf_counter()
            try:
                status = await attack(port, case.make(route), deadline)
            except TimeoutError:
                found.append(f"{route}: {case}: no end after {deadline} s")
                return
            except OSError as error:
                found.append(f"{route}: {case}: {error!r}")
                return
            statuses[status] = statuses.get(status, 0) + 1
            if status in DEFECTS:
                seconds = time.perf_counter() - begin
                found.append(f"{route}: {case}: {status} after {seconds:.2f} s")

    await asyncio.gather(*(one(case, route) for case in cases for route in routes))
    return found, statuses
