"""The governance fold of 10⁴ parties and 10⁵ keys (--scale 10: 10⁵ and 10⁶).

Statement bytes and records in, state out, as at the start of a center: signatures
are not checked by the fold, so none are made. The limit beside it is the time of
one Ed25519 verification, which an auditor pays for each entry on top.
"""

import time
from hashlib import sha256
from pathlib import Path

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from trace_node.trust.base64url import encode as base64url
from trace_node.trust.governance import Governance
from trace_node.trust.keys import ED25519, MemorySigner, PublicKey
from trace_node.trust.record import RECORD_MEDIA, media_of
from trace_node.trust.statement import decode_statement, sign_statement
from trace_node.trust.vkey import make_vkey

ORIGIN, OPERATOR = "fold.example/log", "did:web:fold.example"
ROOT, CENTER, RECEIPT, LOG = (
    MemorySigner.from_seed("Ed25519", bytes([number]) * 32) for number in range(1, 5)
)
LOOKUPS = 2_000


class Unsigned:
    """Gives zeros for a signature: the fold does not look at it."""

    alg = ED25519

    def __init__(self, public):
        self.public = public

    def sign(self, message):
        return bytes(64)


def say(kind, body, iat=None):
    record = orjson.dumps(
        {
            "type": kind,
            "profile": "1-participants@1",
            "issued": "2026-11-23T08:00:00Z",
            "salt": "A" * 22,
            "body": body,
        }
    )
    raw = sign_statement(
        Unsigned(ROOT.public),
        iss=OPERATOR,
        aud=ORIGIN,
        media=media_of(kind),
        preimage=record,
        iat=iat,
    )
    return raw, record


def policy():
    uses = {"root": ROOT, "center": CENTER, "receipt": RECEIPT}
    return {
        "origin": ORIGIN,
        "name": "Fold",
        "operator": OPERATOR,
        "vkey": str(make_vkey(ORIGIN, 1, LOG.public.x)),
        "tree": "RFC9162_SHA256",
        "keys": [{"use": use, "jwk": by.public.jwk()} for use, by in uses.items()],
        "rules": {},
    }


def did(number, parties):
    return f"did:web:host{number % parties}.example"


def key(number, parties):
    seed = sha256(b"%d" % number).digest()
    x = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    kid = sha256(bytes.fromhex("a301012006215820") + x).digest()
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": base64url(x)}
    owner = did(number, parties)
    return {"did": owner, "action": "add", "kid": base64url(kid), "jwk": jwk}


def memory():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def fold(state, entries):
    """Apply (kind, body) entries; return the seconds that the fold alone took."""
    spent = 0.0
    for kind, body in entries:
        raw, record = say(kind, body)
        begin = time.perf_counter()
        state.apply(state.size, decode_statement(raw), record)
        spent += time.perf_counter() - begin
    return spent


def verify_seconds():
    message = bytes(300)
    signature = ROOT.sign(message)
    begin = time.perf_counter()
    for _ in range(LOOKUPS):
        ROOT.public.verify(ED25519, signature, message)
    return (time.perf_counter() - begin) / LOOKUPS


def lookup_seconds(state):
    """Return the seconds to find a key and check a content statement by it."""
    some = [k for k in state.keys.values() if k.use == "party"]
    content = [
        decode_statement(
            sign_statement(
                Unsigned(PublicKey("Ed25519", some[at].public.x)),
                iss=some[at].did,
                aud=ORIGIN,
                media=RECORD_MEDIA,
                payload=bytes(32),
            )
        )
        for at in range(0, len(some), max(1, len(some) // LOOKUPS))
    ]
    begin = time.perf_counter()
    for statement in content:
        state.signing_key(statement)
        state.check(statement)
    return (time.perf_counter() - begin) / len(content)


def run(scale):
    parties, keys = round(10_000 * scale), round(100_000 * scale)
    state, verify = Governance(ORIGIN), verify_seconds()
    raw, record = say("registration-policy", policy(), iat=1_795_420_800)
    state.apply(0, decode_statement(raw), record)
    before = memory()
    named = fold(
        state,
        (
            ("party", {"did": did(n, parties), "name": f"{n}", "kind": "enterprise"})
            for n in range(parties)
        ),
    )
    between = memory()
    added = fold(state, (("key", key(n, parties)) for n in range(keys)))
    return {
        "parties": parties,
        "keys": keys,
        "fold_s": named + added,
        "party_us": named / parties * 1e6,
        "key_us": added / keys * 1e6,
        "verify_us": verify * 1e6,
        "party_bytes": (between - before) / parties,
        "key_bytes": (memory() - between) / keys,
        "lookup_us": lookup_seconds(state) * 1e6,
    }


def table(result):
    return (
        f"{result['parties']} parties, {result['keys']} keys: {result['fold_s']:.1f} s\n"
        f"a party {result['party_us']:.0f} us, {result['party_bytes']:.0f} B; "
        f"a key {result['key_us']:.0f} us, {result['key_bytes']:.0f} B; "
        f"a verification {result['verify_us']:.0f} us\n"
        f"look-up and check {result['lookup_us']:.1f} us"
    )
