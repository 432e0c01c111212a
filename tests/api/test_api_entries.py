"""POST /entries and what can be asked of an entry afterwards."""

import asyncio
from hashlib import sha256

import pytest
from api_story import (
    COSE,
    EDDIE,
    GONE,
    NOBODY,
    PAULA,
    fresh,
    new_key,
    post_many,
    record,
    say,
)

from trace_node.ledger.keyset import decode_key_set
from trace_node.ledger.receipt import verify_receipt
from trace_node.ledger.tlogproof import verify_tlog_proof
from trace_node.trust import cbor
from trace_node.trust.policy import parse_policy

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def post(client, statement):
    return client.post("/entries", content=statement, headers=COSE)


def problem(answer):
    """Return type and detail of a concise problem (RFC 9290)."""
    assert answer.headers["content-type"] == (
        "application/concise-problem-details+cbor"
    )
    members = cbor.decode(answer.content)
    return members[-1], members[-2]


@pytest.mark.parametrize("signer", [EDDIE, PAULA], ids=["Ed25519", "P-256"])
def test_a_good_statement_gets_a_receipt_that_verifies(center, client, signer):
    statement = fresh(by=signer)
    answer = post(client, statement)
    assert answer.status_code == 201
    assert answer.headers["content-type"] == "application/cose"
    receipt = verify_receipt(answer.content, statement, center.receipt_key)
    assert answer.headers["location"] == f"/entries/1.{receipt.index}"
    location = answer.headers["location"]
    assert client.get(location).content == answer.content
    assert client.get(f"{location}/statement").content == statement


def test_the_same_statement_again_gets_the_same_receipt(client):
    statement = fresh()
    first, second = post(client, statement), post(client, statement)
    assert (second.status_code, second.content) == (201, first.content)
    assert second.headers["location"] == first.headers["location"]


def test_another_valid_signature_value_is_the_same_statement(client):
    statement = fresh(by=PAULA)
    s = int.from_bytes(statement[-32:])
    twin = statement[:-32] + (ORDER - s).to_bytes(32)
    first, second = post(client, statement), post(client, twin)
    assert (second.status_code, second.content) == (201, first.content)
    location = second.headers["location"]
    assert client.get(f"{location}/statement").content == statement


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        (say(record(), aud="other.example/log"), "refused"),
        (say(record(), by=NOBODY), "refused"),
        (say(record(), by=GONE), "refused"),
        (fresh()[:-1] + b"\0", "bad-signature"),
        (fresh(by=PAULA)[:-64] + bytes(64), "bad-signature"),
    ],
    ids=["other log", "unknown key", "revoked key", "bad signature", "zero signature"],
)
def test_what_is_not_to_be_trusted_is_refused(client, statement, kind):
    answer = post(client, statement)
    assert answer.status_code == 422
    told = problem(answer)[0]
    assert told == kind or kind == "refused"
    assert told.replace("-", "").isalpha()


def test_what_is_no_statement_is_malformed(client):
    answer = post(client, b"hello")
    assert (answer.status_code, problem(answer)[0]) == (400, "malformed")


def test_another_media_type_is_not_taken(client):
    answer = client.post(
        "/entries", content=fresh(), headers={"content-type": "text/html"}
    )
    assert (answer.status_code, problem(answer)[0]) == (415, "unsupported-media-type")


def test_a_statement_over_the_limit_is_told_so(client):
    answer = post(client, bytes(65_536))
    assert (answer.status_code, problem(answer)[0]) == (413, "limit-exceeded")


def test_a_governance_statement_needs_its_record_first(client):
    data, statement, signer = new_key()
    answer = post(client, statement)
    assert answer.status_code == 422
    assert "record" in problem(answer)[1]
    digest = sha256(data).hexdigest()
    assert client.put(f"/v1/records/{digest}", content=data).status_code == 201
    assert post(client, statement).status_code == 201
    assert client.get(f"/v1/records/{digest}").content == data
    assert post(client, fresh(by=signer, party=EDDIE)).status_code == 201


