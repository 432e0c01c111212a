"""What must hold for any bytes: one target for each reader of outside bytes.

A target takes bytes and returns whether a reader took them. It raises
AssertionError where two readings of the same bytes differ, where a second
spelling was taken, or where what nobody signed passed; a reader may raise
``TraceNodeError`` and nothing else. ``SEEDS`` holds good input for each, made
from the published vectors, so that mutations reach deep.
"""

import json
from pathlib import Path

import cbor2

from trace_node.errors import TraceNodeError
from trace_node.ledger.checkpoint import open_checkpoint, parse_checkpoint_text
from trace_node.ledger.cosignature import check_quorum
from trace_node.ledger.fork import from_json, to_json, verify_fork_proof
from trace_node.ledger.keyset import decode_key_set, encode_key_set
from trace_node.ledger.note import note_bytes, parse_note
from trace_node.ledger.receipt import (
    attach_receipts,
    decode_consistency_receipt,
    decode_receipt,
    detach,
    encode_consistency_receipt,
    encode_receipt,
    verify_consistency_receipt,
    verify_receipt,
)
from trace_node.ledger.tiles import (
    decode_entries,
    encode_entries,
    parse_tile_path,
    tile_path,
)
from trace_node.ledger.tlogproof import encode_proof, parse_proof, verify_tlog_proof
from trace_node.trust import base64url, cbor
from trace_node.trust.did import check_did, did_key, key_of_did_key, parse_web_document
from trace_node.trust.keys import PublicKey
from trace_node.trust.parties import parse_key, parse_party
from trace_node.trust.parties import parse_policy as parse_registration_policy
from trace_node.trust.policy import dump_policy, parse_policy
from trace_node.trust.record import parse_record
from trace_node.trust.statement import decode_statement, verify_statement
from trace_node.trust.strictjson import loads_strict
from trace_node.trust.vkey import parse_vkey
from trace_node.verify import verify_file

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
LEDGER = json.loads((VECTORS / "ledger.json").read_text("utf-8"))
TRUST = json.loads((VECTORS / "trust.json").read_text("utf-8"))

POLICY = parse_policy(LEDGER["policy"])
LOG = POLICY.log_for("example.com/log")
ENTRY = b"entry 5"
ROOTS = {int(size): bytes.fromhex(root) for size, root in LEDGER["roots"].items()}
RECEIPTS = list(LEDGER["receipts"].values())
RECEIPT_KEYS = {
    key.thumbprint: key
    for key in (PublicKey.from_cose(bytes.fromhex(r["cose_key"])) for r in RECEIPTS)
}
STATEMENTS = [bytes.fromhex(row["raw"]) for row in TRUST["statements"]]
SIGNED = {decode_statement(raw).identity for raw in STATEMENTS}
KEYS = {
    key.thumbprint: key
    for key in (PublicKey.from_cose(bytes.fromhex(k["cose"])) for k in TRUST["keys"])
}
PREIMAGES = [bytes.fromhex(row["preimage"]) for row in TRUST["statements"]]
RECORDS = [data for data in PREIMAGES if data.startswith(b"{")]
TRANSPARENT = [bytes.fromhex(LEDGER["transparent"]["with_receipt"])]
TRUE_RECEIPTS = [bytes.fromhex(r["inclusion"]) for r in RECEIPTS]
TRUE_CONSISTENCY = [bytes.fromhex(r["consistency"]) for r in RECEIPTS]
FORK = LEDGER["fork"]["evidence"].encode()
DID = "did:web:supplier.example:plant-1"


def text_of(data):
    return data.decode("utf-8", "surrogateescape")


