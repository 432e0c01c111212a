import contextlib
import socket
import threading
from hashlib import sha256

import httpx
import pytest
from client_story import ALICE, ALICE_DID, FakeCenter, changed, content, manifest

from trace_node.client import Client, Registered
from trace_node.client.http import Wire
from trace_node.client.trusting import make_trust
from trace_node.errors import (
    BadProof,
    BadSignature,
    LimitExceeded,
    Malformed,
    Misuse,
    NotFound,
    NotVerified,
    Overloaded,
    Refused,
    TraceNodeError,
    Unreachable,
    Untrusted,
)
from trace_node.ledger.receipt import (
    decode_receipt,
    encode_receipt,
    receipt_protected,
    sign_root,
    verify_receipt,
)
from trace_node.trust.base64url import encode as base64url
from trace_node.trust.keys import MemorySigner
from trace_node.trust.merkle import leaf_hash, root_from_inclusion
from trace_node.trust.policy import parse_policy
from trace_node.trust.record import parse_record
from trace_node.trust.statement import decode_statement
from trace_node.trust.vkey import make_vkey


@pytest.fixture
def center(tmp_path):
    made = FakeCenter(tmp_path / "center")
    yield made
    made.node.close()


@pytest.fixture
def client(center):
    with center.client() as made:
        yield made


@pytest.fixture
def patient(monkeypatch):
    """Pauses are noted and not slept."""
    pauses = []
    monkeypatch.setattr("time.sleep", pauses.append)
    original = Wire.__init__
    monkeypatch.setattr(
        Wire,
        "__init__",
        lambda self, url, **more: original(self, url, **more, sleep=pauses.append),
    )
    return pauses


def on(center, method, path, make):
    """Let ``make(response)`` answer requests whose path ends so."""

    def tamper(request, response):
        hit = request.method == method and request.url.path.endswith(path)
        return make(response) if hit else response

    center.tamper = tamper


class TestRegister:
    def test_a_record_and_its_statement(self, center, client):
        record = content(1)
        statement = client.sign(record)
        done = client.register(statement, [record])
        assert isinstance(done, Registered)
        assert done.statement == statement
        assert done.identity == decode_statement(statement).identity
        verify_receipt(done.receipt, statement, center.node.keys.receipt.public)
        assert client.record(sha256(record).digest()) == record
        assert client.register(statement, [record]) == done

    def test_without_its_record(self, client):
        assert client.register(client.sign(content(2))).index >= 3

    def test_a_manifest(self, client):
        records = [content(n) for n in range(5)]
        done = client.register(manifest(client, records), records)
        assert client.record(sha256(records[3]).digest()) == records[3]
        proof = client.proof(done.index, done.statement)
        assert proof.startswith(b"c2sp.org/tlog-proof@v1\n")

    def test_another_record_is_refused_before_sending(self, center, client):
        statement = client.sign(content(3))
        sent = len(center.requests)
        with pytest.raises(Malformed):
            client.register(statement, [content(4)])
        assert not any("POST" in r or "PUT" in r for r in center.requests[sent:])

    def test_for_another_log_is_refused_before_sending(self, center, client, tmp_path):
        other = FakeCenter(tmp_path / "other", "other.example/log")
        with (
            other.client() as stranger,
            pytest.raises(Refused, match=r"other\.example"),
        ):
            client.register(stranger.sign(content(5)))
        other.node.close()
        assert not any("POST" in r for r in center.requests)

    def test_a_refusal_keeps_its_reason(self, center):
        eve = MemorySigner.from_seed("Ed25519", b"\3" * 32)
        with center.client(signer=eve) as client, pytest.raises(Refused) as caught:
            client.register(client.sign(content(6)))
        assert caught.value.type == "refused-unknown-key"

    def test_needs_a_policy(self, center):
        with center.client(policy=None) as client, pytest.raises(Misuse):
            client.sign(content(7))

    def test_many_in_order_with_refusals_between(self, center, client):
        records = [content(n) for n in range(150)]
        items = [(client.sign(record), [record]) for record in records]
        items[70] = (items[70][0], [content(0)])  # another record
        outcomes = list(client.submit_many(items))
        assert [type(o) for o in outcomes[69:72]] == [Registered, Refused, Registered]
        good = [o for o in outcomes if isinstance(o, Registered)]
        assert len(good) == 149
        assert [o.statement for o in outcomes[:70]] == [s for s, _ in items[:70]]
        assert center.requests.count("POST /submissions") == 3
        assert list(client.submit_many(items[:70])) == outcomes[:70]

    def test_the_same_statement_under_an_earlier_signature(self, center, client):
        # (r, n - s) is as valid as (r, s): the log keeps the first that came.
        statement = client.sign(content(8))
        order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
        other_s = (order - int.from_bytes(statement[-32:])).to_bytes(32)
        first = statement[:-32] + other_s
        center.register(first)
        assert client.register(statement).statement == first


