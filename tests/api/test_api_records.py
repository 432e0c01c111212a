"""Records by their digest, before and after the statement that names them."""

import json
from hashlib import sha256
from urllib.parse import quote

import pytest
from api_story import COSE, fresh, item, manifest, record, request, say

from trace_node.trust.base64url import encode as base64url
from trace_node.trust.record import RECORD_MEDIA, ni

MIB = 1 << 20


def named(data, form="hex"):
    digest = sha256(data).digest()
    name = {
        "hex": digest.hex(),
        "base64url": base64url(digest),
        "ni": quote(ni(digest), safe=""),
        "ni with slashes": ni(digest),
    }[form]
    return f"/v1/records/{name}"


def of_size(size):
    data = record()
    return data.replace(b'"pad":""', b'"pad":"%b"' % (b"x" * (size - len(data))))


@pytest.mark.parametrize("form", ["hex", "base64url", "ni", "ni with slashes"])
def test_a_record_is_brought_and_read_by_every_form_of_its_name(client, form):
    data = record(form)
    answer = client.put(named(data, form), content=data)
    assert answer.status_code == 201
    assert answer.json() == {"record": ni(sha256(data).digest()), "size": len(data)}
    assert client.put(named(data, form), content=data).status_code == 204
    answer = client.get(named(data, form))
    assert (answer.status_code, answer.content) == (200, data)
    assert answer.headers["content-type"] == RECORD_MEDIA
    assert answer.headers["etag"] == f'"{sha256(data).hexdigest()}"'


@pytest.mark.parametrize(
    "media", ["application/json", RECORD_MEDIA, "application/json; charset=utf-8"]
)
def test_a_record_may_call_itself_json(client, media):
    data = record(media)
    headers = {"content-type": media}
    assert client.put(named(data), content=data, headers=headers).status_code == 201


def test_bytes_under_another_name_are_refused(client):
    answer = client.put(named(record()), content=record())
    assert answer.status_code == 400
    assert answer.json()["where"] == "path"


@pytest.mark.parametrize(
    "name", ["x", "A" * 43, "g" * 64, "ni:%2F%2F%2Fsha-512;AAAA", "sha-256;", "%00"]
)
def test_a_name_that_is_none_is_malformed(client, name):
    answer = client.get(f"/v1/records/{name}")
    assert answer.status_code in {400, 404}
    assert answer.json()["status"] == answer.status_code


def test_a_record_nobody_brought_is_not_found(client):
    answer = client.get(named(record()))
    assert answer.status_code == 404
    assert answer.json()["type"] == "urn:trace-node:problem:not-found"


@pytest.mark.parametrize("data", [b"{}", b"", b"hello", b'{"a":1,"a":2}'])
def test_what_is_no_record_is_refused(client, data):
    answer = client.put(named(data), content=data)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert client.get(named(data)).status_code == 404


def test_a_record_that_does_not_conform_is_refused_and_told_where(client):
    data = record(kind="party")
    answer = client.put(named(data), content=data)
    assert answer.status_code == 422
    assert answer.json()["where"].startswith("body")


def test_a_problem_quotes_little_of_what_was_sent(client):
    data = json.loads(record(kind="party"))
    data["body"] = {"did": ["x" * 500_000]}
    data = json.dumps(data).encode()
    answer = client.put(named(data), content=data)
    assert answer.status_code == 422
    assert len(answer.content) < 4_096


def test_a_large_record_lies_in_a_file_and_is_served(center, client):
    data = of_size(70_000)
    assert client.put(named(data), content=data).status_code == 201
    name = sha256(data).hexdigest()
    file = center.folder / "vault" / name[:2] / name[2:4] / name
    assert file.read_bytes() == data
    assert client.get(named(data)).content == data


def test_a_mebibyte_is_taken_and_one_byte_more_is_not(client):
    most, more = of_size(MIB), of_size(MIB + 1)
    assert (len(most), len(more)) == (MIB, MIB + 1)
    assert client.put(named(most), content=most).status_code == 201
    answer = client.put(named(more), content=more)
    assert answer.status_code == 413
    assert answer.json()["type"] == "urn:trace-node:problem:limit-exceeded"


def test_a_length_that_nobody_announced_is_limited_too(client):
    more = of_size(MIB + 1)
    parts = iter([more[at : at + 65_536] for at in range(0, len(more), 65_536)])
    assert client.put(named(more), content=parts).status_code == 413


def test_a_slow_body_ends_with_408(center):
    data = record()
    told = request("PUT", named(data), b"", [("Content-Length", str(len(data)))])
    answer = center.raw(told + data[:20])
    assert answer.status == 408
    assert answer.seconds < 2
    # Whoever said half a body and no more keeps no descriptor of ours.
    assert answer.headers["connection"] == "close"


def test_content_may_come_after_its_statement(client):
    data = record("later")
    posted = client.post("/entries", content=say(data), headers=COSE)
    assert posted.status_code == 201
    assert client.get(named(data)).status_code == 404
    bundle = client.get(named(data), params={"format": "bundle"}).json()
    assert bundle["withheld"][0]["reason"] == "content-absent"
    assert client.put(named(data), content=data).status_code == 201
    assert client.get(named(data)).content == data
    bundle = client.get(named(data), params={"format": "bundle"}).json()
    assert bundle["withheld"] == []
    index = int(posted.headers["location"].removeprefix("/entries/1."))
    assert [said["index"] for said in bundle["answer"]["mentions"]] == [index]


def test_content_may_come_before_its_statement(client):
    data = record("before")
    assert client.put(named(data), content=data).status_code == 201
    nobody = client.get(named(data), params={"format": "bundle"})
    assert nobody.status_code == 404
    assert client.post("/entries", content=say(data), headers=COSE).status_code == 201
    assert client.get(named(data), params={"format": "bundle"}).status_code == 200


def test_a_manifest_is_completed_by_sending_it_again_with_its_records(client):
    records = [record(str(n)) for n in range(5)]
    statement = manifest(records)
    first = client.post("/entries", content=statement, headers=COSE)
    assert first.status_code == 201
    assert client.get(named(records[3])).status_code == 404
    again = client.post("/submissions", content=item(statement, records)).json()
    assert again["receipt"] == base64url(first.content)
    assert client.get(named(records[3])).content == records[3]
    bundle = client.get(named(records[3]), params={"format": "bundle"}).json()
    assert bundle["answer"]["mentions"][0]["position"] == 3


def test_another_format_than_there_is_is_malformed(client):
    answer = client.get(named(record()), params={"format": "xml"})
    assert answer.status_code == 400
    assert answer.json()["where"] == "query.format"


def test_a_record_door_takes_no_statement(client):
    data = fresh()
    answer = client.put(named(data), content=data, headers=COSE)
    assert answer.status_code == 415
