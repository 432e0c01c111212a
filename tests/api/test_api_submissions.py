"""The bulk door: a stream in, a line out for each, in order."""

import http.client
import json
from hashlib import sha256

import pytest
from api_story import (
    NOBODY,
    fresh,
    governance,
    head,
    item,
    lines_of,
    manifest,
    new_key,
    record,
    say,
    string,
)

from trace_node.ledger.receipt import verify_receipt
from trace_node.trust import base64url
from trace_node.trust.did import did_key

MEDIA = {"content-type": "application/cbor-seq"}
PREFIX = "urn:trace-node:problem:"


def send(client, *items):
    answer = client.post("/submissions", content=b"".join(items), headers=MEDIA)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    lines = lines_of(answer.text)
    assert [line["position"] for line in lines] == list(range(len(lines)))
    return lines


class Stream:
    """One request whose body is still being sent while its answer is read."""

    def __init__(self, center):
        self.wire = center.socket(5)
        self.wire.sendall(
            b"POST /submissions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
            b"Content-Type: application/cbor-seq\r\n\r\n"
        )
        self.answer = None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.wire.close()

    def send(self, data):
        self.wire.sendall(b"%x\r\n%b\r\n" % (len(data), data))

    def line(self):
        if self.answer is None:
            self.answer = http.client.HTTPResponse(self.wire)
            self.answer.begin()
        line = self.answer.readline()
        return json.loads(line) if line else None

    def end(self):
        self.wire.sendall(b"0\r\n\r\n")


def test_each_of_many_gets_a_line_and_a_receipt_that_verifies(center, client):
    statements = [fresh() for _ in range(200)]
    lines = send(client, *map(item, statements))
    assert len(lines) == 200
    for statement, line in zip(statements, lines, strict=True):
        data = base64url.decode(line["receipt"])
        receipt = verify_receipt(data, statement, center.receipt_key)
        assert line["index"] == receipt.index
        assert line["id"] == f"1.{receipt.index}"
        assert client.get(f"/entries/{line['id']}").content == data


def test_lines_come_while_the_client_still_sends(center):
    with Stream(center) as stream:
        for number in range(30):
            data = record(str(number))
            stream.send(item(say(data), [data]))
            assert stream.line()["position"] == number
        stream.end()
        assert stream.line() is None


def test_items_may_be_cut_anywhere_into_chunks(center):
    records = [record(pad=3_000) for _ in range(20)]
    body = b"".join(item(say(data), [data]) for data in records)
    with Stream(center) as stream:
        for at in range(0, len(body), 997):
            stream.send(body[at : at + 997])
        stream.end()
        assert [stream.line()["position"] for _ in range(20)] == list(range(20))
        assert stream.line() is None


def test_all_may_be_sent_before_anything_is_read(center):
    statements = [item(fresh()) for _ in range(1_500)]
    with Stream(center) as stream:
        for at in range(0, len(statements), 100):
            stream.send(b"".join(statements[at : at + 100]))
        stream.end()
        indices = [stream.line()["index"] for _ in statements]
        assert len(set(indices)) == len(statements)
        assert stream.line() is None


def test_a_stream_that_pauses_too_long_ends_with_a_problem(center):
    with Stream(center) as stream:
        stream.send(item(fresh()) + item(fresh())[:50])
        assert "receipt" in stream.line()
        assert stream.line()["type"] == f"{PREFIX}request-timeout"
        assert stream.line() is None


def test_a_client_that_leaves_does_not_undo_what_was_registered(center, client):
    statement = fresh()
    with Stream(center) as stream:
        stream.send(item(statement) + b"\x82")
        told = stream.line()
    assert client.get(f"/entries/{told['id']}/statement").content == statement


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"\xff", 400),
        (b"hello", 400),
        (b"\x83" + string(b"a") + b"\x80\x80", 400),
        (b"\x9f" + string(b"a") + b"\x80\xff", 400),
        (item(b"a")[:-1], 400),
        (b"\x82\x5b" + b"\xff" * 8, 413),
        (b"\x82" + string(b"a") + head(4, 10_001), 413),
        (b"\x82" + string(b"a") + b"\x81" + head(2, (1 << 20) + 1), 413),
    ],
)
def test_a_stream_that_starts_badly_has_a_status(client, body, status):
    answer = client.post("/submissions", content=body, headers=MEDIA)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"].startswith(PREFIX)


def test_another_media_type_is_not_taken(client):
    answer = client.post(
        "/submissions", content=item(fresh()), headers={"content-type": "text/csv"}
    )
    assert answer.status_code == 415


def test_what_is_malformed_later_ends_the_lines_with_a_problem(client):
    lines = send(client, item(fresh()), item(fresh()), b"\xff", item(fresh()))
    assert len(lines) == 3
    assert lines[2]["type"] == f"{PREFIX}malformed"
    assert lines[2]["where"].startswith("item 2, byte ")


