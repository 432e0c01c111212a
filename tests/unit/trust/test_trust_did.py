import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trust_story import ALICE, BOB, signer

from trace_node.errors import LimitExceeded, Malformed, TraceNodeError
from trace_node.trust.did import (
    check_did,
    did_key,
    did_web,
    key_of_did_key,
    parse_web_document,
    web_document_url,
)

DID = "did:web:lab.example"


@pytest.mark.parametrize("curve", ["Ed25519", "P-256"])
@given(name=st.text(st.characters(codec="ascii"), max_size=8))
def test_a_did_key_carries_its_key(curve, name):
    public = signer(name, curve).public
    did = did_key(public)
    assert did.startswith("did:key:z6Mk" if curve == "Ed25519" else "did:key:zDn")
    assert key_of_did_key(did) == public
    assert check_did(did) == did


def test_did_key_examples_of_the_method():
    # W3C CCG did:key §5: Ed25519 and P-256 examples.
    for did in [
        "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK",
        "did:key:zDnaerDaTF5BXEavCrfRZEk316dpbLsfPDZ3WJ5hRTPFU2169",
    ]:
        assert did_key(key_of_did_key(did)) == did


@pytest.mark.parametrize(
    "did",
    [
        "", "did:", "did:key:", "did:key:z", "did:key:Z6Mk", "did:key:z6Mk0OIl", "did:example:1", 5, None,
        "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doL1", "did:key:z1" + did_key(ALICE.public)[9:],
        did_key(ALICE.public) + "#x", did_key(ALICE.public) + "1", did_key(ALICE.public)[:-1], did_key(BOB.public)[:-1],
        "did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme",  # secp256k1
        "did:web:", "did:web::a", "did:web:a:", "did:web:a::b", "did:web:EXAMPLE.com", "did:web:user@host", "did:web:a.com:8080:",
        "did:web:a.com%3a8080", "did:web:a.com%3A", "did:web:a.com%3A0", "did:web:a.com%3A65536", "did:web:a.com%3A080",
        "did:web:-a.com", "did:web:a-.com", "did:web:a..com", "did:web:a.com.", "did:web:" + "a" * 64, "did:web:a.com/x", "did:web:a.com?x",
        "did:web:a.com#x", "did:web:a.com:..", "did:web:a.com:.", "did:web:a.com:%2E%2E", "did:web:a.com:a%2Fb", "did:web:a.com:a%5Cb",
        "did:web:a.com:%41", "did:web:a.com:%FF", "did:web:a.com:%00", "did:web:a.com:%e5%85%ac", "did:web:a.com:公", "did:web:é.com",
        "did:web:a.com:a b", "did:web:a.com\n", "did:web:a.com:%C2%85", "did:web:a.com:~x", "DID:web:a.com",
    ],
)  # fmt: skip
def test_other_dids_are_refused(did):
    with pytest.raises(Malformed) as caught:
        check_did(did, where="iss")
    assert caught.value.where == "iss"


def test_dids_are_limited_in_length():
    assert check_did("did:web:a.com:" + "x" * (255 - 14))
    with pytest.raises(LimitExceeded):
        check_did("did:web:a.com:" + "x" * (256 - 14))


@pytest.mark.parametrize(
    ("host", "path", "did", "url"),
    [
        ("w3c-ccg.github.io", (), "did:web:w3c-ccg.github.io", "https://w3c-ccg.github.io/.well-known/did.json"),
        ("w3c-ccg.github.io", ("user", "alice"), "did:web:w3c-ccg.github.io:user:alice", "https://w3c-ccg.github.io/user/alice/did.json"),
        ("example.com:3000", ("user", "alice"), "did:web:example.com%3A3000:user:alice", "https://example.com:3000/user/alice/did.json"),
        ("127.0.0.1:8080", (), "did:web:127.0.0.1%3A8080", "https://127.0.0.1:8080/.well-known/did.json"),
        ("a.com", ("~alice",), "did:web:a.com:%7Ealice", "https://a.com/%7Ealice/did.json"),
        ("a.cn", ("公司",), "did:web:a.cn:%E5%85%AC%E5%8F%B8", "https://a.cn/%E5%85%AC%E5%8F%B8/did.json"),
    ],
)  # fmt: skip
def test_did_web_and_where_its_document_is(host, path, did, url):
    assert did_web(host, *path) == did
    assert web_document_url(did) == url


def test_did_web_refuses_what_does_not_fit():
    for host, *path in [
        ("",),
        ("A.com",),
        ("a.com", ""),
        ("a.com", ".."),
        ("a.com", "a/b"),
        ("u@a.com",),
        ("[::1]",),
    ]:
        with pytest.raises(Malformed):
            did_web(host, *path)
    with pytest.raises(Malformed):
        web_document_url(did_key(ALICE.public))