class TestBundle:
    def test_is_verified(self, client):
        record = content(1)
        client.register(client.sign(record), [record])
        assert client.bundle(sha256(record).digest()).startswith(b"{")

    def test_changed_on_the_way(self, center, client):
        record = content(1)
        client.register(client.sign(record), [record])

        def change(response):
            data = response.content.replace(b'"issuer":"did', b'"issuer":"dit')
            return httpx.Response(200, content=data)

        on(center, "GET", "", change)
        with pytest.raises(TraceNodeError) as caught:
            client.bundle(sha256(record).digest())
        assert isinstance(caught.value, NotVerified | Malformed)

    def test_an_answer_to_another_question(self, center, client):
        records = [content(1), content(2)]
        for record in records:
            client.register(client.sign(record), [record])
        other = client.bundle(sha256(records[1]).digest())
        on(center, "GET", "", lambda _: httpx.Response(200, content=other))
        with pytest.raises(BadProof, match="question"):
            client.bundle(sha256(records[0]).digest())

    def test_unknown(self, client):
        with pytest.raises(NotFound):
            client.bundle(bytes(32))

    def test_another_record(self, center, client):
        on(center, "GET", "", lambda _: httpx.Response(200, content=content(1)))
        with pytest.raises(BadProof):
            client.record(bytes(32))


def forged(receipt, statement, center, **change):
    """Sign a receipt over the right root with another header or key."""
    decoded = decode_receipt(receipt)
    node = center.node
    signer = change.get("signer", node.keys.receipt)
    protected = receipt_protected(
        signer.alg,
        change.get("kid", signer.public.thumbprint),
        change.get("iss", node.did),
        change.get("sub", node.settings.origin),
    )
    root = root_from_inclusion(
        leaf_hash(statement), decoded.index, decoded.size, decoded.path
    )
    return encode_receipt(
        protected,
        sign_root(signer, protected, root),
        decoded.size,
        decoded.index,
        decoded.path,
    )


