"""Trust in a center: from a policy file to the keys that its receipts need.

The policy knows the log's key. A tlog-proof shows that entry 0 is in that log,
entry 0 names the record that sets the center up, and that record names the
operator and the receipt keys. Nothing else that a center says about itself counts.
"""

from dataclasses import dataclass, replace

from trace_node.errors import BadProof, Refused, Untrusted
from trace_node.ledger.receipt import Receipt, decode_receipt, verify_receipt
from trace_node.ledger.tlogproof import verify_tlog_proof
from trace_node.trust.governance import Governance
from trace_node.trust.keys import PublicKey
from trace_node.trust.policy import Policy
from trace_node.trust.statement import (
    POLICY_MEDIA,
    decode_statement,
    verify_statement,
)


@dataclass(frozen=True, slots=True)
class Trust:
    """What entry 0 of a log says, after it was proven.

    Args:
        origin: the log's name; statements are made for it.
        operator: DID of the operator, the issuer of receipts.
        receipt_keys: by thumbprint.
    """

    origin: str
    operator: str
    receipt_keys: dict[bytes, PublicKey]

    def check_receipt(self, data: bytes, entry: bytes, index: int) -> Receipt:
        """Return the receipt after checking that it is this log's, for ``entry``.

        The signature is over the root alone, so a receipt cannot prove the
        position: ``check_place`` does.

        Args:
            data: the receipt.
            entry: the statement's bytes.
            index: where the center says the entry is.

        Raises:
            Malformed: no receipt.
            Untrusted: made by another key, issuer or log.
            BadSignature: entry, proof or header were changed.
            BadProof: the receipt is for another position.
        """
        kid = decode_receipt(data).kid
        key = self.receipt_keys.get(kid)
        if key is None:
            raise Untrusted("no receipt key of this log made the receipt")
        receipt = verify_receipt(data, entry, key)
        if receipt.iss != self.operator or receipt.sub != self.origin:
            raise Untrusted("the receipt is not of this log and its operator")
        if receipt.index != index:
            raise BadProof(
                f"the receipt is for entry {receipt.index}, not {index}",
                where="receipt",
            )
        return receipt


@dataclass(frozen=True, slots=True)
class Registered:
    """A statement that is in the log, as verified here.

    Args:
        index: of the entry.
        receipt: the log's word for it (COSE Receipt).
        statement: the bytes in the log.
        identity: SHA-256 of the signed bytes, 32 bytes.
    """

    index: int
    receipt: bytes
    statement: bytes
    identity: bytes


def entry_zero_payload(statement: bytes, proof: bytes, policy: Policy) -> bytes:
    """Return the digest of the record that sets up the log, once entry 0 is proven.

    Raises:
        Untrusted: the policy does not know the log, or its quorum is not met.
        BadProof: it is not entry 0 of that log.
        BadSignature: somebody else signed.
    """
    _, index, _ = verify_tlog_proof(proof, statement, policy)
    decoded = decode_statement(statement)
    if index != 0 or decoded.media != POLICY_MEDIA:
        raise BadProof("this is not the first entry of a log", where="entry 0")
    return decoded.payload


def make_trust(statement: bytes, proof: bytes, record: bytes, policy: Policy) -> Trust:
    """Return the trust that entry 0 gives.

    Args:
        statement: entry 0.
        proof: its tlog-proof.
        record: the registration policy that it is about.
        policy: whom the reader believes.

    Raises:
        NotVerified: a proof or signature does not hold.
        Malformed: a part is not what it claims to be.
    """
    entry_zero_payload(statement, proof, policy)
    decoded = decode_statement(statement)
    checkpoint, _, _ = verify_tlog_proof(proof, statement, policy)
    fold = Governance(checkpoint.origin)
    try:
        verify_statement(decoded, fold.signing_key(decoded, record))
        fold.apply(0, decoded, record)
    except Refused as error:
        raise Untrusted(f"entry 0 is none: {error.message}") from None
    keys = {
        kid: state.public for kid, state in fold.keys.items() if state.use == "receipt"
    }
    return Trust(checkpoint.origin, fold.operator, keys)


def check_place(
    proof: bytes, statement: bytes, index: int, origin: str, policy: Policy
) -> None:
    """Check that ``statement`` is entry ``index`` of ``origin``, by a signed head.

    The log's own signature is enough here; witnesses come later (``finality``).

    Raises:
        NotVerified: it is not, or nobody trusted says so.
        Malformed: no proof.
    """
    local = replace(policy, quorum=None)
    checkpoint, proven, _ = verify_tlog_proof(proof, statement, local)
    if checkpoint.origin != origin:
        raise Untrusted("the proof is of another log", where="proof")
    if proven != index:
        raise BadProof(f"the entry is at {proven}, not {index}", where="proof")
