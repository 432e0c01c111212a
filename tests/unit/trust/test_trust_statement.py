from hashlib import sha256

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trust_story import ALICE, ALICE_DID, BOB, BOB_DID, ORIGIN, OldSigner, signer

from trace_node.errors import BadSignature, LimitExceeded, Malformed, TraceNodeError
from trace_node.trust import cbor
from trace_node.trust.keys import ED25519, EDDSA, ES256, ESP256
from trace_node.trust.record import GOVERNANCE_TYPES, RECORD_MEDIA, media_of, ni
from trace_node.trust.statement import (
    MANIFEST_MEDIA,
    MAX_STATEMENT,
    POLICY_MEDIA,
    STATEMENT_MEDIA,
    TICK_MEDIA,
    decode_statement,
    sign_statement,
    verify_statement,
)
from trace_node.trust.tick import check_tick, tick_preimage

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
SIGNERS = {ED25519: ALICE, ESP256: BOB, EDDSA: OldSigner(ALICE), ES256: OldSigner(BOB)}
PAYLOAD = sha256(b"preimage").digest()


def signed(by=ALICE, media=RECORD_MEDIA, **more):
    given_ = {"iss": ALICE_DID, "aud": ORIGIN, "preimage": b"preimage"} | more
    return sign_statement(by, media=media, **given_)


def header(**changes):
    """Return a protected header as a map, changed; None drops a label."""
    labels = {"alg": 1, "kid": 4, "claims": 15, "typ": 16, "hash": 258, "media": 259}
    claims = {1: ALICE_DID, 2: ni(PAYLOAD), 3: ORIGIN} | changes.pop("claim", {})
    value = {
        1: -19, 4: ALICE.public.thumbprint, 15: {k: v for k, v in claims.items() if v is not None},
        16: STATEMENT_MEDIA, 258: -16, 259: RECORD_MEDIA,
    }  # fmt: skip
    value |= {labels.get(name, name): given_ for name, given_ in changes.items()}
    return {k: v for k, v in value.items() if v is not None}


def by_hand(
    protected, unprotected=b"\xa0", payload=PAYLOAD, opened=b"\xd2\x84", by=ALICE
):
    """Sign what a hostile signer would: anything at all, with a good signature."""
    protected = protected if isinstance(protected, bytes) else cbor.encode(protected)
    sig = cbor.encode(["Signature1", protected, b"", payload])
    return (
        opened
        + cbor.encode(protected)
        + unprotected
        + cbor.encode(payload)
        + cbor.encode(by.sign(sig))
    )


def refused(raw, key=ALICE.public):
    try:
        verify_statement(decode_statement(raw), key)
    except (Malformed, BadSignature) as error:
        return error
    return None


@pytest.mark.parametrize("alg", SIGNERS)
def test_a_statement_is_read_as_it_was_signed(alg):
    by = SIGNERS[alg]
    raw = signed(by, iss=BOB_DID)
    s = decode_statement(raw)
    verify_statement(s, by.public)
    assert (s.raw, s.alg, s.kid, s.iss, s.aud) == (
        raw,
        alg,
        by.public.thumbprint,
        BOB_DID,
        ORIGIN,
    )
    assert (s.sub, s.payload, s.media, s.iat) == (
        ni(PAYLOAD),
        PAYLOAD,
        RECORD_MEDIA,
        None,
    )
    assert s.identity == sha256(s.signed).digest()
    assert raw.endswith(s.signature)


