"""A small real center in a folder, for tests that break it and look again."""

import atexit
import shutil
from hashlib import sha256
from pathlib import Path
from tempfile import mkdtemp

from tests.faults.checks import log_faults, read_center, replay_faults
from trace_node.config import build
from trace_node.node import Node, found
from trace_node.trust.did import did_key
from trace_node.trust.keys import MemorySigner
from trace_node.trust.manifest import manifest_preimage
from trace_node.trust.record import RECORD_MEDIA, make_record, media_of
from trace_node.trust.statement import (
    MANIFEST_MEDIA,
    decode_statement,
    sign_statement,
)

ORIGIN = "fault.example/log"
SETTINGS = {"origin": ORIGIN, "name": "Fault"}
START = 1_795_420_800
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_templates = {}


class Clock:
    """A wall clock that the test moves."""

    def __init__(self, seconds=START):
        self.seconds = seconds

    def __call__(self):
        return self.seconds


def settings():
    return build(None, dict(SETTINGS))


def copy_center(source, target):
    """Copy a center's folder as it lies there now."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("*-shm"))


def template(name, prepare=lambda node: None):
    """Found a center once and keep it, so that a copy is all a test pays."""
    if name not in _templates:
        folder = Path(mkdtemp(prefix="trace-node-template-")) / "center"
        node = found(folder, settings(), clock=Clock(START - 10))
        prepare(node)
        node.close()
        _templates[name] = folder
    return _templates[name]


@atexit.register
def drop_templates():
    """Remove what ``template`` made."""
    while _templates:
        shutil.rmtree(_templates.popitem()[1].parent, ignore_errors=True)


def signer(number, curve="Ed25519"):
    seed = sha256(b"trace-node fault key %d" % number).digest()
    return MemorySigner.from_seed(curve, seed)


def record(text, kind="document"):
    salt = sha256(text.encode()).digest()[:16]
    issued = "2026-11-23T08:00:00Z"
    return make_record(kind, "4-segments@1", issued, salt, {"text": text})


def content(by, data):
    return sign_statement(
        by, iss=did_key(by.public), aud=ORIGIN, media=RECORD_MEDIA, preimage=data
    )


def manifest(by, records):
    preimage = manifest_preimage([sha256(data).digest() for data in records])
    return sign_statement(
        by, iss=did_key(by.public), aud=ORIGIN, media=MANIFEST_MEDIA, preimage=preimage
    )


def governance(by, iss, kind, body, number):
    """Return (statement, record) of a governance record."""
    salt = number.to_bytes(16)
    issued = "2026-11-23T08:00:00Z"
    data = make_record(kind, "1-participants@1", issued, salt, body)
    raw = sign_statement(by, iss=iss, aud=ORIGIN, media=media_of(kind), preimage=data)
    return raw, data


def party_body(did):
    return {"did": did, "name": "A party", "kind": "enterprise"}


def add_body(did, public):
    jwk = public.jwk()
    return {"did": did, "action": "add", "kid": public.kid_text, "jwk": jwk}


def revoke_body(did, public):
    return {"did": did, "action": "revoke", "kid": public.kid_text}


def twin(raw):
    """Return the statement with ECDSA's other valid signature, (r, n - s)."""
    other = P256_ORDER - int.from_bytes(raw[-32:])
    return raw[:-32] + other.to_bytes(32)


def identity_of(raw):
    return decode_statement(raw).identity


class Story:
    """A node on a folder, one party, and what was acknowledged."""

    def __init__(self, folder):
        self.folder = folder
        self.signer = signer(0)
        self.did = did_key(self.signer.public)
        self.clock = Clock()
        self.acks = []
        copy_center(template("one party", self._add_party), folder)
        self.open()

    def _add_party(self, node):
        node.say("party", party_body(self.did))
        node.say("key", add_body(self.did, self.signer.public))

    def open(self, make=Node):
        self.node = make(self.folder, settings(), clock=self.clock)
        return self.node

    def single(self, number):
        return content(self.signer, record(f"record {number}"))

    def register(self, *raws, node=None, records=()):
        """Register statements as one group; returns the outcomes."""
        node = node or self.node
        group = [node.preparer.prepare(raw, records) for raw in raws]
        outcomes = node.intake._process(group)
        for raw, outcome in zip(raws, outcomes, strict=True):
            if not isinstance(outcome, Exception):
                self.acks.append((identity_of(raw), outcome.index, outcome.receipt))
        return outcomes

    @property
    def receipt_key(self):
        return self.node.keys.receipt.public

    def stored(self):
        return read_center(self.folder, self.node.vkey)

    def faults(self):
        """Everything that is wrong with the log as it is stored."""
        stored = self.stored()
        return log_faults(stored) + replay_faults(stored, ORIGIN)
