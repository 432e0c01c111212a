"""A real center served as a process, and the wire spoken to it byte by byte."""

import asyncio
import contextlib
import http.client
import json
import os
import re
import secrets
import socket
import ssl
import subprocess
import sys
import time
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import httpx

from trace_node.config import build
from trace_node.node import found
from trace_node.trust.did import did_key
from trace_node.trust.keys import MemorySigner
from trace_node.trust.manifest import manifest_preimage
from trace_node.trust.record import RECORD_MEDIA, make_record, media_of
from trace_node.trust.statement import MANIFEST_MEDIA, sign_statement

ORIGIN = "api.example/log"
EDDIE = MemorySigner.from_seed("Ed25519", b"\3" * 32)  # a registered party
PAULA = MemorySigner.from_seed("P-256", b"\4" * 32)  # another, on the other curve
GONE = MemorySigner.from_seed("Ed25519", b"\5" * 32)  # its key was revoked
NOBODY = MemorySigner.from_seed("Ed25519", b"\6" * 32)  # never registered
COSE = {"content-type": "application/cose"}
ISSUED = "2026-11-23T08:00:00Z"
READY_SECONDS = 30


def record(note="", *, pad=0, kind="document"):
    """Return a record nobody has seen: its salt is drawn."""
    body = {"note": note, "pad": "x" * pad}
    return make_record(kind, "4-segments@1", ISSUED, secrets.token_bytes(16), body)


def say(preimage, *, by=EDDIE, party=None, aud=ORIGIN, media=RECORD_MEDIA):
    did = did_key((party or by).public)
    return sign_statement(by, iss=did, aud=aud, media=media, preimage=preimage)


def fresh(**given):
    """Return a good statement nobody has seen; its record is kept by nobody."""
    return say(record(), **given)


def manifest(records, **given):
    digests = [sha256(data).digest() for data in records]
    return say(manifest_preimage(digests), media=MANIFEST_MEDIA, **given)


def governance(body, kind="key", by=EDDIE):
    """Return (record, statement) of a governance record that ``by`` says."""
    data = make_record(kind, "1-participants@1", ISSUED, secrets.token_bytes(16), body)
    return data, say(data, by=by, media=media_of(kind))


def new_key(by=EDDIE):
    """Return (record, statement, signer): ``by`` adds a key of its own party."""
    signer = MemorySigner.from_seed("Ed25519", secrets.token_bytes(32))
    body = {
        "did": did_key(by.public),
        "action": "add",
        "kid": signer.public.kid_text,
        "jwk": signer.public.jwk(),
    }
    return (*governance(body, by=by), signer)


def item(statement, records=()):
    """Return one submission: [statement, [record, …]] in CBOR."""
    parts = [b"\x82", string(statement), head(4, len(records)), *map(string, records)]
    return b"".join(parts)


def string(data):
    return head(2, len(data)) + data


def head(major, value):
    for info, width in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if value < 24:
            return bytes((major << 5 | value,))
        if value < 1 << 8 * width:
            return bytes((major << 5 | info,)) + value.to_bytes(width)
    raise ValueError(value)


@dataclass
class Answer:
    """What came back: status 0 when the connection was closed without one."""

    status: int
    headers: dict = field(default_factory=dict)
    body: bytes = b""
    seconds: float = 0.0


