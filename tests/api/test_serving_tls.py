"""HTTPS: who it lets in, how a certificate is renewed, and slow handshakes."""

import contextlib
import os
import signal
import ssl
import subprocess
import sys
import time
import warnings

import api_story
import httpx
import pytest
from api_story import COSE, eventually, exchange, fresh, request
from tls_story import authority, serial_of, tls_socket

from trace_node.api.tls import Tls
from trace_node.errors import Misuse
from trace_node.ledger.receipt import verify_receipt


@pytest.fixture(scope="module")
def issuer(tmp_path_factory):
    return authority(tmp_path_factory.mktemp("issuer"))


@pytest.fixture(scope="module")
def secure(tmp_path_factory, issuer):
    folder = tmp_path_factory.mktemp("secure")
    chain, key, _ = issuer.issue(folder)
    receipt_key = api_story.make(folder / "center")
    served = api_story.serve(
        folder / "center",
        receipt_key,
        {"TRACE_NODE_BODY_SECONDS": "1"},
        ["--tls-cert", chain, "--tls-key", key],
    )
    yield served
    api_story.end_process(served.process)


@pytest.fixture
def wire(secure, issuer):
    with tls_socket(secure.port, issuer.context()) as made:
        yield made


def test_a_statement_is_registered_over_https(secure, issuer):
    statement = fresh()
    with secure.client(verify=issuer.context()) as client:
        answer = client.post("/entries", content=statement, headers=COSE)
    assert answer.status_code == 201
    verify_receipt(answer.content, statement, secure.receipt_key)


def test_who_does_not_know_the_authority_does_not_connect(secure):
    with (
        pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"),
        secure.client() as client,
    ):
        client.get("/health/live")


@pytest.mark.parametrize(
    ("version", "answered"),
    [("TLSv1_1", False), ("TLSv1_2", True), ("TLSv1_3", True)],
)
def test_tls_1_2_is_the_oldest(secure, issuer, version, answered):
    context = issuer.context()
    context.set_ciphers("ALL:@SECLEVEL=0")  # the client would do worse
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it is old, that is it
        context.minimum_version = getattr(ssl.TLSVersion, version)
        context.maximum_version = getattr(ssl.TLSVersion, version)
    if not answered:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            tls_socket(secure.port, context)
        return
    with tls_socket(secure.port, context) as wire:
        assert wire.version() == version.replace("_", ".")
        assert exchange(wire, request("GET", "/health/live")).status == 200


def test_plain_http_on_a_tls_port_is_closed_and_nothing_else_happens(secure, issuer):
    assert secure.raw(request("GET", "/health/live")).status == 0
    with secure.client(verify=issuer.context()) as client:
        assert client.get("/health/live").status_code == 200


def test_a_certificate_is_renewed_and_no_connection_dropped(tmp_path, issuer):
    chain, key, first = issuer.issue(tmp_path)
    receipt_key = api_story.make(tmp_path / "center")
    settings = {"TRACE_NODE_TLS_CERT": str(chain), "TRACE_NODE_TLS_KEY": str(key)}
    served = api_story.serve(tmp_path / "center", receipt_key, settings)
    try:
        with tls_socket(served.port, issuer.context()) as old:
            assert serial_of(old) == first
            assert exchange(old, request("GET", "/health/live")).status == 200
            _, _, second = issuer.issue(tmp_path)  # over the same files
            served.process.send_signal(signal.SIGHUP)
            assert eventually(lambda: serial_now(served, issuer) == second)
            assert exchange(old, request("GET", "/health/live")).status == 200

            key.write_bytes(b"no key")
            served.process.send_signal(signal.SIGHUP)
            assert eventually(lambda: "the old TLS certificate goes on" in served.log())
            assert serial_now(served, issuer) == second
            assert exchange(old, request("GET", "/health/live")).status == 200
    finally:
        api_story.end_process(served.process)
    assert served.process.returncode == 0


def serial_now(served, issuer):
    with tls_socket(served.port, issuer.context()) as wire:
        return serial_of(wire)


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01", b"\x16\x03\x01\x02\x00\x01"])
def test_a_slow_handshake_ends_with_patience(secure, sent):
    begin = time.monotonic()
    with secure.socket(10) as slow:
        slow.sendall(sent)
        assert slow.recv(1) == b""
    assert 0.8 < time.monotonic() - begin < 4


def test_a_slow_head_ends_with_patience_under_tls(wire):
    wire.sendall(b"GET /health/live HT")
    begin = time.monotonic()
    assert closed(wire)
    assert 0.8 < time.monotonic() - begin < 4