@pytest.mark.parametrize(
    "entry_id",
    ["1.99999999", "1.9223372036854775807", "1.-1", "1.01", "2.0", "0", "1.٣", "x"],
)
@pytest.mark.parametrize("part", ["", "/statement", "/proof"])
def test_an_entry_that_is_not_there_is_not_found(client, entry_id, part):
    answer = client.get(f"/entries/{entry_id}{part}")
    assert (answer.status_code, problem(answer)[0]) == (404, "not-found")


def test_the_proof_of_an_entry_verifies_under_the_policy(center, client):
    policy = parse_policy((center.folder / "policy.txt").read_text())
    statement = fresh()
    location = post(client, statement).headers["location"]
    answer = client.get(f"{location}/proof")
    assert answer.headers["content-type"].startswith("text/plain")
    head, index, _ = verify_tlog_proof(answer.content, statement, policy)
    assert location == f"/entries/1.{index}"
    assert index < head.size


def test_the_keys_of_receipts_are_published(center, client):
    keys = decode_key_set(client.get("/.well-known/scitt-keys").content)
    assert keys == [center.receipt_key]
    one = client.get(f"/.well-known/scitt-keys/{center.receipt_key.kid_text}")
    assert one.content == center.receipt_key.cose
    assert problem(client.get("/.well-known/scitt-keys/AAAA"))[0] == "not-found"


def test_head_answers_as_get_without_a_body(client):
    for path in ("/entries/1.0", "/health/live", "/log/checkpoint", "/nowhere"):
        told, asked = client.head(path), client.get(path)
        assert told.status_code == asked.status_code
        assert told.headers["content-type"] == asked.headers["content-type"]
        assert told.content == b""


async def test_a_hundred_at_once_of_one_statement_are_one_entry(center):
    statement = fresh()
    answers = await post_many(center.port, [statement] * 100, clients=100)
    assert {status for status, _, _ in answers} == {201}
    assert len({body for _, _, body in answers}) == 1
    assert len({headers["location"] for _, headers, _ in answers}) == 1


async def test_two_thousand_from_64_clients_stand_without_gap_or_double(center):
    statements = await asyncio.to_thread(lambda: [fresh() for _ in range(2_000)])
    answers = await post_many(center.port, statements, clients=64)
    assert {status for status, _, _ in answers} == {201}
    indices = set()
    for statement, (_, headers, body) in zip(statements, answers, strict=True):
        receipt = verify_receipt(body, statement, center.receipt_key)
        assert headers["location"] == f"/entries/1.{receipt.index}"
        indices.add(receipt.index)
    assert len(indices) == 2_000
    with center.client() as client:
        for index in set(range(min(indices), max(indices))) - indices:
            entry = client.get(f"/entries/1.{index}/statement").content
            assert b"application/vnd.trace-node.tick" in entry


# 3-M09 of standards/3-center.
async def test_a_full_line_sheds_writes_and_goes_on_reading(narrow):
    statements = await asyncio.to_thread(lambda: [fresh() for _ in range(600)])
    flood = asyncio.create_task(post_many(narrow.port, statements, clients=100))
    slowest, loop = 0.0, asyncio.get_running_loop()
    while not flood.done():
        begin = loop.time()
        answer = await asyncio.to_thread(
            narrow.raw, b"GET /log/checkpoint HTTP/1.0\r\n\r\n"
        )
        slowest = max(slowest, loop.time() - begin)
        assert answer.status == 200
    assert slowest < 1
    answers = await flood
    assert {status for status, _, _ in answers} == {201, 503}
    shed = [(headers, body) for status, headers, body in answers if status == 503]
    for headers, body in shed:
        assert int(headers["retry-after"]) >= 1
        assert cbor.decode(body)[-1] == "overloaded"
    again = await post_many(narrow.port, statements[:50], clients=2)
    assert {status for status, _, _ in again} == {201}
