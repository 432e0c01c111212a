import json
import runpy
from hashlib import sha256
from pathlib import Path

import pytest
from trust_story import OldSigner

from trace_node.trust.did import did_key, key_of_did_key
from trace_node.trust.governance import Governance
from trace_node.trust.keys import MemorySigner, PublicKey
from trace_node.trust.manifest import check_manifest, manifest_path, manifest_preimage
from trace_node.trust.record import media_of, parse_record
from trace_node.trust.statement import (
    decode_statement,
    sign_statement,
    verify_statement,
)

HERE = Path(__file__).parents[2] / "vectors"
VECTORS = json.loads((HERE / "trust.json").read_text("utf-8"))
PUBLISHED = VECTORS["published"]
KEYS = {row["name"]: row for row in VECTORS["keys"]}


def signer(row):
    return MemorySigner.from_seed(row["curve"], bytes.fromhex(row["seed"]))


def test_the_generator_makes_the_file():
    made = runpy.run_path(str(HERE / "make_trust.py"))["text"]()
    assert made == (HERE / "trust.json").read_text("utf-8")


@pytest.mark.parametrize(
    "row", [*KEYS.values(), PUBLISHED["rfc8032"]["key"]], ids=lambda row: row["name"]
)
def test_keys_and_their_names(row):
    public = signer(row).public
    assert public.cose.hex() == row["cose"]
    assert (public.thumbprint.hex(), public.kid_text) == (row["thumbprint"], row["kid"])
    assert (public.jwk(), did_key(public)) == (row["jwk"], row["did"])
    assert (
        PublicKey.from_cose(bytes.fromhex(row["cose"]))
        == PublicKey.from_jwk(row["jwk"])
        == key_of_did_key(row["did"])
    )


def test_published_examples():
    example = PUBLISHED["rfc8032"]
    made = MemorySigner.from_seed("Ed25519", bytes.fromhex(example["seed"]))
    assert made.public.x.hex() == example["public"]
    assert made.sign(bytes.fromhex(example["message"])).hex() == example["signature"]
    example = PUBLISHED["rfc9679"]
    key = PublicKey("P-256", bytes.fromhex(example["x"]), bytes.fromhex(example["y"]))
    assert key.thumbprint.hex() == example["thumbprint"]


@pytest.mark.parametrize("row", VECTORS["statements"], ids=lambda row: row["name"])
def test_statements(row):
    raw, preimage = bytes.fromhex(row["raw"]), bytes.fromhex(row["preimage"])
    by = signer(KEYS[row["key"]])
    s = decode_statement(raw)
    verify_statement(s, by.public)
    assert (s.alg, s.iss, s.sub, s.aud, s.iat, s.media) == tuple(
        row[k] for k in ("alg", "iss", "sub", "aud", "iat", "media")
    )
    assert (s.signed.hex(), s.identity.hex()) == (row["signed"], row["identity"])
    assert s.payload == sha256(preimage).digest()
    by = by if by.alg == s.alg else OldSigner(by)
    assert (
        sign_statement(
            by, iss=s.iss, aud=s.aud, media=s.media, preimage=preimage, iat=s.iat
        )
        == raw
    )
    if row["media"].endswith("+json"):
        assert media_of(parse_record(preimage).type) == row["media"]


def test_the_statements_are_a_log_that_replays():
    state = Governance(VECTORS["origin"])
    for index, row in enumerate(VECTORS["statements"]):
        s = decode_statement(bytes.fromhex(row["raw"]))
        data = bytes.fromhex(row["preimage"]) if s.governance_type else None
        verify_statement(s, state.signing_key(s, data))
        state.apply(index, s, data)
    assert state.last_tick == state.policy_iat + 1
    assert (
        state.digest().hex()
        == "c7c2b501686de19d3a927f4ebec083e4c9f54bbb20835e7235b53f3350044e45"
    )


@pytest.mark.parametrize(
    "row", VECTORS["manifests"], ids=lambda row: str(len(row["digests"]))
)
def test_manifests(row):
    digests = [bytes.fromhex(digest) for digest in row["digests"]]
    preimage = manifest_preimage(digests)
    assert preimage.hex() == row["preimage"]
    for index, path in enumerate(row["paths"]):
        nodes = [bytes.fromhex(node) for node in path]
        assert manifest_path(digests, index) == nodes
        check_manifest(
            bytes.fromhex(row["payload"]),
            len(digests),
            preimage[8:],
            index,
            digests[index],
            nodes,
        )