@given(
    curve=st.sampled_from(["Ed25519", "P-256"]),
    aud=st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=60),
    media=st.sampled_from(
        [
            RECORD_MEDIA,
            MANIFEST_MEDIA,
            TICK_MEDIA,
            *map(media_of, sorted(GOVERNANCE_TYPES)),
        ]
    ),
    payload=st.binary(min_size=32, max_size=32),
    iat=st.integers(0, 2**53 - 1),
)
def test_another_cose_reader_sees_the_same(curve, aud, media, payload, iat):
    by = signer("a", curve)
    iat = iat if media in {TICK_MEDIA, POLICY_MEDIA} else None
    raw = sign_statement(
        by, iss=BOB_DID, aud=aud, media=media, payload=payload, iat=iat
    )
    s = decode_statement(raw)
    verify_statement(s, by.public)
    tag = cbor2.loads(raw)
    protected, unprotected, body, signature = tag.value
    assert (tag.tag, unprotected, body, signature) == (18, {}, payload, s.signature)
    claims = {1: BOB_DID, 2: ni(payload), 3: aud} | ({} if iat is None else {6: iat})
    assert cbor2.loads(protected) == {
        1: by.alg, 4: by.public.thumbprint, 15: claims, 16: STATEMENT_MEDIA, 258: -16, 259: media,
    }  # fmt: skip
    assert s.signed == cbor2.dumps(["Signature1", protected, b"", payload])
    assert cbor.encode(cbor.decode(raw[1:])) == raw[1:]
    assert (s.aud, s.iat, s.media) == (aud, iat, media)


def test_the_hand_made_statement_is_the_one_that_is_signed():
    assert by_hand(header()) == signed()
    assert refused(by_hand(header())) is None


@pytest.mark.parametrize("alg", SIGNERS)
@pytest.mark.parametrize("media", [RECORD_MEDIA, TICK_MEDIA])
def test_every_changed_byte_is_refused(alg, media):
    by = SIGNERS[alg]
    raw = signed(by, media, iat=7 if media == TICK_MEDIA else None)
    for place in range(len(raw)):
        for flip in (1, 2, 4, 8, 16, 32, 64, 128, 255):
            bad = raw[:place] + bytes([raw[place] ^ flip]) + raw[place + 1 :]
            assert refused(bad, by.public), (place, flip)


@pytest.mark.parametrize("alg", SIGNERS)
def test_every_dropped_doubled_and_swapped_byte_is_refused(alg):
    by = SIGNERS[alg]
    raw = signed(by)
    for i in range(len(raw)):
        bad = [raw[:i] + raw[i + 1 :], raw[: i + 1] + raw[i:], raw[:i]]
        if i and raw[i] != raw[i - 1]:
            bad.append(raw[: i - 1] + bytes([raw[i], raw[i - 1]]) + raw[i + 1 :])
        for changed in bad:
            assert refused(changed, by.public), i
    assert refused(raw + b"\0", by.public)
    assert refused(raw + raw, by.public)


@given(
    st.binary(max_size=500)
    | st.binary(max_size=420).map(lambda b: b"\xd2\x84\x59\x01\x0b" + b)
)
def test_any_bytes_are_a_statement_or_refused(data):
    with pytest.raises(TraceNodeError):
        decode_statement(data)


@given(st.data())
def test_spliced_statements_are_refused(data):
    one, two = signed(), signed(iss=BOB_DID, preimage=b"other")
    a, b = data.draw(st.integers(0, len(one))), data.draw(st.integers(0, len(two)))
    mixed = one[:a] + two[b:]
    assert mixed in {one, two} or refused(mixed)


def test_the_ecdsa_twin_is_the_same_statement():
    raw = signed(BOB)
    s = decode_statement(raw)
    twin_s = P256_ORDER - int.from_bytes(raw[-32:])
    twin = decode_statement(raw[:-32] + twin_s.to_bytes(32))
    verify_statement(twin, BOB.public)
    assert twin.raw != s.raw
    assert twin.identity == s.identity


def test_a_statement_binds_its_key():
    s = decode_statement(signed())
    with pytest.raises(BadSignature) as caught:
        verify_statement(s, BOB.public)
    assert caught.value.where == "kid"
    # A valid signature by another key than the one named.
    assert isinstance(refused(by_hand(header(), by=signer("mallory"))), BadSignature)
    forged = by_hand(header(), by=signer("mallory"))
    assert isinstance(refused(forged, signer("mallory").public), BadSignature)
    # The algorithm does not fit the curve of the named key.
    for alg in (-9, -7):
        assert isinstance(refused(by_hand(header(alg=alg))), BadSignature)