class TestLyingServer:
    """Whatever a center answers, only what is true comes out of the client."""

    @pytest.fixture(params=["single", "bulk"])
    def attempt(self, request, center, client):
        """Register one statement by either door; ``lie(receipt, index)`` answers."""
        client.trust()
        record = content(1)
        statement = client.sign(record)

        def run(lie):
            def tamper(req, response):
                if req.method != "POST":
                    return response
                placed = center.register(statement)
                receipt, index = lie(placed.receipt, placed.index)
                if req.url.path == "/entries":
                    where = {"location": f"/entries/1.{index}"}
                    return httpx.Response(201, content=receipt, headers=where)
                return changed(response, receipt=base64url(receipt), index=index)

            center.tamper = tamper
            if request.param == "single":
                return client.register(statement, [record])
            return next(client.submit_many([(statement, [record])]))

        run.statement = statement
        return run

    def test_the_truth_passes(self, attempt):
        assert attempt(lambda receipt, index: (receipt, index)).index >= 3

    def test_receipt_of_another_entry(self, center, attempt):
        other = center.register(center.client().sign(content(2)))
        with pytest.raises(BadSignature):
            attempt(lambda receipt, index: (other.receipt, other.index))

    def test_wrong_index(self, attempt):
        with pytest.raises(BadProof):
            attempt(lambda receipt, index: (receipt, index + 1))

    @pytest.mark.parametrize("change", [{"iss": ALICE_DID}, {"sub": "other/log"}])
    def test_of_another_issuer_or_log(self, center, attempt, change):
        with pytest.raises(Untrusted):
            attempt(lambda r, i: (forged(r, attempt.statement, center, **change), i))

    def test_by_another_key(self, center, attempt):
        with pytest.raises(Untrusted):
            attempt(
                lambda r, i: (forged(r, attempt.statement, center, signer=ALICE), i)
            )

    def test_by_another_key_under_the_right_name(self, center, attempt):
        kid = center.node.keys.receipt.public.thumbprint
        eve = MemorySigner.from_seed("Ed25519", b"\4" * 32)
        with pytest.raises(BadSignature):
            attempt(
                lambda r, i: (
                    forged(r, attempt.statement, center, signer=eve, kid=kid),
                    i,
                )
            )

    def test_a_place_that_the_receipt_alone_cannot_rule_out(self, center, attempt):
        # The signature covers the root: (3, 4) and (6, 7) have paths of one shape.
        # Asked for the proof of the place it claims, the center shows the true one.
        def lie(receipt, index):
            true_proof = center.node.receipts.tlog_proof(index)
            posts = center.tamper

            def tamper(request, response):
                if request.url.path.endswith("/proof"):
                    return httpx.Response(200, content=true_proof)
                return posts(request, response)

            center.tamper = tamper
            decoded = decode_receipt(receipt)
            for size in range(decoded.size + 1, 64):
                other = size - 1
                moved = encode_receipt(
                    decoded.protected, decoded.signature, size, other, decoded.path
                )
                try:
                    verify_receipt(
                        moved, attempt.statement, center.node.keys.receipt.public
                    )
                except NotVerified:
                    continue
                return moved, other
            raise AssertionError

        with pytest.raises(BadProof, match="the entry is at"):
            attempt(lie)

    def test_every_changed_byte(self, attempt, center):
        receipt = center.register(attempt.statement).receipt
        for at in range(0, len(receipt), 3):
            bad = bytearray(receipt)
            bad[at] ^= 1
            with pytest.raises((NotVerified, Malformed, NotFound)):
                attempt(lambda r, i, bad=bytes(bad): (bad, i))

    def test_garbage(self, attempt):
        with pytest.raises(Malformed):
            attempt(lambda receipt, index: (b"", index))


