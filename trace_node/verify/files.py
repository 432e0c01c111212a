"""Recognise a file by its content, and check it as what it is.

bundle                  {"answer": …, "bundle": "trace-node-bundle@1", …}
proof                   c2sp.org/tlog-proof@v1 …         + the statement
transparent statement   d2 84 … with receipts under 394  + receipt keys
receipt                 d2 84 … with a proof under 396   + keys, the statement
checkpoint              a signed note
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final

import orjson

from trace_node.errors import BadProof, Malformed, Untrusted
from trace_node.ledger.receipt import Receipt, decode_receipt, detach, verify_receipt
from trace_node.ledger.tlogproof import parse_proof, verify_tlog_proof
from trace_node.trust import base64url
from trace_node.trust.keys import PublicKey
from trace_node.trust.policy import Policy
from trace_node.trust.record import ni
from trace_node.trust.statement import Statement, decode_statement
from trace_node.verify.bundle import verify_bundle
from trace_node.verify.verdict import Verdict, at, open_head

_COSE: Final = b"\xd2\x84"  # a tagged COSE_Sign1
_PROOF: Final = b"c2sp.org/tlog-proof@"
_UNSIGNED: Final = (
    "the issuer's signature was not checked: its key is in the log, not in this "
    "file; a bundle brings it along"
)
_EXTRA: Final = "the extra data of the proof are authenticated by nothing"
_POSITION: Final = (
    "a receipt signs the root, not the position: take index and size from a tlog-proof"
)


def verify_file(
    data: bytes,
    policy: Policy,
    *,
    statement: bytes | None = None,
    record: bytes | None = None,
    keys: Sequence[PublicKey] = (),
) -> Verdict:
    """Return what a file proves to whoever holds ``policy``.

    Args:
        data: the file.
        policy: whom the reader believes.
        statement: the log entry, for files that do not hold it; of one that does
            it must be the one.
        record: what the reader thinks is meant; its digest must be the one.
        keys: receipt keys that the reader trusts (a COSE_KeySet), for receipts.

    Raises:
        TraceNodeError: something does not hold; ``where`` names the place.
    """
    if data.startswith(_COSE):
        return _verify_cose(data, keys, statement, record)
    if data.startswith(_PROOF):
        return _verify_proof(data, policy, statement, record)
    if data.lstrip(b" \t\r\n").startswith(b"{"):
        verdict = verify_bundle(data, policy)
        _match_bundle(data, verdict, statement, record)
        return verdict
    if b"\n\n\xe2\x80\x94 " in data:
        if statement is not None or record is not None:
            raise _says_nothing_of_entries()
        return _verify_checkpoint(data, policy)
    raise Malformed(
        "neither a bundle, a proof, a receipt, a statement nor a checkpoint",
        where="byte 0",
    )


def verify_transparent(data: bytes, keys: Sequence[PublicKey]) -> Verdict:
    """Return what the receipts that a statement carries prove.

    Receipts of keys that are not given are passed over; one at least must be of
    a given key, and whatever a given key is named for must hold.

    Raises:
        Malformed: not a transparent statement.
        BadProof, BadSignature: a receipt does not hold.
        Untrusted: no receipt is by one of ``keys``.
    """
    entry, receipts = detach(data)
    with at("statement"):
        statement = decode_statement(entry)
    if not receipts:
        raise Malformed("the statement carries no receipt", where="statement")
    held: list[Receipt] = []
    for number, receipt in enumerate(receipts):
        with at(f"receipts[{number}]"):
            held += _receipt(receipt, entry, statement, keys)
    if not held:
        raise _needs_keys()
    return _receipt_verdict("transparent-statement", statement, held, len(receipts))


def _receipt(
    data: bytes, entry: bytes, statement: Statement, keys: Sequence[PublicKey]
) -> list[Receipt]:
    """Return the receipt after checking it; nothing if its key is not known."""
    kid = decode_receipt(data).kid
    for key in keys:
        if key.thumbprint == kid:
            receipt = verify_receipt(data, entry, key)
            if receipt.sub != statement.aud:
                raise BadProof("the receipt is of another log than the statement")
            return [receipt]
    return []


def _says_nothing_of_entries() -> Untrusted:
    error = Untrusted("a checkpoint does not say what is in the log", where="file")
    error.help = "Give the entry's proof in its place: it holds the checkpoint."
    return error


def _needs_keys() -> Untrusted:
    error = Untrusted("no key is given for its receipts", where="receipts")
    error.help = (
        "A policy names the key of checkpoints, not that of receipts: take a "
        "bundle, or give the log's /.well-known/scitt-keys with --keys."
    )
    return error


def _verify_cose(
    data: bytes,
    keys: Sequence[PublicKey],
    statement: bytes | None,
    record: bytes | None,
) -> Verdict:
    try:
        decode_receipt(data)
    except Malformed:
        if not keys:
            detach(data)  # what is no statement at all is said so first
            raise _needs_keys() from None
        said = decode_statement(detach(data)[0])
        if statement is not None and _entry(statement)[0] != said.raw:
            raise BadProof("this is another statement", where="statement") from None
        _match_record(said, record)
        return verify_transparent(data, keys)
    entry, said = _given(statement, record)
    with at("receipt"):
        held = _receipt(data, entry, said, keys)
    if not held:
        raise _needs_keys()
    return _receipt_verdict("receipt", said, held, 1)


def _receipt_verdict(
    kind: str, statement: Statement, held: list[Receipt], count: int
) -> Verdict:
    checks = [
        f"{receipt.iss} vouches that the statement is in its log {receipt.sub}"
        for receipt in held
    ]
    passed = count - len(held)
    ignored = (f"{passed} receipts of other keys were passed over",) if passed else ()
    return Verdict(
        kind,
        statement.aud,
        checks=tuple(checks),
        facts=_facts(statement),
        unproven=(_UNSIGNED, _POSITION, *ignored),
    )


def _verify_proof(
    data: bytes, policy: Policy, statement: bytes | None, record: bytes | None
) -> Verdict:
    with at("proof"):
        extra = parse_proof(data)[0]
    entry, said = _given(statement, record)
    with at("proof"):
        checkpoint, index, cosigners = verify_tlog_proof(data, entry, policy)
    if checkpoint.origin != said.aud:
        raise BadProof("the statement is made for another log", where="statement, aud")
    by = f", cosigned by {', '.join(name for name, _ in cosigners)}"
    return Verdict(
        "proof",
        checkpoint.origin,
        checkpoint.size,
        checkpoint.root,
        (
            (
                f"the head of {checkpoint.origin} with {checkpoint.size} entries is "
                f"signed{by if cosigners else ''}"
            ),
            f"the statement is entry {index} under its root",
        ),
        {**_facts(said), "index": index, "cosigners": [name for name, _ in cosigners]},
        (_UNSIGNED,) if extra is None else (_UNSIGNED, _EXTRA),
    )


def _verify_checkpoint(data: bytes, policy: Policy) -> Verdict:
    with at("checkpoint"):
        head = open_head(data, policy)
    tree = head.checkpoint
    return Verdict(
        "checkpoint",
        tree.origin,
        tree.size,
        tree.root,
        (head.check_line(),),
        {"cosigners": list(head.cosigners)},
        head.ignored(),
    )


def _given(statement: bytes | None, record: bytes | None) -> tuple[bytes, Statement]:
    """Return the entry that the reader gave, without receipts, and decoded."""
    if statement is None:
        error = Untrusted("the file says nothing without its statement", where="file")
        error.help = "Give the log entry with --statement."
        raise error
    entry, decoded = _entry(statement)
    _match_record(decoded, record)
    return entry, decoded


def _entry(statement: bytes) -> tuple[bytes, Statement]:
    """Return the statement that the reader gave as it stands in a log, and decoded."""
    with at("statement"):
        entry = detach(statement)[0] if statement.startswith(_COSE) else statement
        return entry, decode_statement(entry)


def _match_record(statement: Statement, record: bytes | None) -> None:
    if record is not None and sha256(record).digest() != statement.payload:
        raise BadProof("the statement is about another record", where="record")


def _match_bundle(
    data: bytes, verdict: Verdict, statement: bytes | None, record: bytes | None
) -> None:
    """Check that a bundle that holds is about what the reader gave."""
    if record is not None and ni(sha256(record).digest()) != verdict.facts["record"]:
        raise BadProof("the bundle is about another record", where="record")
    if statement is not None:
        text = base64url.encode(_entry(statement)[0])
        said = {mention["index"] for mention in verdict.facts["mentions"]}
        entries = orjson.loads(data)["entries"]
        if text not in (e["statement"] for e in entries if e["index"] in said):
            raise BadProof("the bundle is about other statements", where="statement")


def _facts(statement: Statement) -> dict[str, Any]:
    return {
        "issuer": statement.iss,
        "key": base64url.encode(statement.kid),
        "record": statement.sub,
        "media": statement.media,
    }