def fuzz_statement(data):
    statement = decode_statement(data)
    # The oracle reads the same fields out of the same bytes, by its own way.
    tagged = cbor2.loads(data)
    protected, unprotected, payload, signature = tagged.value
    header = cbor2.loads(protected)
    claims = header[15]
    assert (tagged.tag, unprotected, len(signature)) == (18, {}, 64)
    assert list(header) == [1, 4, 15, 16, 258, 259]
    assert header[258] == -16
    assert (header[1], header[4], header[259]) == (
        statement.alg,
        statement.kid,
        statement.media,
    )
    assert (claims[1], claims[2], claims[3], claims.get(6)) == (
        statement.iss,
        statement.sub,
        statement.aud,
        statement.iat,
    )
    assert payload == statement.payload
    assert statement.signed == cbor2.dumps(["Signature1", protected, b"", payload])
    assert cbor.encode(cbor2.CBORTag(18, [protected, {}, payload, signature])) == data
    assert cbor.encode(header) == protected
    if (key := KEYS.get(statement.kid)) is not None:
        verify_statement(statement, key)
        assert statement.identity in SIGNED, "a statement that nobody signed"


def fuzz_cbor(data):
    value = cbor.decode(data)
    assert cbor.encode(value) == data
    # cbor2 returns keys that are arrays as tuples; we have no such keys.
    assert repr(cbor2.loads(data)) == repr(value)


def fuzz_note(data):
    note = parse_note(data)
    assert note_bytes(note) == data
    checkpoint = parse_checkpoint_text(note.text)
    assert checkpoint.text() == note.text
    checkpoint, _, _ = open_checkpoint(data, LOG)
    assert checkpoint.text() + "\n" == LEDGER["checkpoint"].partition("— ")[0]
    check_quorum(data, POLICY)
    for line in LEDGER["cosigned"].splitlines()[4:]:
        assert line.encode() + b"\n" in data, "a quorum without a cosignature"


def fuzz_tlog_proof(data):
    extra, index, path, checkpoint = parse_proof(data)
    assert encode_proof(index, path, checkpoint, extra) == data
    checkpoint, index, who = verify_tlog_proof(data, ENTRY, POLICY)
    assert (index, checkpoint.size, len(who)) == (5, 13, 2)


def fuzz_receipt(data):
    r = decode_receipt(data)
    made = encode_receipt(r.protected, r.signature, r.size, r.index, r.path)
    assert made == data
    if (key := RECEIPT_KEYS.get(r.kid)) is not None:
        # Index and size are not signed (RFC 9942); leaf and path lead to the root.
        r = verify_receipt(data, ENTRY, key)
        assert data[:60] in {true[:60] for true in TRUE_RECEIPTS}


def fuzz_consistency_receipt(data):
    r = decode_consistency_receipt(data)
    made = encode_consistency_receipt(
        r.protected, r.signature, r.size1, r.size2, r.path
    )
    assert made == data
    if (key := RECEIPT_KEYS.get(r.kid)) is not None:
        _, new = verify_consistency_receipt(data, ROOTS[7], key)
        assert new in {ROOTS[13], ROOTS[7]}


def fuzz_transparent(data):
    statement, receipts = detach(data)
    if receipts:
        assert attach_receipts(statement, receipts) == data
    else:
        assert statement == data


def fuzz_key_set(data):
    keys = decode_key_set(data)
    again = decode_key_set(encode_key_set(keys))
    assert again == keys


def fuzz_cose_key(data):
    key = PublicKey.from_cose(data)
    assert PublicKey.from_cose(key.cose) == key
    assert PublicKey.from_jwk(key.jwk()) == key
    assert key_of_did_key(did_key(key)) == key


def fuzz_fork(data):
    proof = from_json(data)
    assert to_json(proof) == data
    verify_fork_proof(data, LOG)
    assert proof.id == LEDGER["fork"]["id"], "a fork that nobody signed"


def fuzz_policy(data):
    policy = parse_policy(text_of(data))
    assert parse_policy(dump_policy(policy)) == policy
    everyone = policy.explain(tuple(policy.witnesses))
    nobody = policy.explain(())
    # Without NOT, more witnesses never hurt.
    assert everyone.satisfied or not nobody.satisfied
    assert policy.satisfied(()) is nobody.satisfied is (policy.quorum is None)
    assert nobody.satisfied or nobody.missing


def fuzz_vkey(data):
    text = text_of(data)
    assert str(parse_vkey(text)) == text


def fuzz_bundle_of_entries(data):
    assert encode_entries(decode_entries(data)) == data


