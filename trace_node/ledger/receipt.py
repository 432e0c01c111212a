"""Receipts: the log's signed word that an entry is in it (RFC 9942, vds 1).

    18([ << {1: alg, 4: kid, 15: {1: iss, 2: sub}, 395: 1} >>,
         {396: {-1: [ << [size, index, [path…]] >> ]}},
         nil,
         signature over the Sig_structure with the root as payload ])

The payload is detached: whoever checks computes the root from the entry and the
path, and the signature holds for that root or it does not. All receipts of one
commit share root and signature, so a batch costs one signature. Consistency
receipts (-2 in place of -1) say the same of an older root. A statement that
carries its receipts under 394 is a Transparent Statement (RFC 9943).

Encodings are deterministic (RFC 8949 §4.2.1); nothing else is read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from trace_node.errors import BadProof, LimitExceeded, Malformed, Untrusted
from trace_node.ledger.merkle import roots_from_consistency
from trace_node.trust import cbor
from trace_node.trust.cbor import head
from trace_node.trust.keys import PublicKey, Signer
from trace_node.trust.merkle import HASH_SIZE, leaf_hash, root_from_inclusion

MAX_RECEIPT: Final = 8_192  # bytes; 63 hashes and a long sub fit
MAX_PATH: Final = 63  # hashes: a tree of 2^63 entries
MAX_RECEIPTS: Final = 16  # in one transparent statement
RFC9162_SHA256: Final = 1  # the verifiable data structure, label 395
_COSE_SIGN1_4: Final = b"\xd2\x84"  # tag 18, array of 4
_ALG, _KID, _CLAIMS, _ISS, _SUB, _VDS = 1, 4, 15, 1, 2, 395
_RECEIPTS, _PROOFS, _INCLUSION, _CONSISTENCY = 394, 396, -1, -2
_UINT, _BYTES, _ARRAY = 0, 2, 4  # CBOR major types
_PROOF_PARTS: Final = 3
# The lengths and the size are the same for a whole commit, or nearly so.
_head = lru_cache(maxsize=1024)(head)


@dataclass(frozen=True, slots=True)
class _Signed:
    """What both kinds share; ``protected`` is the encoded header."""

    alg: int
    kid: bytes
    iss: str
    sub: str
    signature: bytes
    protected: bytes


@dataclass(frozen=True, slots=True)
class Receipt(_Signed):
    """A decoded inclusion receipt: sizes count leaves, the path starts at the leaf."""

    size: int
    index: int
    path: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class ConsistencyReceipt(_Signed):
    """A decoded consistency receipt: tree ``size2`` extends tree ``size1``."""

    size1: int
    size2: int
    path: tuple[bytes, ...]


def receipt_protected(alg: int, kid: bytes, iss: str, sub: str) -> bytes:
    """Return the encoded protected header; one serves all receipts of a commit."""
    claims = {_ISS: iss, _SUB: sub}
    return cbor.encode({_ALG: alg, _KID: kid, _CLAIMS: claims, _VDS: RFC9162_SHA256})


def _signed(protected: bytes, root: bytes) -> bytes:
    """Return the Sig_structure (RFC 9052 §4.4) with the root as payload."""
    return cbor.encode(["Signature1", protected, b"", root])


def sign_root(signer: Signer, protected: bytes, root: bytes) -> bytes:
    """Return the signature that every receipt over ``root`` carries."""
    return signer.sign(_signed(protected, root))


def encode_receipt(
    protected: bytes, signature: bytes, size: int, index: int, path: Sequence[bytes]
) -> bytes:
    """Return an inclusion receipt; hashes are 32 bytes, as ``merkle`` made them.

    Put together by hand, for it runs once per entry.
    """
    return _assemble(protected, signature, b"\xa1\x20\x81", (size, index), path)


def encode_consistency_receipt(
    protected: bytes, signature: bytes, size1: int, size2: int, path: Sequence[bytes]
) -> bytes:
    """Return a consistency receipt; ``signature`` is over the root of ``size2``."""
    return _assemble(protected, signature, b"\xa1\x21\x81", (size1, size2), path)


def _assemble(
    protected: bytes,
    signature: bytes,
    kind: bytes,
    numbers: tuple[int, int],
    path: Sequence[bytes],
) -> bytes:
    """Return a receipt; ``kind`` is the encoded start of {-1 or -2: [ … ]}."""
    hashes = b"\x58\x20" + b"\x58\x20".join(path) if path else b""
    first, second = numbers
    proof = (
        b"\x83" + _head(_UINT, first) + head(_UINT, second)
        + _head(_ARRAY, len(path)) + hashes
    )  # fmt: skip
    return (
        b"\xd2\x84" + _head(_BYTES, len(protected)) + protected
        + b"\xa1\x19\x01\x8c" + kind + _head(_BYTES, len(proof)) + proof
        + b"\xf6" + _head(_BYTES, len(signature)) + signature
    )  # fmt: skip


def _sign1(data: bytes, where: str) -> list[Any]:
    """Return the four parts of a tagged COSE_Sign1, the first and last bytes."""
    if data[:2] != _COSE_SIGN1_4:
        raise Malformed("not a tagged COSE_Sign1", where=where)
    parts = cbor.decode(data[1:], where=where)
    protected, unprotected, _, signature = parts
    if (
        not isinstance(protected, bytes)
        or not isinstance(unprotected, dict)
        or not isinstance(signature, bytes)
    ):
        raise Malformed("not a COSE_Sign1", where=where)
    return list(parts)


def _header(protected: bytes) -> tuple[int, bytes, str, str]:
    """Return alg, kid, iss and sub; exactly these are there."""
    header = cbor.decode(protected, where="receipt protected")
    match header:
        case {1: int(alg), 4: bytes(kid), 15: {1: str(iss), 2: str(sub)}, 395: 1} if (
            len(header) == 4  # noqa: PLR2004 - the four just named
            and len(header[_CLAIMS]) == 2  # noqa: PLR2004
            and not isinstance(alg, bool)
            and not isinstance(header[_VDS], bool)
        ):
            return alg, kid, iss, sub
    raise Malformed("not the header of a receipt", where="receipt protected")


def _proof(
    unprotected: dict[Any, Any], kind: int
) -> tuple[int, int, tuple[bytes, ...]]:
    """Return the two numbers and the path of the one proof of this kind."""
    where = "receipt unprotected"
    match unprotected:
        case {396: {**proofs}} if len(unprotected) == 1 and list(proofs) == [kind]:
            encoded = proofs[kind]
        case _:
            raise Malformed("a receipt holds one kind of proof", where=where)
    if not isinstance(encoded, list) or len(encoded) != 1:
        raise Malformed("a receipt holds one proof", where=where)
    if not isinstance(encoded[0], bytes):
        raise Malformed("a proof is wrapped in bytes", where=where)
    proof = cbor.decode(encoded[0], where="receipt proof")
    if not isinstance(proof, list) or len(proof) != _PROOF_PARTS:
        raise Malformed("a proof has three parts", where="receipt proof")
    first, second, path = proof
    if type(first) is not int or type(second) is not int or min(first, second) < 0:
        raise Malformed("sizes and indices are counts", where="receipt proof")
    if not isinstance(path, list) or len(path) > MAX_PATH:
        raise Malformed("the path is a list of hashes", where="receipt proof")
    if any(not isinstance(h, bytes) or len(h) != HASH_SIZE for h in path):
        raise Malformed("a hash in the path is not 32 bytes", where="receipt proof")
    return first, second, tuple(path)


def _parts(data: bytes) -> tuple[bytes, dict[Any, Any], bytes]:
    """Return protected header, unprotected header and signature of a receipt."""
    if len(data) > MAX_RECEIPT:
        raise LimitExceeded(f"a receipt has at most {MAX_RECEIPT} bytes")
    protected, unprotected, payload, signature = _sign1(data, "receipt")
    if payload is not None:
        raise Malformed("the payload of a receipt is detached", where="receipt")
    return protected, unprotected, signature


def decode_receipt(data: bytes) -> Receipt:
    """Return an inclusion receipt, with nothing verified.

    Raises:
        Malformed: not exactly a receipt of this module's form.
        LimitExceeded: over 8,192 bytes.
    """
    protected, unprotected, signature = _parts(data)
    header = _header(protected)
    size, index, path = _proof(unprotected, _INCLUSION)
    return Receipt(*header, signature, protected, size, index, path)


def decode_consistency_receipt(data: bytes) -> ConsistencyReceipt:
    """Return a consistency receipt, with nothing verified; errors as above."""
    protected, unprotected, signature = _parts(data)
    header = _header(protected)
    size1, size2, path = _proof(unprotected, _CONSISTENCY)
    return ConsistencyReceipt(*header, signature, protected, size1, size2, path)


def _check_signature(receipt: _Signed, root: bytes, key: PublicKey) -> None:
    """Check that ``key`` signed this receipt over ``root``."""
    if receipt.kid != key.thumbprint:
        raise Untrusted("another key than the expected one made the receipt")
    message = _signed(receipt.protected, root)
    key.verify(receipt.alg, receipt.signature, message)


def verify_receipt(data: bytes, entry: bytes, key: PublicKey) -> Receipt:
    """Return the receipt after checking that ``key`` vouches for ``entry`` in it.

    Whether ``iss`` and ``sub`` are the expected ones is for the caller to ask.
    The signature covers the root alone (RFC 9942): that the entry is under it is
    proven, but another size and index of the same shape pass as well. Where the
    position decides something, take it from a ``tlogproof``: a checkpoint signs
    the size, and size and root leave one index.

    Raises:
        Malformed: not a receipt.
        BadProof: index, size and path do not fit each other.
        Untrusted: it names another key.
        BadSignature: entry, proof or header were changed. A changed proof shows
            here, too: the root it leads to is not the signed one.
    """
    return verify_leaf(data, leaf_hash(entry), key)


def verify_leaf(data: bytes, leaf: bytes, key: PublicKey) -> Receipt:
    """Do as ``verify_receipt`` for the entry with the hash ``leaf``."""
    receipt = decode_receipt(data)
    root = root_from_inclusion(leaf, receipt.index, receipt.size, receipt.path)
    _check_signature(receipt, root, key)
    return receipt


def verify_consistency_receipt(
    data: bytes, old_root: bytes, key: PublicKey
) -> tuple[ConsistencyReceipt, bytes]:
    """Return the receipt and the new root, which ``key`` vouches extends ``old_root``.

    From an empty tree no root can be computed, so ``size1`` 0 is refused.

    Raises:
        BadProof: the proof does not start at ``old_root``.
        Malformed, Untrusted, BadSignature: as ``verify_receipt``.
    """
    receipt = decode_consistency_receipt(data)
    size1, size2 = receipt.size1, receipt.size2
    old, new = roots_from_consistency(size1, old_root, size2, receipt.path)
    if old != old_root:
        raise BadProof("the proof does not start at the old root")
    _check_signature(receipt, new, key)
    return receipt, new


def attach_receipts(statement: bytes, receipts: Sequence[bytes]) -> bytes:
    """Return the transparent statement: receipts under label 394 (RFC 9943).

    Raises:
        Malformed: no COSE_Sign1 with an empty unprotected header, or no receipt.
        LimitExceeded: over 16 receipts.
    """
    parts = _sign1(statement, "statement")
    if parts[1]:
        raise Malformed("the unprotected header is not empty", where="statement")
    parts[1] = {_RECEIPTS: list(receipts)}
    transparent = b"\xd2" + cbor.encode(parts)
    detach(transparent)
    return transparent


def detach(data: bytes) -> tuple[bytes, list[bytes]]:
    """Return the statement as the log holds it, and the receipts it carried.

    A statement that carries none comes back as it is, with no receipts.

    Raises:
        Malformed: no COSE_Sign1, or another unprotected header than receipts.
        LimitExceeded: over 16 receipts.
    """
    parts = _sign1(data, "statement")
    if not parts[1]:
        return data, []
    receipts = parts[1].get(_RECEIPTS)
    if len(parts[1]) != 1 or not isinstance(receipts, list) or not receipts:
        raise Malformed("only receipts stand unprotected", where="statement")
    if len(receipts) > MAX_RECEIPTS:
        raise LimitExceeded(f"over {MAX_RECEIPTS} receipts", where="statement")
    if not all(isinstance(receipt, bytes) for receipt in receipts):
        raise Malformed("a receipt is bytes", where="statement")
    parts[1] = {}
    return b"\xd2" + cbor.encode(parts), receipts
