"""A center behind httpx without a network, and hooks for a center that lies."""

import secrets
from hashlib import sha256

import httpx
import orjson

from trace_node import node as nodes
from trace_node.api.problems import render
from trace_node.api.routes.records import parse_digest
from trace_node.api.routes.submissions import line
from trace_node.api.sequence import Framer, Limits
from trace_node.client import Client
from trace_node.config import build
from trace_node.errors import TraceNodeError
from trace_node.services.bundle import record_bundle
from trace_node.trust.did import did_key
from trace_node.trust.keys import MemorySigner
from trace_node.trust.manifest import manifest_preimage
from trace_node.trust.policy import parse_policy
from trace_node.trust.record import make_record
from trace_node.trust.statement import MANIFEST_MEDIA

ORIGIN = "center.example/log"
ALICE = MemorySigner.from_seed("P-256", b"\1" * 32)
ALICE_DID = did_key(ALICE.public)
LIMITS = Limits(65_535, 1 << 20, 64 << 20, 10_000)


def content(number):
    salt = secrets.token_bytes(16)
    return make_record(
        "document", "4-segments@1", "2026-11-23T08:00:00Z", salt, {"n": number}
    )


def manifest(client, records):
    digests = [sha256(record).digest() for record in records]
    return client.sign(manifest_preimage(digests), media=MANIFEST_MEDIA)


class FakeCenter:
    """The HTTP surface that the client uses, over a real node, in one thread.

    ``tamper`` gets (request, response) of each answer and returns the one sent.
    """

    def __init__(self, folder, origin=ORIGIN):
        self.node = nodes.found(folder, build(None, {"origin": origin}))
        self.policy = parse_policy((folder / "policy.txt").read_text())
        self.requests = []
        self.tamper = lambda request, response: response
        self.node.say("party", {"did": ALICE_DID, "name": "A", "kind": "enterprise"})
        added = {"kid": ALICE.public.kid_text, "jwk": ALICE.public.jwk()}
        self.node.say("key", {"did": ALICE_DID, "action": "add", **added})

    def client(self, **more):
        options = {"policy": self.policy, "signer": ALICE, "iss": ALICE_DID} | more
        return Client(
            "http://center.example", transport=httpx.MockTransport(self), **options
        )

    def register(self, raw, records=()):
        return self.node.intake.register(self.node.preparer.prepare(raw, records))

    def __call__(self, request):
        self.requests.append(f"{request.method} {request.url.path}")
        try:
            response = self._answer(request)
        except TraceNodeError as error:
            status, headers, body = render(error, request.url.path)
            response = httpx.Response(status, headers=headers, content=body)
        return self.tamper(request, response)

    def _answer(self, request):
        node, path = self.node, request.url.path
        match request.method, path.strip("/").split("/"):
            case "GET", ["entries", entry, "statement"]:
                data = node.log.entry(int(entry[2:])).statement
            case "GET", ["entries", entry, "proof"]:
                data = node.receipts.tlog_proof(int(entry[2:]))
            case "GET", ["v1", "records", name]:
                if request.url.params.get("format") == "bundle":
                    data = record_bundle(node.library, parse_digest(name))
                else:
                    data = node.vault.read(parse_digest(name))
            case "PUT", ["v1", "records", name]:
                node.vault.stage(parse_digest(name), request.content, 0)
                return httpx.Response(201)
            case "POST", ["entries"]:
                placed = self.register(request.content)
                where = {"location": f"/entries/1.{placed.index}"}
                return httpx.Response(201, content=placed.receipt, headers=where)
            case "POST", ["submissions"]:
                data = b"".join(self._lines(request.content))
            case _:
                return httpx.Response(404)
        return httpx.Response(200, content=data)

    def _lines(self, body):
        for position, (raw, records) in enumerate(Framer(LIMITS).feed(body)):
            try:
                outcome = self.register(raw, records)
            except TraceNodeError as error:
                outcome = error
            yield line(position, outcome)


def changed(response, **members):
    """Return an NDJSON answer with members of each line changed."""
    lines = [orjson.loads(row) | members for row in response.content.splitlines()]
    body = b"".join(orjson.dumps(row) + b"\n" for row in lines)
    return httpx.Response(200, content=body)