class TestLiesAboutItself:
    @pytest.mark.parametrize("path", ["/statement", "/proof"])
    def test_entry_0_of_another_center_of_the_same_name(self, center, tmp_path, path):
        other = FakeCenter(tmp_path / "other")
        on(
            center,
            "GET",
            path,
            lambda _: other(httpx.Request("GET", f"http://x/entries/1.0{path}")),
        )
        with center.client() as client, pytest.raises(NotVerified):
            client.trust()
        other.node.close()

    def test_entry_1_for_entry_0(self, center):
        def tamper(request, response):
            path = request.url.path.replace("1.0", "1.2")
            if path == request.url.path:
                return response
            return center._answer(httpx.Request("GET", f"http://x{path}"))

        center.tamper = tamper
        with center.client() as client, pytest.raises(BadProof):
            client.trust()

    def test_a_later_policy_for_entry_0(self, center):
        node = center.node
        first = node.log.entry(0)
        payload = decode_statement(first.statement).payload
        body = parse_record(node.vault.read(payload)).body
        node.clock = lambda: first.recorded + 60  # a policy must be later
        later = node.say("registration-policy", body).index

        def tamper(request, response):
            path = request.url.path.replace("1.0", f"1.{later}")
            if path == request.url.path:
                return response
            return center._answer(httpx.Request("GET", f"http://x{path}"))

        center.tamper = tamper
        with center.client() as client, pytest.raises(BadProof, match="first entry"):
            client.trust()

    def test_another_policy_record_behind_the_digest(self, center):
        statement = center.node.log.entry(0).statement
        proof = center.node.receipts.tlog_proof(0)
        record = center.node.vault.read(decode_statement(statement).payload)
        assert make_trust(statement, proof, record, center.policy)
        other = record.replace(b"traceability", b"Traceability")
        with pytest.raises(Untrusted):
            make_trust(statement, proof, other, center.policy)

    def test_another_policy_record(self, center):
        def record(response):
            data = response.content.replace(b"traceability", b"Traceability")
            return httpx.Response(200, content=data)

        def tamper(request, response):
            return record(response) if "/v1/records" in request.url.path else response

        center.tamper = tamper
        with center.client() as client, pytest.raises(BadProof):
            client.trust()

    def test_a_policy_for_another_log(self, center, tmp_path):
        other = FakeCenter(tmp_path / "other", "other.example/log")
        with center.client(policy=other.policy) as client, pytest.raises(Untrusted):
            client.trust()
        other.node.close()

    def test_a_quorum_that_is_not_met(self, center):
        log = str(center.policy.logs[0][0])
        witness = MemorySigner.from_seed("Ed25519", b"\5" * 32).public
        key = make_vkey("w.example", 4, witness.x)
        policy = parse_policy(f"log {log}\nwitness W {key}\nquorum W\n")
        with center.client(policy=policy) as client, pytest.raises(Untrusted):
            client.trust()