@pytest.mark.parametrize(
    ("raw", "where"),
    [
        (by_hand(header(alg=-35)), "alg"), (by_hand(header(alg=1)), "alg"), (by_hand(header(alg=-50)), "alg"),
        (by_hand(header(alg="Ed25519")), "alg"), (by_hand(header(alg=None)), "protected"), (by_hand(header(kid=None)), "protected"),
        (by_hand(header(kid=bytes(31))), "kid"), (by_hand(header(kid=bytes(33))), "kid"), (by_hand(header(kid="x" * 32)), "kid"),
        (by_hand(header(typ="application/cose")), "protected"), (by_hand(header(typ=None)), "protected"),
        (by_hand(header(hash=-43)), "protected"), (by_hand(header(hash=None)), "protected"),
        (by_hand(header(media="application/json")), "media"), (by_hand(header(media=0)), "media"), (by_hand(header(media=None)), "protected"),
        (by_hand(header(media=media_of("party") + ";x=1")), "media"), (by_hand(header(media=RECORD_MEDIA.upper())), "media"),
        (by_hand({**header(), 3: "text/plain"}), "protected"), (by_hand({**header(), 260: "x"}), "protected"),
        (by_hand({**header(), 2: [4]}), "protected"), (by_hand({**header(), -65537: 1}), "protected"), (by_hand({**header(), "x": 1}), "protected"),
        (by_hand({**header(kid=None), 2: [4]}), "kid"),
        (by_hand(header(claims=None)), "protected"), (by_hand(header(claims={})), "claims"), (by_hand(header(claims=[ALICE_DID])), "claims"),
        (by_hand(header(claim={1: None})), "claims"), (by_hand(header(claim={2: None})), "claims"), (by_hand(header(claim={3: None})), "claims"),
        (by_hand(header(claim={1: None, 0: ALICE_DID})), "claims"), (by_hand(header(claim={4: 9})), "iat"), (by_hand(header(claim={4: 9, 6: 9})), "claims"),
        (by_hand(header(claim={1: 5})), "iss"), (by_hand(header(claim={1: b"did:web:a"})), "iss"), (by_hand(header(claim={1: "alice"})), "iss"),
        (by_hand(header(claim={1: ""})), "iss"), (by_hand(header(claim={1: "did:web:A.com"})), "iss"),
        (by_hand(header(claim={1: "did:web:a.com:" + "x" * 242})), "iss"), (by_hand(header(claim={1: "did:web:a.com:" + "x" * 60_000})), "iss"),
        (by_hand(header(claim={2: ni(bytes(32))})), "sub"), (by_hand(header(claim={2: "item"})), "sub"), (by_hand(header(claim={2: ni(PAYLOAD).encode()})), "sub"),
        (by_hand(header(claim={3: ""})), "aud"), (by_hand(header(claim={3: "a\nb"})), "aud"), (by_hand(header(claim={3: "a\x85"})), "aud"),
        (by_hand(header(claim={3: [ORIGIN]})), "aud"), (by_hand(header(claim={3: "x" * 256})), "aud"), (by_hand(header(claim={3: 7})), "aud"),
        (by_hand(header(claim={6: 5})), "iat"), (by_hand(header(media=TICK_MEDIA)), "iat"), (by_hand(header(media=POLICY_MEDIA)), "iat"),
        (by_hand(header(claim={6: 2**53}, media=TICK_MEDIA)), "iat"), (by_hand(header(claim={6: -1}, media=TICK_MEDIA)), "iat"),
        (by_hand(header(claim={6: "5"}, media=TICK_MEDIA)), "iat"), (by_hand(header(claim={6: True}, media=TICK_MEDIA)), "iat"),
        (by_hand(header(claim={6: None, 7: 5}, media=TICK_MEDIA)), "iat"),
        (by_hand(b""), "statement"), (by_hand(b"\xa0"), "statement"), (by_hand(b"\xa6" + bytes(40)), "protected"), (by_hand(bytes(200)), "protected"),
        (by_hand(cbor.encode(header()) + b"\0"), "media"), (by_hand(cbor.encode(header())[:-1]), "media"),
    ],
)  # fmt: skip
def test_other_headers_are_refused_though_well_signed(raw, where):
    with pytest.raises(Malformed) as caught:
        decode_statement(raw)
    assert caught.value.where == where