def fuzz_tile_path(data):
    text = text_of(data)
    assert tile_path(*parse_tile_path(text)) == text


def fuzz_did(data):
    text = text_of(data)
    assert check_did(text) == text
    if text.startswith("did:key:"):
        assert did_key(key_of_did_key(text)) == text


def fuzz_did_document(data):
    keys = parse_web_document(data, DID)
    assert len(set(keys)) == len(keys)


def fuzz_base64url(data):
    text = text_of(data)
    assert base64url.encode(base64url.decode(text)) == text


def fuzz_governance(data):
    value = loads_strict(data)
    body = value.get("body", value) if isinstance(value, dict) else value
    if not isinstance(body, dict):
        return
    parse = (parse_registration_policy, parse_party, parse_key)
    kind = 0 if "origin" in body else 2 if "action" in body else 1
    parse[kind](body)


def fuzz_record(data):
    record = parse_record(data)
    assert json.loads(data)["body"] == record.body


def fuzz_file(data):
    verdict = verify_file(
        data,
        POLICY,
        statement=STATEMENTS[-1] if data.startswith((b"c2sp", b"\xd2")) else None,
        keys=tuple(RECEIPT_KEYS.values()),
    )
    assert verdict.kind == "checkpoint"


SEEDS = {
    fuzz_statement: STATEMENTS,
    fuzz_cbor: [
        *STATEMENTS[:2],
        *TRUE_RECEIPTS,
        cbor.encode({1: [True, None, "é", b"x" * 30], -7: {"a": {}}, b"k": 2**64 - 1}),
        b"\x9f\xff",
    ],
    fuzz_note: [LEDGER["checkpoint"].encode(), LEDGER["cosigned"].encode()],
    fuzz_tlog_proof: [LEDGER["tlog_proof"].encode()],
    fuzz_receipt: TRUE_RECEIPTS,
    fuzz_consistency_receipt: TRUE_CONSISTENCY,
    fuzz_transparent: TRANSPARENT + STATEMENTS[:1],
    fuzz_key_set: [bytes.fromhex(LEDGER["scitt_keys"])],
    fuzz_cose_key: [key.cose for key in KEYS.values()],
    fuzz_fork: [FORK],
    fuzz_policy: [
        LEDGER["policy"].encode(),
        LEDGER["policy"].replace("all", "1").encode() + b"# end\n",
        f"log {LEDGER['vkeys'][0]}\nquorum none\n".encode(),
    ],
    fuzz_vkey: [vkey.encode() for vkey in LEDGER["vkeys"]],
    fuzz_bundle_of_entries: [bytes.fromhex(LEDGER["bundle"])],
    fuzz_tile_path: [path.encode() for path in LEDGER["tile_paths"].values()],
    fuzz_did: [
        *(row["did"].encode() for row in TRUST["keys"]),
        b"did:web:supplier.example%3A8080:plant-1:%C3%A9",
    ],
    fuzz_did_document: [
        json.dumps(
            {
                "id": DID,
                "verificationMethod": [
                    {
                        "id": "#a",
                        "type": "JsonWebKey",
                        "controller": DID,
                        "publicKeyJwk": TRUST["keys"][0]["jwk"],
                    },
                    {
                        "id": f"{DID}#b",
                        "type": "Multikey",
                        "controller": DID,
                        "publicKeyMultibase": TRUST["keys"][0]["did"][8:],
                    },
                ],
                "assertionMethod": ["#a", f"{DID}#b"],
            }
        ).encode()
    ],
    fuzz_base64url: [b"AAECAw", b"-_8", b""],
    fuzz_governance: RECORDS,
    fuzz_record: RECORDS,
    fuzz_file: [
        LEDGER["cosigned"].encode(),
        LEDGER["tlog_proof"].encode(),
        *TRUE_RECEIPTS,
        *TRANSPARENT,
        b'{"bundle":"trace-node-bundle@1"}',
    ],
}


def takes(target, data):
    """Return whether the reader of ``target`` takes ``data``; no error but ours."""
    try:
        target(data)
    except TraceNodeError:
        return False
    return True