@dataclass
class Served:
    """A center that a process of its own serves."""

    folder: Path
    port: int
    process: subprocess.Popen
    receipt_key: object
    scheme: str = "http"

    @property
    def url(self):
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def client(self, **given):
        return httpx.Client(base_url=self.url, timeout=10, **given)

    def socket(self, seconds=5.0):
        made = socket.create_connection(("127.0.0.1", self.port), timeout=seconds)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def raw(self, data, seconds=5.0):
        """Send bytes as they are on a connection of their own; return the answer."""
        with self.socket(seconds) as wire:
            return exchange(wire, data, seconds)

    def memory(self):
        """Return the resident memory of the process in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024

    def log(self):
        return (self.folder.parent / "serve.log").read_text()


def exchange(wire, data, seconds=5.0):
    """Send ``data``; read one answer or the end of the connection.

    A server may refuse and close while we still send; what it said before is
    what counts, so a broken pipe is no failure here.
    """
    begin = time.perf_counter()
    wire.settimeout(seconds)
    with contextlib.suppress(OSError):
        wire.sendall(data)
    return read_answer(wire, begin, method=data[:5])


def read_answer(wire, begin=None, method=b""):
    begin = begin or time.perf_counter()
    response = http.client.HTTPResponse(
        wire, method="HEAD" if method == b"HEAD " else None
    )
    try:
        response.begin()
        body = response.read()
    except TimeoutError:
        raise
    except (OSError, http.client.HTTPException):
        return Answer(0, seconds=time.perf_counter() - begin)
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, headers, body, time.perf_counter() - begin)


def request(method, path, body=b"", headers=()):
    """Return the bytes of a request; nothing in it is checked."""
    lines = [f"{method} {path} HTTP/1.1".encode("latin-1"), b"Host: api.example"]
    lines += [f"{name}: {value}".encode("latin-1") for name, value in headers]
    if not any(name.lower() in FRAMING for name, _ in headers) and (
        body or method in {"POST", "PUT"}
    ):
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


FRAMING = {"content-length", "transfer-encoding"}


async def post_many(port, statements, clients=64):
    """POST each statement to /entries; return (status, headers, body) of each.

    So many connections are kept open, each with one request under way.
    """
    answers = [None] * len(statements)
    work = iter(enumerate(statements))

    async def one():
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number, statement in work:
            writer.write(request("POST", "/entries", statement, COSE.items()))
            top = (await reader.readuntil(b"\r\n\r\n")).decode()
            headers = dict(
                line.lower().split(": ", 1) for line in top.split("\r\n")[1:-2]
            )
            body = await reader.readexactly(int(headers["content-length"]))
            answers[number] = (int(top[9:12]), headers, body)
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(one() for _ in range(clients)))
    return answers


def lines_of(text):
    return [json.loads(line) for line in text.splitlines()]


def eventually(answer, seconds=5.0):
    """Ask until it holds; what is published once a second is not there at once."""
    end = time.monotonic() + seconds
    while not (found := answer()):
        assert time.monotonic() < end, "it never came to hold"
        time.sleep(0.05)
    return found


def make(folder, **settings):
    """Found a center with three parties; return the key its receipts are made by."""
    named = {"origin": ORIGIN, "name": "测试中心", **settings}
    node = found(folder, build(None, named))
    try:
        for signer in (EDDIE, PAULA, GONE):
            did, public = did_key(signer.public), signer.public
            node.say("party", {"did": did, "name": "A party", "kind": "enterprise"})
            key = {"did": did, "kid": public.kid_text}
            node.say("key", {**key, "action": "add", "jwk": public.jwk()})
        node.say("key", {**key, "action": "revoke"})
        return node.keys.receipt.public
    finally:
        node.close()


def serve(folder, receipt_key, env=None, arguments=(), broken="", *, ready=True):
    """Serve the center in ``folder`` on a port of the system's choice.

    ``broken`` names a build that a test must catch, see broken_server.py. Unless it
    is to be ``ready``, it need only answer.
    """
    program = [str(Path(__file__).with_name("broken_server.py")), broken]
    command = [sys.executable, *(program if broken else ["-m", "trace_node"])]
    command += ["serve", str(folder), "--port", "0"]
    log = folder.parent / "serve.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [*command, *map(str, arguments)],
            stdout=subprocess.DEVNULL,
            stderr=stream,
            env={**os.environ, **(env or {})},
        )
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end and process.poll() is None:
        told = re.search(r"on (https?)://127\.0\.0\.1:(\d+)", log.read_text())
        if told:
            served = Served(folder, int(told[2]), process, receipt_key, told[1])
            if is_ready(served, 200 if ready else 503):
                return served
        time.sleep(0.02)
    end_process(process)
    raise RuntimeError(log.read_text())


def is_ready(served, status=200):
    try:
        context = ssl._create_unverified_context()  # who it is is not asked here
        url = f"{served.url}/health/ready"
        return httpx.get(url, timeout=5, verify=context).status_code == status
    except httpx.HTTPError:
        return False


def end_process(process):
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(5)
        raise
