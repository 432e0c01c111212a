"""A small real center in a folder, for tests that break it and look again."""

import atexit
import shutil
from hashlib import sha256
from itertools import count
from pathlib import Path
from tempfile import mkdtemp

from tests import postgres
from tests.faults.checks import MARK, log_faults, read_center, replay_faults
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


ENGINES = ("sqlite", "postgresql")
_numbers = count()


def settings(folder=None):
    """Return the settings of the center in ``folder``, with its database."""
    values = dict(SETTINGS)
    if folder is not None and (folder / MARK).exists():
        name = (folder / MARK).read_text()
        values["database_url"] = postgres.shared().url(name)
        values["database_accept"] = postgres.ACCEPT
    return build(None, values)


def copy_center(source, target):
    """Copy a center's folder as it lies there now; a database server is shared."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("*-shm"))


def new_center(folder, source=None, *, engine="sqlite"):
    """Make ``folder`` a center of its own, like the one in ``source``.

    Without a ``source`` there is only the folder, with its database empty.
    """
    if source is not None:
        copy_center(source, folder)
    if engine == "postgresql":
        server, name = postgres.shared(), f"center{next(_numbers)}"
        like = (source / MARK).read_text() if source is not None else "template0"
        server.create(name, like)
        folder.mkdir(exist_ok=True)
        (folder / MARK).write_text(name)
    return folder


def remove_center(folder):
    """Remove a center, with its database."""
    if (folder / MARK).exists() and postgres.runs():
        postgres.shared().drop((folder / MARK).read_text())
    shutil.rmtree(folder, ignore_errors=True)


def template(name, prepare=lambda node: None, *, engine="sqlite", clock=None):
    """Found a center once and keep it, so that a copy is all a test pays."""
    if (name, engine) not in _templates:
        base = Path(mkdtemp(prefix="trace-node-template-"))
        made = new_center(base / "mark", engine=engine) if engine != "sqlite" else None
        folder = base / "center"
        node = found(folder, settings(made), clock=clock or Clock(START - 10))
        prepare(node)
        node.close()
        if made:
            shutil.copy(made / MARK, folder / MARK)
        _templates[name, engine] = folder
    return _templates[name, engine]


@atexit.register
def drop_templates():
    """Remove what ``template`` made."""
    while _templates:
        remove_center(_templates.popitem()[1])


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

    def __init__(self, folder, engine="sqlite"):
        self.folder = folder
        self.signer = signer(0)
        self.did = did_key(self.signer.public)
        self.clock = Clock()
        self.acks = []
        source = template("one party", self._add_party, engine=engine)
        new_center(folder, source, engine=engine)
        self.open()

    def _add_party(self, node):
        node.say("party", party_body(self.did))
        node.say("key", add_body(self.did, self.signer.public))

    def open(self, make=Node):
        self.node = make(self.folder, settings(self.folder), clock=self.clock)
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