class TestPatience:
    def test_overload_is_waited_out(self, center, client, patient):
        left = [3]

        def busy(response):
            left[0] -= 1
            if left[0] < 0:
                return response
            return httpx.Response(503, headers={"retry-after": "2"})

        with center.client() as client:
            statement = client.sign(content(1))
            on(center, "POST", "/entries", busy)
            assert client.register(statement).index >= 3
        assert patient == [2, 2, 2]

    def test_overload_that_does_not_end(self, center, patient):
        with center.client() as client:
            statement = client.sign(content(1))
            refuse = httpx.Response(429, headers={"retry-after": "7"})
            on(center, "POST", "/entries", lambda _: refuse)
            with pytest.raises(Overloaded) as caught:
                client.register(statement)
        assert caught.value.retry_after == 7
        assert 1 <= len(patient) < 10
        assert sum(patient) <= 60

    def test_bulk_answers_cut_off_are_asked_for_again(self, center, patient):
        def cut(response):
            return httpx.Response(200, content=response.content[: 3 * 700])

        with center.client() as client:
            items = [(client.sign(content(n)), []) for n in range(9)]
            on(center, "POST", "/submissions", cut)
            outcomes = list(client.submit_many(items))
        assert [o.statement for o in outcomes] == [s for s, _ in items]
        assert patient

    def test_a_center_that_gets_on_slowly_is_not_given_up(self, center, patient):
        def first_line(response):
            end = response.content.index(b"\n") + 1
            return httpx.Response(200, content=response.content[:end])

        with center.client() as client:
            items = [(client.sign(content(n)), []) for n in range(20)]
            on(center, "POST", "/submissions", first_line)
            outcomes = list(client.submit_many(items))
        assert [o.statement for o in outcomes] == [s for s, _ in items]

    def test_bulk_is_as_patient_as_the_client(self, center, patient):
        with center.client(patience=0.0) as client:
            items = [(client.sign(content(1)), [])]
            on(center, "POST", "/submissions", lambda _: httpx.Response(200))
            with pytest.raises(Unreachable):
                next(client.submit_many(items))
        assert not patient

    def test_bulk_without_an_end(self, center, patient):
        with center.client() as client:
            items = [(client.sign(content(1)), [])]
            on(center, "POST", "/submissions", lambda _: httpx.Response(200))
            with pytest.raises(Unreachable):
                next(client.submit_many(items))

    def test_bulk_answers_what_was_not_asked(self, center, patient):
        with center.client() as client:
            items = [(client.sign(content(1)), [])]
            on(center, "POST", "/submissions", lambda r: changed(r, position=4))
            with pytest.raises(Malformed):
                next(client.submit_many(items))

    def test_nobody_there(self, patient):
        def refuse(request):
            raise httpx.ConnectError("refused", request=request)

        policy = parse_policy("quorum none\n")
        client = Client(
            "http://c", policy=policy, transport=httpx.MockTransport(refuse)
        )
        with client, pytest.raises(Unreachable) as caught:
            client.trust()
        assert caught.value.help
        assert len(patient) == 7
        assert sum(patient) < 60

    @pytest.mark.parametrize(
        ("answer", "error"),
        [
            (httpx.Response(302, headers={"location": "http://e/"}), Unreachable),
            (httpx.Response(404), NotFound),
            (httpx.Response(500, content=b"oops"), Unreachable),
            (httpx.Response(200, content=b"x" * 2_000_000), LimitExceeded),
            (
                httpx.Response(200, headers={"content-encoding": "br"}, content=b""),
                Unreachable,
            ),
            (
                httpx.Response(
                    400,
                    headers={"content-type": "application/problem+json"},
                    content=b'{"type": "urn:trace-node:problem:malformed", '
                    b'"detail": "\\u001b[31mred\\n"}',
                ),
                Malformed,
            ),
        ],
    )
    def test_answers_that_are_none(self, patient, answer, error):
        def send(_):
            return answer

        client = Client("http://c", policy=None, transport=httpx.MockTransport(send))
        with client, pytest.raises(error) as caught:
            client.record(bytes(32))
        assert "\x1b" not in str(caught.value)

    def test_what_a_server_sends_does_not_move_the_cursor(self, patient):
        def send(request):
            raise httpx.RemoteProtocolError("\x1b[2Jno" + "x" * 9_000)

        client = Client("http://c", policy=None, transport=httpx.MockTransport(send))
        with client, pytest.raises(Unreachable) as caught:
            client.record(bytes(32))
        assert "\x1b" not in str(caught.value)
        assert len(str(caught.value)) < 1_000

    def test_another_address_of_the_center(self, center):
        client = Client(
            "http://c",
            policy=center.policy,
            transport=httpx.MockTransport(lambda _: httpx.Response(404)),
        )
        with client, pytest.raises(Unreachable, match="no center") as caught:
            client.trust()
        assert "/log" in caught.value.help

    def test_tls_that_cannot_work_is_not_tried_again(self, patient):
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            listener.settimeout(10)
            port, asked = listener.getsockname()[1], []

            def plain_http():
                with contextlib.suppress(OSError):
                    while True:
                        connection = listener.accept()[0]
                        asked.append(1)
                        with connection:
                            connection.recv(1_000)
                            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

            thread = threading.Thread(target=plain_http, daemon=True)
            thread.start()
            client = Client(f"https://127.0.0.1:{port}", policy=None)
            with client, pytest.raises(Unreachable):
                client.record(bytes(32))
            assert len(asked) == 1
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)

    @pytest.mark.parametrize(
        "url",
        [
            "",
            "center.example",
            "ftp://c",
            "http://",
            "http://u:p@c",
            "http://c?x",
            "http://c:99999",
        ],
    )
    def test_urls_that_are_none(self, url):
        with pytest.raises(Misuse):
            Client(url, policy=None)
