"""The keys that receipts are checked with, as one file (SCRAPI, COSE_KeySet).

A COSE_KeySet (RFC 9052 §7) is an array of COSE_Keys. Each of ours also carries
2: kid, its thumbprint (RFC 9679), and 3: alg, so that a client takes the key
whose kid stands in the receipt.
"""

from collections.abc import Sequence
from typing import Final

from trace_node.errors import LimitExceeded, Malformed
from trace_node.trust import cbor
from trace_node.trust.keys import ED25519, ESP256, PublicKey

MAX_KEYS: Final = 64
_KID, _ALG = 2, 3
_ALGS: Final = {"Ed25519": ED25519, "P-256": ESP256}


def encode_key_set(keys: Sequence[PublicKey]) -> bytes:
    """Return the key set, keys in the given order.

    Raises:
        LimitExceeded: over 64 keys.
    """
    if len(keys) > MAX_KEYS:
        raise LimitExceeded(f"a key set has at most {MAX_KEYS} keys")
    members = [
        cbor.decode(key.cose) | {_KID: key.thumbprint, _ALG: _ALGS[key.curve]}
        for key in keys
    ]
    return cbor.encode(members)


def decode_key_set(data: bytes) -> list[PublicKey]:
    """Return the keys of a set, at least one.

    Raises:
        Malformed: not a key set, or a kid or alg that does not fit its key.
        LimitExceeded: over 64 keys.
    """
    members = cbor.decode(data, where="key set")
    if not isinstance(members, list) or not members:
        raise Malformed("a key set is an array of keys", where="key set")
    if len(members) > MAX_KEYS:
        raise LimitExceeded(f"a key set has at most {MAX_KEYS} keys")
    keys: list[PublicKey] = []
    for position, member in enumerate(members):
        where = f"key set, key {position}"
        if not isinstance(member, dict):
            raise Malformed("a key is a map", where=where)
        key = PublicKey.from_cose(cbor.encode(member))
        if member.get(_KID) != key.thumbprint or member.get(_ALG) != _ALGS[key.curve]:
            raise Malformed("kid or alg does not fit the key", where=where)
        if key in keys:
            raise Malformed("the key is there twice", where=where)
        keys.append(key)
    return keys
