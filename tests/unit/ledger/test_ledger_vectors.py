"""The vectors we publish: made by the script beside them, and true."""

import importlib.util
import json
from pathlib import Path

import pytest

from trace_node.ledger.fork import verify_fork_proof
from trace_node.ledger.keyset import decode_key_set
from trace_node.ledger.merkle import check_consistency
from trace_node.ledger.receipt import detach, verify_consistency_receipt, verify_receipt
from trace_node.ledger.tiles import decode_entries
from trace_node.ledger.tlogproof import verify_tlog_proof
from trace_node.trust.keys import PublicKey
from trace_node.trust.merkle import check_inclusion, leaf_hash
from trace_node.trust.policy import parse_policy
from trace_node.trust.vkey import parse_vkey

FOLDER = Path(__file__).resolve().parents[2] / "vectors"
ENTRIES = [b"entry %d" % i for i in range(16)]


@pytest.fixture(scope="module")
def vectors():
    return json.loads((FOLDER / "ledger.json").read_text("utf-8"))


def test_the_script_makes_the_file():
    spec = importlib.util.spec_from_file_location(
        "make_ledger", FOLDER / "make_ledger.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.render() == (FOLDER / "ledger.json").read_text("utf-8")


def test_the_merkle_values(vectors):
    roots = {int(n): bytes.fromhex(root) for n, root in vectors["roots"].items()}
    for case in vectors["inclusion"]:
        path = [bytes.fromhex(h) for h in case["path"]]
        leaf = leaf_hash(ENTRIES[case["index"]])
        check_inclusion(leaf, case["index"], case["size"], path, roots[case["size"]])
    for case in vectors["consistency"]:
        proof = [bytes.fromhex(h) for h in case["proof"]]
        one, two = case["size1"], case["size2"]
        check_consistency(one, roots[one], two, roots[two], proof)


def test_the_signed_values(vectors):
    policy = parse_policy(vectors["policy"])
    checkpoint, index, who = verify_tlog_proof(
        vectors["tlog_proof"].encode(), ENTRIES[5], policy
    )
    assert (checkpoint.size, index, [name for name, _ in who]) == (13, 5, ["W0", "W1"])
    assert vectors["tlog_proof"].endswith("\n\n" + vectors["cosigned"])
    assert vectors["cosigned"].startswith(vectors["checkpoint"])
    keys = []
    for case in vectors["receipts"].values():
        keys.append(PublicKey.from_cose(bytes.fromhex(case["cose_key"])))
        verify_receipt(bytes.fromhex(case["inclusion"]), ENTRIES[5], keys[-1])
        old = bytes.fromhex(vectors["roots"]["7"])
        _, root = verify_consistency_receipt(
            bytes.fromhex(case["consistency"]), old, keys[-1]
        )
        assert root.hex() == vectors["roots"]["13"]
    assert decode_key_set(bytes.fromhex(vectors["scitt_keys"])) == keys
    log = parse_vkey(vectors["vkeys"][0])
    evidence = vectors["fork"]
    assert verify_fork_proof(evidence["evidence"].encode(), [log]).id == evidence["id"]


def test_the_rest(vectors):
    whole = vectors["transparent"]
    statement, receipts = detach(bytes.fromhex(whole["with_receipt"]))
    assert statement.hex() == whole["statement"]
    assert [r.hex() for r in receipts] == [vectors["receipts"]["P-256"]["inclusion"]]
    assert decode_entries(bytes.fromhex(vectors["bundle"])) == ENTRIES[:3]
    assert vectors["tiles_of_70000"] == [
        "tile/0/272", "tile/0/273.p/112", "tile/1/000", "tile/1/001.p/17", "tile/2/000.p/1",
    ]  # fmt: skip
