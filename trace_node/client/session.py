"""The client: registers statements and asks, and returns only what was verified."""

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from types import TracebackType
from typing import Final, Self

import httpx

from trace_node.client import submissions
from trace_node.client.http import PATIENCE, TIMEOUT, Wire
from trace_node.client.submissions import Submission
from trace_node.client.trusting import (
    Registered,
    Trust,
    check_place,
    entry_zero_payload,
    make_trust,
)
from trace_node.errors import (
    BadProof,
    BadSignature,
    Malformed,
    Misuse,
    NotFound,
    Refused,
    TraceNodeError,
    Unreachable,
)
from trace_node.ledger.receipt import MAX_RECEIPT
from trace_node.ledger.tlogproof import MAX_PROOF
from trace_node.trust import base64url
from trace_node.trust.keys import Signer
from trace_node.trust.policy import Policy
from trace_node.trust.record import MAX_RECORD, RECORD_MEDIA, ni
from trace_node.trust.statement import (
    MAX_STATEMENT,
    Statement,
    decode_statement,
    sign_statement,
    verify_statement,
)
from trace_node.verify import verify_bundle

MAX_BUNDLE: Final = 64 << 20  # bytes
_COSE: Final = "application/cose"


Outcome = Registered | TraceNodeError


class Client:
    """One center, as somebody with a policy file sees it; a context manager.

    Safe to use again after any error; not safe in two threads at once.
    """

    def __init__(
        self,
        url: str,
        *,
        policy: Policy | None,
        signer: Signer | None = None,
        iss: str | None = None,
        timeout: float = TIMEOUT,
        patience: float = PATIENCE,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Name the center; nothing is sent yet.

        Args:
            url: of the center, such as "http://127.0.0.1:8080".
            policy: whose log is believed; without it only ``record`` works, for
                a record proves itself by its name.
            signer: signs for ``sign``.
            iss: DID that ``sign`` speaks for.
            timeout: seconds without a byte before a try fails.
            patience: seconds of pauses between the tries of one request.
            transport: replaces the network, for tests.

        Raises:
            Misuse: ``url`` is none.
        """
        self._wire = Wire(url, timeout=timeout, patience=patience, transport=transport)
        self._policy = policy
        self._signer = signer
        self._iss = iss
        self._trust: Trust | None = None

    def __enter__(self) -> Self:
        """Return the client itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._wire.close()

    def trust(self) -> Trust:
        """Return whom to believe here; asked once, from entry 0 and the policy.

        Raises:
            Misuse: there is no policy.
            NotVerified: the center cannot show that it keeps the policy's log.
            Unreachable: it does not answer.
        """
        if self._trust is None:
            policy = self._need_policy()
            statement = self._entry_zero()
            proof = self._get("/entries/1.0/proof", MAX_PROOF)
            record = self.record(entry_zero_payload(statement, proof, policy))
            self._trust = make_trust(statement, proof, record, policy)
        return self._trust

    def sign(self, preimage: bytes, *, media: str = RECORD_MEDIA) -> bytes:
        """Return a statement for this log about ``preimage`` (a record, a manifest).

        Raises:
            Misuse: the client was given no signer or no DID.
        """
        if self._signer is None or self._iss is None:
            raise Misuse("this client was given no key and DID to sign with")
        return sign_statement(
            self._signer,
            iss=self._iss,
            aud=self.trust().origin,
            media=media,
            preimage=preimage,
        )

    def register(self, statement: bytes, records: Sequence[bytes] = ()) -> Registered:
        """Register one statement, its records first.

        Registering the same statement again returns its first receipt.

        Args:
            statement: signed, for this log.
            records: what it is about: one record, or all of a manifest in order;
                none if the center has them or they stay away for now.

        Raises:
            Refused, Malformed: the center does not register it.
            NotVerified: what the center answered does not hold.
            Unreachable, Overloaded: it could not be asked; try again.
        """
        decoded = self._check(statement)
        if decoded.is_manifest and records:
            outcome = next(self.submit_many([(statement, list(records))]))
            if isinstance(outcome, TraceNodeError):
                raise outcome
            return outcome
        for record in records:
            if sha256(record).digest() != decoded.payload:
                raise Malformed("the statement is about another record")
            self.put_record(record)
        answer = self._wire.request(
            "POST", "/entries", content=statement, media=_COSE, limit=MAX_RECEIPT
        )
        index = _entry_index(answer.headers.get("location", ""))
        return self._accept(decoded, index, answer.body)

    def submit_many(self, items: Iterable[Submission]) -> Iterator[Outcome]:
        """Register many; yields an outcome for each of ``items``, in their order.

        Lazily, in requests of at most 64 statements. Breaking off and submitting
        the same again loses nothing and registers nothing twice.

        Args:
            items: (statement, records) each.

        Yields:
            What was registered, or why not.

        Raises:
            NotVerified: what the center answered does not hold.
            Unreachable, Overloaded: it could not be asked; try again.
        """
        for group in submissions.requests(items):
            decoded = [self._check(statement) for statement, _ in group]
            told = submissions.send(self._wire, group)
            for statement, outcome in zip(decoded, told, strict=True):
                if isinstance(outcome, TraceNodeError):
                    yield outcome
                else:
                    yield self._accept(statement, *outcome)

    def put_record(self, record: bytes) -> None:
        """Bring a record's bytes ahead of its statement."""
        name = base64url.encode(sha256(record).digest())
        self._wire.request(
            "PUT", f"/v1/records/{name}", content=record, media=RECORD_MEDIA
        )

    def record(self, digest: bytes) -> bytes:
        """Return the record with this SHA-256.

        Raises:
            NotFound: the center does not hold it, or not for us.
            BadProof: it answered with something else.
        """
        name = base64url.encode(digest)
        data = self._get(f"/v1/records/{name}", MAX_RECORD)
        if sha256(data).digest() != digest:
            raise BadProof("the center answered with another record", where="record")
        return data

    def bundle(self, digest: bytes) -> bytes:
        """Return a verified bundle about a record: who registered it, and when.

        Raises:
            NotFound: no entry of the log speaks of it.
            NotVerified, Malformed: the bundle does not hold.
        """
        policy = self._need_policy()
        name = base64url.encode(digest)
        data = self._get(f"/v1/records/{name}?format=bundle", MAX_BUNDLE)
        if verify_bundle(data, policy).facts["record"] != ni(digest):
            raise BadProof("the bundle answers another question", where="question")
        return data

    def proof(self, index: int, statement: bytes) -> bytes:
        """Return the tlog-proof that ``statement`` is entry ``index``, verified.

        Raises:
            NotVerified: it is not there.
        """
        policy, origin = self._need_policy(), self.trust().origin
        proof = self._get(f"/entries/1.{index}/proof", MAX_PROOF)
        check_place(proof, statement, index, origin, policy)
        return proof

    def _get(self, path: str, limit: int) -> bytes:
        return self._wire.request("GET", path, limit=limit).body

    def _entry_zero(self) -> bytes:
        try:
            return self._get("/entries/1.0/statement", MAX_STATEMENT)
        except NotFound:
            told = Unreachable(f"{self._wire.url} is no center: it has no entry 0")
            told.help = "The address is the center's own, without /log or other paths."
            raise told from None

    def _need_policy(self) -> Policy:
        if self._policy is None:
            raise Misuse("a policy file says whose log to believe; none was given")
        return self._policy

    def _check(self, statement: bytes) -> Statement:
        """Refuse here what this log cannot take, before anything is sent."""
        decoded = decode_statement(statement)
        if decoded.aud != self.trust().origin:
            raise Refused(f"the statement is made for {decoded.aud}", where="aud")
        return decoded

    def _accept(self, statement: Statement, index: int, receipt: bytes) -> Registered:
        """Return what is registered once receipt and position are proven."""
        trust = self.trust()
        entry = statement.raw
        try:
            trust.check_receipt(receipt, entry, index)
        except BadSignature:
            entry = self._first_form(statement, index)
            trust.check_receipt(receipt, entry, index)
        self.proof(index, entry)
        return Registered(index, receipt, entry, statement.identity)

    def _first_form(self, statement: Statement, index: int) -> bytes:
        """Return the entry that holds our statement under an earlier signature.

        A signer that draws ECDSA nonces at random signs the same statement with
        another signature each time; the log keeps the first.

        Raises:
            BadSignature: it is another statement, or we cannot tell.
        """
        found = decode_statement(
            self._get(f"/entries/1.{index}/statement", MAX_STATEMENT)
        )
        if found.raw == statement.raw or found.identity != statement.identity:
            raise BadSignature("the receipt is not for this statement", where="receipt")
        if self._signer is None:
            raise BadSignature(
                "the log holds this statement under an earlier signature, which only "
                f"a client with its key can check (entry {index})"
            )
        verify_statement(found, self._signer.public)
        return found.raw


def _entry_index(location: str) -> int:
    """Return the index in ``…/entries/1.<index>``."""
    _, mark, text = location.rpartition("/entries/1.")
    if not mark or not text.isascii() or not text.isdigit() or len(text) > 19:  # noqa: PLR2004 - of 2^63
        raise Malformed("the center names no entry", where="header location")
    return int(text)