GOOD = cbor.encode(header())


@pytest.mark.parametrize(
    "raw",
    [
        # The frame.
        by_hand(header(), opened=b"\x84"), by_hand(header(), opened=b"\xd8\x12\x84"), by_hand(header(), opened=b"\xd1\x84"),
        by_hand(header(), opened=b"\xd9\xd9\xf7\xd2\x84"), by_hand(header(), opened=b"\xd2\xd2\x84"), by_hand(header(), opened=b"\xd8\x62\x84"),
        by_hand(header(), opened=b"\xd2\x98\x04"), by_hand(header(), opened=b"\xd2\x9f") + b"\xff", by_hand(header(), opened=b"\xd2\x83"),
        by_hand(header(), opened=b"\xd2\x85") + b"\xf6",
        by_hand(header(), unprotected=b"\xa1\x04\x41\x00"), by_hand(header(), unprotected=b"\xbf\xff"), by_hand(header(), unprotected=b"\xb8\x00"),
        by_hand(header(), unprotected=b"\xf6"), by_hand(header(), unprotected=b""), by_hand(header(), unprotected=b"\x80"),
        by_hand(header(), unprotected=b"\xa1\x19\x01\x8a\x80"),
        # The payload.
        by_hand(header(), payload=None), by_hand(header(), payload=PAYLOAD[:31]), by_hand(header(), payload=PAYLOAD + b"\0"),
        by_hand(header(), payload=b""), by_hand(header(), payload="x" * 32), by_hand(header(), payload=[PAYLOAD]),
        signed()[: -66 - 33] + b"\x5f\x58\x20" + PAYLOAD + b"\xff" + signed()[-66:],
        signed()[: -66 - 34] + b"\x59\x00\x20" + PAYLOAD + signed()[-66:],
        # The signature.
        signed()[:-65] + b"\x3f" + signed()[-63:], signed()[:-66] + b"\x59\x00\x40" + signed()[-64:], signed()[:-66] + b"\xf6",
        signed()[:-66], signed() + b"\xff",
        # The head of the protected header.
        b"\xd2\x84\x5a\x00\x00" + len(GOOD).to_bytes(2) + signed()[5:], b"\xd2\x84\x5f" + signed()[2:-101] + b"\xff" + signed()[-101:],
        b"\xd2\x84" + GOOD + signed()[-101:],
    ],
)  # fmt: skip
def test_other_frames_are_refused(raw):
    assert isinstance(refused(raw), Malformed)


