"""A small real center in a folder: two parties, a single record and a manifest."""

import secrets
from dataclasses import dataclass
from hashlib import sha256

from trace_node import node as nodes
from trace_node.config import build
from trace_node.services.bundle import record_bundle
from trace_node.trust.did import did_key
from trace_node.trust.keys import MemorySigner
from trace_node.trust.manifest import manifest_preimage
from trace_node.trust.policy import parse_policy
from trace_node.trust.record import RECORD_MEDIA, make_record
from trace_node.trust.statement import MANIFEST_MEDIA, sign_statement

ORIGIN = "127.0.0.1:8080/log"
ALICE = MemorySigner.from_seed("P-256", b"\1" * 32)
LAB = MemorySigner.from_seed("Ed25519", b"\2" * 32)


def event(number, salt=None):
    body = {"n": number, "what": "到货"}
    salt = salt or secrets.token_bytes(16)
    return make_record("document", "4-segments@1", "2026-11-23T08:00:00Z", salt, body)


def big(number):
    body = {"n": number, "pad": "x" * 70_000}
    return make_record(
        "document",
        "4-segments@1",
        "2026-11-23T08:00:00Z",
        secrets.token_bytes(16),
        body,
    )


def single(record, by=ALICE, aud=ORIGIN):
    return sign_statement(
        by, iss=did_key(by.public), aud=aud, media=RECORD_MEDIA, preimage=record
    )


def many(records, by=LAB, aud=ORIGIN):
    digests = [sha256(r).digest() for r in records]
    return sign_statement(
        by,
        iss=did_key(by.public),
        aud=aud,
        media=MANIFEST_MEDIA,
        preimage=manifest_preimage(digests),
    )


def flipped(data, at):
    bad = bytearray(data)
    bad[at] ^= 1
    return bytes(bad)


@dataclass
class Clock:
    """A wall clock that the test moves."""

    seconds: int = 1_795_420_800

    def __call__(self):
        return self.seconds


class Center:
    """An open center whose clock the test moves."""

    def __init__(self, folder, origin=ORIGIN):
        self.clock = Clock()
        self.folder = folder
        self.origin = origin
        original, nodes.now = nodes.now, self.clock
        try:
            self.node = nodes.found(
                folder, build(None, {"origin": origin, "name": "测试"})
            )
        finally:
            nodes.now = original
        self._settle()

    def _settle(self):
        self.node.tick_clock._now = self.node.tick_clock._elapsed = self.clock
        self.policy = parse_policy((self.folder / "policy.txt").read_text())

    def say(self, kind, body):
        original, nodes.now = nodes.now, self.clock
        try:
            return self.node.say(kind, body).index
        finally:
            nodes.now = original

    def add_party(self, by, name="A party"):
        did = did_key(by.public)
        self.say("party", {"did": did, "name": name, "kind": "enterprise"})
        jwk = by.public.jwk()
        self.say(
            "key", {"did": did, "action": "add", "kid": by.public.kid_text, "jwk": jwk}
        )

    def revoke(self, by):
        did = did_key(by.public)
        return self.say(
            "key", {"did": did, "action": "revoke", "kid": by.public.kid_text}
        )

    def put(self, raw, records=()):
        return self.node.intake.register(self.node.preparer.prepare(raw, records))

    def put_all(self, raws):
        candidates = [self.node.preparer.prepare(raw) for raw in raws]
        return self.node.intake._process(candidates)

    def bundle(self, record):
        return record_bundle(self.node.library, sha256(record).digest())

    def proof(self, index):
        return self.node.receipts.tlog_proof(index)

    def close(self):
        self.node.publisher.step()
        self.node.close()
