"""Makes ledger.json: `python tests/vectors/make_ledger.py > tests/vectors/ledger.json`.

Everything follows from the seeds below; Ed25519 and our ECDSA are deterministic.
"""

import json
import sys
from hashlib import sha256

from trace_node.ledger.checkpoint import sign_checkpoint
from trace_node.ledger.cosignature import add_signatures, cosign
from trace_node.ledger.fork import make_fork_proof, to_json
from trace_node.ledger.keyset import encode_key_set
from trace_node.ledger.merkle import consistency_proof, inclusion_proof
from trace_node.ledger.note import parse_note
from trace_node.ledger.receipt import (
    attach_receipts,
    encode_consistency_receipt,
    encode_receipt,
    receipt_protected,
    sign_root,
)
from trace_node.ledger.tiles import encode_entries, tile_path, tiles_for_size
from trace_node.ledger.tlogproof import encode_proof
from trace_node.trust import cbor
from trace_node.trust.keys import MemorySigner
from trace_node.trust.merkle import leaf_hash, root_of
from trace_node.trust.policy import dump_policy, parse_policy
from trace_node.trust.vkey import COSIGNATURE, ED25519, make_vkey

COMMENT = (
    "Made by tests/vectors/make_ledger.py from this project's own code; entry i is the "
    "ASCII text 'entry <i>', a key's seed is SHA-256 of its name; binary values are hex. "
    "Merkle values also agree with a naive recursive RFC 9162 tree (test_ledger_merkle.py)."
)
ORIGIN = "example.com/log"
WITNESSES = ("witness1.example/w", "witness2.example/w")
TIME = 1_700_000_000
SIZE = 13
ENTRIES = [b"entry %d" % i for i in range(16)]
LEAVES = [leaf_hash(entry) for entry in ENTRIES]


def signer(name, curve="Ed25519"):
    return MemorySigner.from_seed(curve, sha256(name.encode()).digest())


def node(level, k):
    return root_of(LEAVES[k << level : (k + 1) << level])


def proofs():
    inclusion = [
        {"index": i, "size": n, "path": [h.hex() for h in inclusion_proof(i, n, node)]}
        for i, n in [(0, 1), (0, 2), (1, 2), (2, 3), (5, 7), (6, 7), (0, 13), (12, 13)]
    ]
    consistency = [
        {
            "size1": a,
            "size2": b,
            "proof": [h.hex() for h in consistency_proof(a, b, node)],
        }
        for a, b in [
            (0, 5),
            (1, 1),
            (1, 2),
            (3, 7),
            (4, 7),
            (6, 8),
            (7, 13),
            (8, 13),
            (13, 16),
        ]
    ]
    return inclusion, consistency


def keys():
    log = make_vkey(ORIGIN, ED25519, signer(ORIGIN).public.x)
    witnesses = [make_vkey(w, COSIGNATURE, signer(w).public.x) for w in WITNESSES]
    return log, witnesses


def policy():
    log, witnesses = keys()
    lines = [f"log {log} https://{ORIGIN}"]
    lines += [f"witness W{i} {key}" for i, key in enumerate(witnesses)]
    return dump_policy(
        parse_policy("\n".join([*lines, "group G all W0 W1", "quorum G"]))
    )


def receipts(curve):
    key = signer(f"receipt {curve}", curve)
    protected = receipt_protected(
        key.alg, key.public.thumbprint, "did:web:example.com", ORIGIN
    )
    signature = sign_root(key, protected, root_of(LEAVES[:SIZE]))
    path = inclusion_proof(5, SIZE, node)
    older = consistency_proof(7, SIZE, node)
    return {
        "cose_key": key.public.cose.hex(),
        "index": 5,
        "size": SIZE,
        "inclusion": encode_receipt(protected, signature, SIZE, 5, path).hex(),
        "size1": 7,
        "consistency": encode_consistency_receipt(
            protected, signature, 7, SIZE, older
        ).hex(),
    }


def fork():
    lie = [*LEAVES[:3], *(leaf_hash(b"lie %d" % i) for i in range(3, 16))]
    old = sign_checkpoint(ORIGIN, 6, root_of(LEAVES[:6]), signer(ORIGIN))
    new = sign_checkpoint(ORIGIN, 11, root_of(lie[:11]), signer(ORIGIN))
    proof = consistency_proof(
        6, 11, lambda level, k: root_of(lie[k << level : (k + 1) << level])
    )
    evidence = make_fork_proof(old, new, [keys()[0]], proof)
    return {"id": evidence.id, "evidence": to_json(evidence).decode()}


def make():
    inclusion, consistency = proofs()
    log, witnesses = keys()
    checkpoint = sign_checkpoint(ORIGIN, SIZE, root_of(LEAVES[:SIZE]), signer(ORIGIN))
    text = parse_note(checkpoint).text
    lines = [cosign(text, w, signer(w), TIME + i) for i, w in enumerate(WITNESSES)]
    cosigned = add_signatures(checkpoint, lines)
    found = {curve: receipts(curve) for curve in ("Ed25519", "P-256")}
    statement = b"\xd2" + cbor.encode([b"\xa0", {}, bytes(32), bytes(64)])
    attached = [bytes.fromhex(found["P-256"]["inclusion"])]
    return {
        "comment": COMMENT,
        "roots": {str(n): root_of(LEAVES[:n]).hex() for n in range(17)},
        "inclusion": inclusion,
        "consistency": consistency,
        "vkeys": [str(key) for key in (log, *witnesses)],
        "policy": policy(),
        "checkpoint": checkpoint.decode(),
        "cosigned": cosigned.decode(),
        "receipts": found,
        "scitt_keys": encode_key_set(
            [signer(f"receipt {c}", c).public for c in found]
        ).hex(),
        "transparent": {
            "statement": statement.hex(),
            "with_receipt": attach_receipts(statement, attached).hex(),
        },
        "tlog_proof": encode_proof(
            5, inclusion_proof(5, SIZE, node), cosigned, b"extra"
        ).decode(),
        "fork": fork(),
        "tile_paths": {
            f"{level} {index} {width}": tile_path(level, index, width)
            for level, index, width in [
                (0, 0, 256),
                (0, 1_234_067, 256),
                (None, 273, 112),
                (63, 999, 1),
            ]
        },
        "tiles_of_70000": [tile_path(*tile) for tile in tiles_for_size(70_000)][272:],
        "bundle": encode_entries(ENTRIES[:3]).hex(),
    }


def render():
    return json.dumps(make(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")
    sys.stdout.write(render())