def test_a_head_too_long_is_refused_under_tls(wire):
    answer = exchange(wire, b"GET /health/live HTTP/1.1\r\nX: " + b"a" * 100_000)
    assert answer.status in {431, 0}
    assert closed(wire)


def closed(wire):
    try:
        return wire.recv(1) == b""
    except (ConnectionError, ssl.SSLError):
        return True


def test_a_request_may_ride_on_the_last_message_of_the_handshake(secure, issuer):
    """Sent in one piece: the server must not lose what comes early."""
    for _ in range(20):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = issuer.context().wrap_bio(
            incoming, outgoing, server_hostname="127.0.0.1"
        )
        with secure.socket() as plain:
            while True:
                try:
                    client.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    plain.sendall(outgoing.read())
                    incoming.write(plain.recv(65_536))
            client.write(request("GET", "/health/live"))
            plain.sendall(outgoing.read())  # Finished and the request together
            answer = b""
            while b"true" not in answer:
                try:
                    answer += client.read(65_536)
                except ssl.SSLWantReadError:
                    incoming.write(plain.recv(65_536))
            assert answer.startswith(b"HTTP/1.1 200")


def other_key(folder, issuer):
    chain, _, _ = issuer.issue(folder, "one")
    _, key, _ = issuer.issue(folder, "two")
    return chain, key


def no_pem(folder, issuer):
    chain, key, _ = issuer.issue(folder)
    chain.write_text("no certificate")
    return chain, key


def no_key(folder, issuer):
    chain, _, _ = issuer.issue(folder)
    return chain, chain


def absent(folder, issuer):
    _, key, _ = issuer.issue(folder)
    return folder / "nowhere.pem", key


WRONG = {
    "is not the key of": other_key,
    "holds no PEM certificate": no_pem,
    "holds no PEM private key": no_key,
    "cannot read": absent,
    "ended on": lambda f, i: i.issue(f, begin=-9, end=-1)[:2],
    "begins on": lambda f, i: i.issue(f, begin=1, end=9)[:2],
    "is encrypted": lambda f, i: i.issue(f, password=b"secret")[:2],
}


@pytest.mark.parametrize("told", WRONG)
def test_files_that_do_not_hold_are_told_in_a_sentence(tmp_path, issuer, told):
    with pytest.raises(Misuse, match=told):
        Tls(*WRONG[told](tmp_path, issuer))


def test_half_of_it_or_a_wrong_file_ends_the_command_with_2(tmp_path, issuer):
    chain, key = other_key(tmp_path, issuer)
    api_story.make(tmp_path / "center")
    for arguments, told in (
        (["--tls-cert", chain], "give both or neither"),
        (["--tls-cert", chain, "--tls-key", key], "is not the key of"),
    ):
        done = subprocess.run(
            [
                *(sys.executable, "-m", "trace_node", "serve", tmp_path / "center"),
                *("--port", "0", *arguments),
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 2
        assert told in done.stderr
        assert "Traceback" not in done.stderr


def test_a_command_reaches_a_center_of_a_private_authority(secure, issuer, tmp_path):
    """SSL_CERT_FILE names the authority; without it, the center cannot be asked."""

    def audit(**given):
        return subprocess.run(
            [
                *(sys.executable, "-m", "trace_node", "audit", secure.url),
                *("--policy", secure.folder / "policy.txt", "--json"),
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, **given},
            cwd=tmp_path,
        )

    good = audit(SSL_CERT_FILE=str(issuer.file))
    assert good.returncode == 0, good.stdout + good.stderr
    bad = audit()
    assert bad.returncode == 1
    assert '"unreachable"' in bad.stdout


def test_handshakes_that_say_nothing_yield_to_a_new_client(tmp_path, issuer):
    chain, key, _ = issuer.issue(tmp_path)
    receipt_key = api_story.make(tmp_path / "center")
    served = api_story.serve(
        tmp_path / "center",
        receipt_key,
        {"TRACE_NODE_CONNECTIONS": "4"},
        ["--tls-cert", chain, "--tls-key", key],
    )
    try:
        with contextlib.ExitStack() as stack:
            silent = [stack.enter_context(served.socket()) for _ in range(20)]
            wire = stack.enter_context(tls_socket(served.port, issuer.context()))
            answer = exchange(wire, request("GET", "/metrics"))
            assert b"trace_node_connections 4.0" in answer.body
            gone = [one for one in silent if closed_soon(one)]
            assert len(gone) >= 17
            assert gone == silent[: len(gone)]
        with tls_socket(served.port, issuer.context()) as wire:
            assert exchange(wire, request("GET", "/health/live")).status == 200
    finally:
        api_story.end_process(served.process)
    assert "Traceback" not in served.log()


def closed_soon(wire):
    wire.settimeout(0.05)
    try:
        return wire.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True