def document(**changes):
    alice, bob = ALICE.public, BOB.public
    return {
        "@context": ["https://www.w3.org/ns/did/v1"],
        "id": DID,
        "verificationMethod": [
            {"id": f"{DID}#a", "type": "JsonWebKey2020", "controller": DID, "publicKeyJwk": alice.jwk()},
            {"id": "#b", "type": "Multikey", "controller": DID, "publicKeyMultibase": did_key(bob)[8:]},
            {"id": f"{DID}#k", "type": "JsonWebKey", "controller": DID, "publicKeyJwk": {"kty": "EC", "crv": "secp256k1"}},
            {"id": f"{DID}#r", "type": "RsaVerificationKey2018", "controller": DID},
            {"id": f"{DID}#m", "type": "Multikey", "controller": DID, "publicKeyMultibase": "z" + "2" * 90},
            {"id": f"{DID}#c", "type": "JsonWebKey", "controller": "did:web:other.example", "publicKeyJwk": signer("c").public.jwk()},
            {"id": f"{DID}#n", "type": "JsonWebKey", "controller": DID, "publicKeyJwk": signer("n").public.jwk()},
        ],
        "assertionMethod": [f"{DID}#a", f"{DID}#b", "#k", f"{DID}#r", f"{DID}#m", f"{DID}#c", f"{DID}#a"],
    } | changes  # fmt: skip


def read(**changes):
    return parse_web_document(json.dumps(document(**changes)).encode(), DID)


def test_a_web_document_gives_the_keys_that_may_assert():
    assert read() == [ALICE.public, BOB.public]
    assert read(assertionMethod=[]) == []
    embedded = {
        "id": "#e",
        "type": "JsonWebKey",
        "controller": DID,
        "publicKeyJwk": signer("e").public.jwk(),
    }
    assert read(assertionMethod=[embedded, embedded]) == [signer("e").public]
    assert parse_web_document(json.dumps({"id": DID}).encode(), DID) == []


def test_a_web_document_that_is_none_is_refused():
    method = document()["verificationMethod"][0]
    for changes in [
        {"id": "did:web:evil.example"}, {"id": None}, {"verificationMethod": {}}, {"assertionMethod": "x"},
        {"verificationMethod": ["x"]}, {"verificationMethod": [{}]}, {"assertionMethod": [1]}, {"assertionMethod": [[]]},
        {"verificationMethod": [method] * 65}, {"assertionMethod": ["#a"] * 65},
        {"verificationMethod": [method | {"publicKeyJwk": ALICE.public.jwk() | {"d": "AA"}}]},
        {"verificationMethod": [method | {"publicKeyJwk": None}]},
        {"verificationMethod": [method | {"type": "Multikey"}]},
        {"verificationMethod": [method | {"type": "Multikey", "publicKeyMultibase": "z0"}]},
        {"verificationMethod": [method | {"type": "Multikey", "publicKeyMultibase": "f00"}]},
        {"verificationMethod": [method | {"type": "Multikey", "publicKeyMultibase": "z1" + did_key(ALICE.public)[9:]}]},
    ]:  # fmt: skip
        with pytest.raises(Malformed):
            read(**changes)
    with pytest.raises(LimitExceeded):
        read(pad="x" * 65_536)
    with pytest.raises(Malformed):
        parse_web_document(b"[]", DID)
    with pytest.raises(Malformed):
        parse_web_document(f'{{"id":"{DID}","id":"{DID}"}}'.encode(), DID)


@given(
    st.text(max_size=60)
    | st.text(st.sampled_from("z6MkhaXgBZDvotDkL5257%3A.:"), max_size=70)
)
def test_any_text_is_a_did_or_refused(text):
    for candidate in (text, "did:key:" + text, "did:web:" + text, "did:key:z" + text):
        try:
            check_did(candidate)
            web_document_url(candidate)
        except TraceNodeError:
            continue


@given(
    st.recursive(
        st.none() | st.integers(0, 9) | st.text(max_size=9) | st.just(DID),
        lambda i: (
            st.lists(i, max_size=3)
            | st.dictionaries(
                st.sampled_from(["id", "type", "controller", "publicKeyJwk", "crv"]),
                i,
                max_size=4,
            )
        ),
    )
)
def test_any_json_is_a_document_or_refused(value):
    for member in ("verificationMethod", "assertionMethod"):
        try:
            parse_web_document(json.dumps({"id": DID, member: value}).encode(), DID)
        except TraceNodeError:
            continue
