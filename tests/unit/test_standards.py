"""The MUSTs of standards/, each shown on a real center in a folder."""

import sqlite3
from hashlib import sha256

import pytest

from trace_node.config import build, load
from trace_node.errors import Malformed, ReadOnly, Refused, StoreCorrupt
from trace_node.ledger.receipt import verify_receipt
from trace_node.node import Node, found, read_rules
from trace_node.trust.did import did_key
from trace_node.trust.keys import MemorySigner
from trace_node.trust.record import RECORD_MEDIA, make_record
from trace_node.trust.statement import decode_statement, sign_statement

ORIGIN = "standards.example/log"
SIGNER = MemorySigner.from_seed("P-256", b"\5" * 32)
DID = did_key(SIGNER.public)
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@pytest.fixture
def node(tmp_path):
    made = found(tmp_path / "center", build(None, {"origin": ORIGIN}))
    yield made
    made.close()


def admit(node, signer=SIGNER, **extra):
    did = did_key(signer.public)
    node.say("party", {"did": did, "name": "A", "kind": "enterprise"})
    return node.say("key", {**key_body(signer, "add"), **extra})


def key_body(signer, action):
    body = {"did": did_key(signer.public), "action": action}
    body["kid"] = signer.public.kid_text
    return body | ({"jwk": signer.public.jwk()} if action == "add" else {})


def record(n=0):
    return make_record(
        "event",
        "4-segments@1",
        "2026-11-23T08:00:00Z",
        sha256(b"%d" % n).digest()[:16],
        {"n": n},
    )


def signed(data, signer=SIGNER, aud=ORIGIN, iss=None):
    return sign_statement(
        signer,
        iss=iss or did_key(signer.public),
        aud=aud,
        media=RECORD_MEDIA,
        preimage=data,
    )


def register(node, statement, records=()):
    return node.intake.register(node.preparer.prepare(statement, records))


def test_1_m01_a_key_of_a_party_that_is_not_registered_is_refused(node):
    with pytest.raises(Refused):
        node.say("key", key_body(SIGNER, "add"))


def test_1_m02_a_key_under_another_name_is_refused(node):
    admit(node)
    other = MemorySigner.from_seed("Ed25519", b"\6" * 32)
    body = key_body(SIGNER, "add") | {"jwk": other.public.jwk()}
    with pytest.raises(Malformed, match="thumbprint"):
        node.say("key", body)


def test_1_m03_only_an_active_key_of_the_issuer_speaks_for_it(node):
    with pytest.raises(Refused):
        register(node, signed(record()))
    admit(node)
    assert register(node, signed(record())).receipt
    with pytest.raises(Refused):
        register(node, signed(record(1), iss="did:web:somebody.example"))


def test_1_m04_and_1_m05_revoked_stays_revoked_and_what_was_signed_stays_valid(node):
    admit(node)
    before = register(node, signed(record()))
    node.say("key", key_body(SIGNER, "revoke"))
    with pytest.raises(Refused):
        register(node, signed(record(1)))
    with pytest.raises(Refused):
        node.say("key", key_body(SIGNER, "add"))
    assert register(node, signed(record())).receipt == before.receipt


def test_1_m06_a_custodial_key_signs_no_governance_record(node):
    admit(node, custodian=node.did)
    other = MemorySigner.from_seed("Ed25519", b"\6" * 32)
    body = key_body(other, "add") | {"did": DID}
    data = make_record(
        "key", "1-participants@1", "2026-11-23T08:00:00Z", b"s" * 16, body
    )
    statement = sign_statement(
        SIGNER,
        iss=DID,
        aud=ORIGIN,
        media="application/vnd.trace-node.key+json",
        preimage=data,
    )
    with pytest.raises(Refused):
        register(node, statement, [data])


def test_3_m01_entry_0_is_the_registration_policy_of_this_origin(node):
    entry = decode_statement(node.log.entry(0).statement)
    assert entry.governance_type == "registration-policy"
    assert entry.aud == ORIGIN
    assert node.admission.state.rules == read_rules().digests


def test_3_m02_and_3_m04_receipts_are_durable_and_indices_without_gap(node):
    admit(node)
    placed = [register(node, signed(record(n))) for n in range(20)]
    key = node.keys.receipt.public
    with sqlite3.connect(node.folder / "center.db") as other:
        for n, one in enumerate(placed):
            verify_receipt(one.receipt, signed(record(n)), key)
            row = other.execute(
                "SELECT statement FROM entry WHERE entry_index = ?", (one.index,)
            ).fetchone()
            assert row == (signed(record(n)),)
        count, last = other.execute(
            "SELECT count(*), max(entry_index) FROM entry"
        ).fetchone()
    other.close()
    assert count == last + 1 == node.keeper.last().size


def test_3_m03_a_repeated_statement_gets_its_first_receipt(node):
    admit(node)
    first = signed(record())
    placed = register(node, first)
    register(node, signed(record(1)))
    r, s = first[-64:-32], int.from_bytes(first[-32:])
    twin = first[:-64] + r + (ORDER - s).to_bytes(32)
    assert twin != first
    assert register(node, twin) == placed


def test_3_m05_a_database_behind_the_signed_head_does_not_sign(node):
    admit(node)
    old = {n: (node.folder / n).read_bytes() for n in ("head",)}
    assert old["head"]
    with (
        sqlite3.connect(node.folder / "center.db") as source,
        sqlite3.connect(node.folder / "copy") as copy,
    ):
        source.backup(copy)
    source.close()
    copy.close()
    register(node, signed(record()))
    node.engines.dispose()
    for name in ("center.db-wal", "center.db-shm"):
        (node.folder / name).unlink(missing_ok=True)
    (node.folder / "copy").replace(node.folder / "center.db")
    restored = Node(node.folder, load(node.folder))
    try:
        with pytest.raises(ReadOnly):
            register(restored, signed(record(1)))
    finally:
        restored.close()


def test_3_m06_a_statement_for_another_log_is_refused(node):
    admit(node)
    with pytest.raises(Refused):
        register(node, signed(record(), aud="other.example/log"))


def test_3_m07_ticks_date_what_follows_and_never_go_back(tmp_path, monkeypatch):
    node = found(tmp_path / "center", build(None, {"origin": ORIGIN}))
    admit(node)
    clock = node.log.entry(0).recorded
    times = []
    for n, jump in enumerate((5, 6, -100, 7)):
        node.tick_clock._now = lambda jump=jump: clock + jump
        times.append(node.log.entry(register(node, signed(record(n))).index).recorded)
    node.close()
    assert times == [clock + 5, clock + 6, clock + 6, clock + 7]


def test_3_m08_content_that_changed_at_rest_is_not_served(node):
    admit(node)
    data = record()
    register(node, signed(data), [data])
    with sqlite3.connect(node.folder / "center.db") as other:
        other.execute(
            "UPDATE record SET content = ? WHERE digest = ?",
            (data.replace(b"0", b"1", 1), sha256(data).digest()),
        )
    other.close()
    with pytest.raises(StoreCorrupt):
        node.vault.read(sha256(data).digest())