@pytest.mark.parametrize(
    "protected",
    [
        GOOD.replace(b"\xa6\x01\x32", b"\xa6\x01\x38\x12"), GOOD.replace(b"\xa6\x01", b"\xa6\x18\x01"), GOOD.replace(b"\xa6", b"\xb8\x06", 1),
        GOOD.replace(b"\xa6", b"\xbf", 1) + b"\xff", GOOD.replace(b"\x04\x58\x20", b"\x04\x59\x00\x20"), GOOD.replace(b"\x0f\xa3", b"\x0f\xb8\x03"),
        GOOD.replace(b"\x0f\xa3", b"\x0f\xbf").replace(b"\x10\x78", b"\xff\x10\x78"), GOOD.replace(b"\x02\x78\x39", b"\x02\x79\x00\x39"),
        GOOD.replace(b"\x03\x72", b"\x03\x78\x12"), GOOD.replace(b"\x01\x78\x38", b"\x01\x79\x00\x38"), GOOD.replace(b"\x19\x01\x02\x2f", b"\x1a\x00\x00\x01\x02\x2f"),
        GOOD.replace(b"\x2f\x19", b"\x38\x0f\x19"), GOOD.replace(b"\x03\x78\x26app", b"\x03\x79\x00\x26app"), GOOD.replace(b"\x03\x72" + ORIGIN.encode(), b"\x03\x7f\x72" + ORIGIN.encode() + b"\xff"),
        # unsorted: kid before alg; claims 2, 1, 3; twice the same label
        b"\xa6\x04" + cbor.encode(ALICE.public.thumbprint) + b"\x01\x32" + GOOD[38:],
        GOOD.replace(b"\x01" + cbor.encode(ALICE_DID) + b"\x02" + cbor.encode(ni(PAYLOAD)), b"\x02" + cbor.encode(ni(PAYLOAD)) + b"\x01" + cbor.encode(ALICE_DID)),
        b"\xa7\x01\x32" + GOOD[1:], b"\xa6\x01\x32\x01\x32" + GOOD[38:], GOOD.replace(b"\x0f\xa3\x01", b"\x0f\xa3\xf5"),
        GOOD.replace(b"\x01\x78\x38did", b"\x01\x78\x38\xffid"), GOOD.replace(ORIGIN.encode(), b"\xff" + ORIGIN.encode()[1:]),
    ],
)  # fmt: skip
def test_other_encodings_of_the_header_are_refused_though_well_signed(protected):
    assert protected != GOOD
    assert isinstance(refused(by_hand(protected)), Malformed)


def test_size_is_limited():
    with pytest.raises(LimitExceeded):
        decode_statement(b"\xd2" * (MAX_STATEMENT + 1))
    assert (
        decode_statement(signed(aud="x" * 255, iss="did:web:a.com:" + "x" * 241)).aud
        == "x" * 255
    )
    for more in (
        {"aud": "x" * 256},
        {"iss": "did:web:a.com:" + "x" * 242},
        {"aud": "é" * 128},
    ):
        with pytest.raises(LimitExceeded):
            signed(**more)


@pytest.mark.parametrize(
    "more",
    [
        {"iss": "alice"}, {"aud": ""}, {"aud": "\ud800"}, {"media": "text/plain"}, {"iat": 5}, {"media": TICK_MEDIA}, {"media": TICK_MEDIA, "iat": 2**53},
        {"media": TICK_MEDIA, "iat": -1}, {"media": TICK_MEDIA, "iat": 2**64}, {"preimage": None}, {"preimage": None, "payload": bytes(31)},
    ],
)  # fmt: skip
def test_nothing_is_signed_that_others_refuse(more):
    with pytest.raises(Malformed):
        signed(**more)


def test_a_statement_says_what_it_is_about():
    kinds = {media_of(kind): kind for kind in GOVERNANCE_TYPES}
    for media in [RECORD_MEDIA, MANIFEST_MEDIA, TICK_MEDIA, *kinds]:
        s = decode_statement(
            signed(media=media, iat=5 if media in {TICK_MEDIA, POLICY_MEDIA} else None)
        )
        assert s.governance_type == kinds.get(media)
        assert s.is_manifest == (media == MANIFEST_MEDIA)
        assert s.is_tick == (media == TICK_MEDIA)
        assert s.is_content == (media in {RECORD_MEDIA, MANIFEST_MEDIA})


@given(st.integers(0, 2**53 - 1))
def test_a_tick_tells_its_iat(seconds):
    s = decode_statement(
        signed(media=TICK_MEDIA, preimage=tick_preimage(seconds), iat=seconds)
    )
    assert check_tick(s) == seconds


def test_a_tick_that_tells_two_times_is_refused():
    s = decode_statement(signed(media=TICK_MEDIA, preimage=b"6", iat=5))
    padded = decode_statement(signed(media=TICK_MEDIA, preimage=b"05", iat=5))
    for bad in (s, padded, decode_statement(signed())):
        with pytest.raises(Malformed):
            check_tick(bad)
    for seconds in (-1, 2**53):
        with pytest.raises(Malformed):
            tick_preimage(seconds)