def test_sending_again_gives_identical_lines(client):
    items = [item(fresh()) for _ in range(20)]
    first = client.post("/submissions", content=b"".join(items[:7]))
    again = client.post("/submissions", content=b"".join(items))
    third = client.post("/submissions", content=b"".join(items))
    assert again.text.startswith(first.text)
    assert third.text == again.text


def test_one_bad_among_good_ones_hurts_nobody_else(client):
    good = [item(fresh()) for _ in range(6)]
    forged = fresh()
    forged = forged[:-1] + bytes([forged[-1] ^ 1])
    bad = [item(b"no statement"), item(fresh(by=NOBODY)), item(forged)]
    lines = send(client, *good[:2], bad[0], *good[2:4], bad[1], bad[2], *good[4:])
    assert ["receipt" in line for line in lines] == [
        *(True, True, False, True, True, False, False, True, True)
    ]
    assert [lines[at]["status"] for at in (2, 5, 6)] == [400, 422, 422]


def test_records_that_are_not_the_statements_are_refused(client):
    one, other = record(), record()
    lines = send(
        client,
        item(say(one), [other]),
        item(say(one), [one, other]),
        item(manifest([one, other]), [other, one]),
        item(manifest([one, other]), [one]),
        item(say(b"{}"), [b"{}"]),
    )
    assert [line["status"] for line in lines] == [422, 422, 422, 422, 400]
    assert client.get(f"/v1/records/{sha(one)}").status_code == 404


def sha(data):
    return sha256(data).hexdigest()


@pytest.mark.parametrize("count", [1, 2, 3, 7, 64, 257])
def test_a_manifest_brings_its_records(client, count):
    records = [record(str(number)) for number in range(count)]
    (line,) = send(client, item(manifest(records), records))
    assert "receipt" in line
    for data in (records[0], records[-1]):
        name = f"/v1/records/{sha(data)}"
        assert client.get(name).content == data
        bundle = client.get(name, params={"format": "bundle"}).json()
        assert bundle["answer"]["mentions"][0]["index"] == line["index"]


def test_ten_thousand_records_go_with_one_statement(client):
    records = [record(str(number)) for number in range(10_000)]
    (line,) = send(client, item(manifest(records), records))
    assert "receipt" in line
    assert client.get(f"/v1/records/{sha(records[9_999])}").content == records[9_999]


def test_a_governance_statement_brings_its_record(client):
    data, statement, signer = new_key()
    lacking, bare, _ = new_key()
    lines = send(
        client, item(statement, [data]), item(bare), item(fresh(by=NOBODY), [])
    )
    assert "receipt" in lines[0]
    assert [line["status"] for line in lines[1:]] == [422, 422]
    assert client.get(f"/v1/records/{sha(lacking)}").status_code == 404
    assert signer.public.kid_text in data.decode()


def test_a_party_does_not_speak_for_the_operator(client):
    body = {"did": did_key(NOBODY.public), "name": "Nobody", "kind": "enterprise"}
    data, statement = governance(body, kind="party")
    (line,) = send(client, item(statement, [data]))
    assert line["status"] == 422


def test_a_large_record_comes_through_the_bulk_door(center, client):
    data = record(pad=500_000)
    (line,) = send(client, item(say(data), [data]))
    assert "receipt" in line
    name = sha(data)
    file = center.folder / "vault" / name[:2] / name[2:4] / name
    assert file.read_bytes() == data == client.get(f"/v1/records/{name}").content


def test_a_full_line_is_waited_for(narrow):
    with narrow.client() as client:
        lines = send(client, *(item(fresh()) for _ in range(100)))
    assert len({line["index"] for line in lines}) == 100


def test_a_request_without_a_body_has_no_submission(center):
    answer = center.raw(b"POST /submissions HTTP/1.1\r\nHost: a\r\n\r\n")
    assert answer.status == 400


@pytest.fixture
def unwritable(narrow):
    """A large record for which the disk has no place: a file is in the way."""
    data = record(pad=80_000)
    obstacle = narrow.folder / "vault" / sha(data)[:2]
    obstacle.parent.mkdir(exist_ok=True)
    obstacle.write_bytes(b"")
    yield data
    obstacle.unlink()


def test_a_disk_that_fails_is_no_server_error_and_no_hang(narrow, unwritable):
    data = unwritable
    with narrow.client() as client:
        answer = client.put(f"/v1/records/{sha(data)}", content=data)
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.json()["type"] == f"{PREFIX}read-only"
        lines = send(client, item(fresh()), item(say(data), [data]), item(fresh()))
        assert "receipt" in lines[0]
        assert lines[1]["status"] == 503
        assert "receipt" in send(client, item(fresh()))[0]
