"""Keys, records and statements from which the trust tests are told."""

from hashlib import sha256

from trace_node.trust.did import did_key, did_web
from trace_node.trust.keys import EDDSA, ES256, MemorySigner
from trace_node.trust.record import RECORD_MEDIA, make_record, media_of
from trace_node.trust.statement import TICK_MEDIA, decode_statement, sign_statement
from trace_node.trust.tick import tick_preimage
from trace_node.trust.vkey import ED25519, make_vkey

ORIGIN = "127.0.0.1:8080/log"
OPERATOR = did_web("127.0.0.1:8080")
START = 1_795_420_800


def seed(name):
    return sha256(b"trace-node test key " + name.encode()).digest()


def signer(name, curve="Ed25519"):
    return MemorySigner.from_seed(curve, seed(name))


class OldSigner:
    """Signs under the polymorphic algorithms of RFC 9053 (-8, -7)."""

    def __init__(self, inner):
        self.inner = inner
        self.public = inner.public
        self.alg = {"Ed25519": EDDSA, "P-256": ES256}[inner.public.curve]

    def sign(self, message):
        return self.inner.sign(message)


def vkey(by, origin=ORIGIN, alg=ED25519):
    return str(make_vkey(origin, alg, by.public.x))


VKEY = vkey(signer("log"))
ROOT, CENTER, RECEIPT = signer("root"), signer("center", "P-256"), signer("receipt")
ALICE, BOB, LAB = signer("alice"), signer("bob", "P-256"), signer("lab")
ALICE_DID = did_key(ALICE.public)
BOB_DID = did_web("bob.example", "parts")


def record(kind, body, salt=bytes(16)):
    return make_record(kind, "1-participants@1", "2026-11-23T08:00:00Z", salt, body)


def governance(by, iss, kind, body, iat=None, aud=ORIGIN):
    """Return (statement, record bytes) of a governance record."""
    if kind == "registration-policy" and iat is None:
        iat = START
    data = record(kind, body)
    raw = sign_statement(
        by, iss=iss, aud=aud, media=media_of(kind), preimage=data, iat=iat
    )
    return decode_statement(raw), data


def policy_body(keys=None, **changes):
    keys = keys or [("root", ROOT), ("center", CENTER), ("receipt", RECEIPT)]
    body = {
        "origin": ORIGIN,
        "name": "Test center",
        "operator": OPERATOR,
        "vkey": VKEY,
        "tree": "RFC9162_SHA256",
        "keys": [{"use": use, "jwk": by.public.jwk()} for use, by in keys],
        "rules": {},
    }
    return body | changes


def party_body(did, name="A party", kind="enterprise", **more):
    return {"did": did, "name": name, "kind": kind} | more


def add_body(did, by, **more):
    return {
        "did": did,
        "action": "add",
        "kid": by.public.kid_text,
        "jwk": by.public.jwk(),
    } | more


def revoke_body(did, by, **more):
    return {"did": did, "action": "revoke", "kid": by.public.kid_text} | more


def tick(seconds, by=CENTER, iss=OPERATOR, aud=ORIGIN):
    raw = sign_statement(
        by,
        iss=iss,
        aud=aud,
        media=TICK_MEDIA,
        preimage=tick_preimage(seconds),
        iat=seconds,
    )
    return decode_statement(raw)


def content(by, iss, preimage=b"{}", media=RECORD_MEDIA, aud=ORIGIN):
    return decode_statement(
        sign_statement(by, iss=iss, aud=aud, media=media, preimage=preimage)
    )
