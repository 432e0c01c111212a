import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trust_story import (
    ALICE,
    ALICE_DID,
    BOB,
    BOB_DID,
    CENTER,
    LAB,
    OPERATOR,
    ORIGIN,
    RECEIPT,
    ROOT,
    START,
    add_body,
    content,
    governance,
    party_body,
    policy_body,
    record,
    revoke_body,
    signer,
    tick,
    vkey,
)

from trace_node.errors import Malformed, Refused, TraceNodeError
from trace_node.trust.governance import Governance, GovernanceRefused
from trace_node.trust.record import GOVERNANCE_TYPES, media_of
from trace_node.trust.statement import (
    MANIFEST_MEDIA,
    TICK_MEDIA,
    decode_statement,
    sign_statement,
    verify_statement,
)
from trace_node.trust.vkey import COSIGNATURE

CUSTODIAL, ROOT2, NEW = signer("custodial"), signer("root2"), signer("new", "P-256")
POLICY = governance(ROOT, OPERATOR, "registration-policy", policy_body())


def by_root(kind, body, **more):
    return governance(ROOT, OPERATOR, kind, body, **more)


def update(keys=None, iat=START + 100, by=ROOT, **changes):
    return governance(
        by, OPERATOR, "registration-policy", policy_body(keys, **changes), iat=iat
    )


def told(*entries, origin=ORIGIN):
    """Return the state after ``entries``, each verified as a reader would."""
    state = Governance(origin)
    for index, (statement, data) in enumerate(entries):
        verify_statement(statement, state.signing_key(statement, data))
        state.apply(index, statement, data)
    return state


STORY = [
    POLICY,
    by_root("party", party_body(ALICE_DID, "Alice", country="CN")),
    by_root("key", add_body(ALICE_DID, ALICE)),
    (tick(START + 1), None),
    by_root("party", party_body(BOB_DID, "Bob", kind="laboratory")),
    by_root("key", add_body(BOB_DID, BOB)),
    by_root("key", add_body(BOB_DID, CUSTODIAL, custodian=OPERATOR)),
    (content(ALICE, ALICE_DID), None),
]


def story():
    return told(*STORY)


def reason(state, statement, data=None):
    """Return why ``state`` refuses, having seen that nothing changes."""
    before, size = state.digest(), state.size
    with pytest.raises(GovernanceRefused) as caught:
        state.check(statement, data)
    with pytest.raises(GovernanceRefused):
        state.apply(state.size, statement, data)
    assert (state.digest(), state.size) == (before, size)
    assert caught.value.type == f"refused-{caught.value.reason}"
    assert isinstance(caught.value, Refused)
    assert caught.value.status == 422
    return caught.value.reason


def takes(state, statement, data=None):
    state.check(statement, data)
    verify_statement(statement, state.signing_key(statement, data))
    state.apply(state.size, statement, data)
    return state


def test_the_story_is_what_the_log_says():
    state = story()
    assert (state.name, state.operator, state.last_tick, state.size) == (
        "Test center",
        OPERATOR,
        START + 1,
        8,
    )
    assert state.parties[ALICE_DID].country == "CN"
    assert state.parties[BOB_DID].kind == "laboratory"
    uses = {
        key.public: (key.use, key.did, key.since, key.until, key.custodian)
        for key in state.keys.values()
    }
    assert uses == {
        ROOT.public: ("root", OPERATOR, 0, None, None),
        CENTER.public: ("center", OPERATOR, 0, None, None),
        RECEIPT.public: ("receipt", OPERATOR, 0, None, None),
        ALICE.public: ("party", ALICE_DID, 2, None, None),
        BOB.public: ("party", BOB_DID, 5, None, None),
        CUSTODIAL.public: ("party", BOB_DID, 6, None, OPERATOR),
    }
    for kid, key in state.keys.items():
        assert kid == key.public.thumbprint


def test_replaying_gives_the_same_state_with_and_without_content():
    without = Governance(ORIGIN)
    for index, entry in enumerate(STORY[:-1]):
        without.apply(index, *entry)
    assert story().digest() == story().digest() == without.digest()
    assert copy.deepcopy(story()).digest() == story().digest()


def test_each_governance_entry_gives_another_digest():
    seen = {told(*STORY[:n]).digest() for n in range(len(STORY))}
    assert len(seen) == len(STORY)
    assert Governance("other/log").digest() not in seen


def test_entries_come_in_order():
    state = story()
    for index in (0, 3, 7):
        with pytest.raises(ValueError):
            state.apply(index, *STORY[-1])
    state.apply(50, *STORY[-1])
    assert state.size == 51
    with pytest.raises(ValueError):
        Governance(ORIGIN).apply(1, *POLICY)


# --- the first entry


def test_a_log_starts_with_its_policy():
    for entry in (STORY[1], STORY[2], STORY[3], STORY[7]):
        assert reason(Governance(ORIGIN), *entry) == "policy-missing"
        with pytest.raises(GovernanceRefused):
            Governance(ORIGIN).signing_key(*entry)


def test_the_first_policy_is_signed_by_a_root_key_in_it():
    for by, why in [
        (CENTER, "not-entitled"),
        (RECEIPT, "not-entitled"),
        (ALICE, "unknown-key"),
    ]:
        entry = governance(by, OPERATOR, "registration-policy", policy_body())
        assert reason(Governance(ORIGIN), *entry) == why
        with pytest.raises(GovernanceRefused):
            Governance(ORIGIN).signing_key(*entry)


def test_the_first_policy_is_for_this_log_and_from_its_operator():
    assert reason(Governance("other/log"), *POLICY) == "wrong-audience"
    body = policy_body(origin="other/log", vkey=vkey(signer("log"), "other/log"))
    other = by_root("registration-policy", body)
    assert reason(Governance(ORIGIN), *other) == "wrong-audience"
    foreign = governance(ROOT, ALICE_DID, "registration-policy", policy_body())
    assert reason(Governance(ORIGIN), *foreign) == "wrong-issuer"


def test_the_policy_entry_is_the_first_tick():
    state = told(POLICY)
    assert state.last_tick == START
    assert reason(state, tick(START)) == "stale-tick"


# --- whose statement it is


def test_statements_for_another_log_are_refused():
    assert (
        reason(story(), content(ALICE, ALICE_DID, aud="other/log")) == "wrong-audience"
    )
    assert (
        reason(story(), *by_root("party", party_body(ALICE_DID), aud="other/log"))
        == "wrong-audience"
    )
    assert reason(story(), tick(START + 9, aud="other/log")) == "wrong-audience"


def test_unknown_keys_are_refused():
    stranger = content(LAB, ALICE_DID)
    assert reason(story(), stranger) == "unknown-key"
    with pytest.raises(GovernanceRefused) as caught:
        story().signing_key(stranger)
    assert caught.value.reason == "unknown-key"


def test_a_key_speaks_for_its_party_only():
    assert reason(story(), content(ALICE, BOB_DID)) == "wrong-issuer"
    assert reason(story(), tick(START + 9, iss=ALICE_DID)) == "wrong-issuer"
    assert (
        reason(story(), *governance(ROOT, ALICE_DID, "party", party_body(ALICE_DID)))
        == "wrong-issuer"
    )


@pytest.mark.parametrize("media", [media_of("event"), MANIFEST_MEDIA])
def test_only_party_keys_sign_content(media):
    takes(story(), content(ALICE, ALICE_DID, media=media))
    takes(story(), content(CUSTODIAL, BOB_DID, media=media))
    for by in (ROOT, CENTER, RECEIPT):
        assert reason(story(), content(by, OPERATOR, media=media)) == "not-entitled"


def test_content_is_compared_with_its_record_where_that_is_given():
    takes(story(), content(ALICE, ALICE_DID, b"here"), b"here")
    assert (
        reason(story(), content(ALICE, ALICE_DID, b"here"), b"there")
        == "record-mismatch"
    )


def test_only_center_keys_sign_ticks():
    for by, iss in [
        (ROOT, OPERATOR),
        (RECEIPT, OPERATOR),
        (ALICE, ALICE_DID),
        (CUSTODIAL, BOB_DID),
    ]:
        assert reason(story(), tick(START + 9, by, iss)) == "not-entitled"


def test_ticks_go_forward():
    state = takes(story(), tick(START + 5))
    assert state.last_tick == START + 5
    for seconds in (0, START, START + 4, START + 5):
        assert reason(state, tick(seconds)) == "stale-tick"
    takes(state, tick(START + 6))


def test_a_tick_whose_payload_tells_another_time_is_refused():
    raw = sign_statement(
        CENTER, iss=OPERATOR, aud=ORIGIN, media=TICK_MEDIA, preimage=b"1", iat=START + 9
    )
    with pytest.raises(Malformed):
        story().check(decode_statement(raw))


@pytest.mark.parametrize("kind", ["registration-policy", "party", "key"])
def test_center_receipt_and_custodial_keys_sign_no_governance(kind):
    body = {
        "registration-policy": policy_body(),
        "party": party_body(BOB_DID),
        "key": add_body(BOB_DID, NEW),
    }[kind]
    for by, iss in [(CENTER, OPERATOR), (RECEIPT, OPERATOR), (CUSTODIAL, BOB_DID)]:
        assert reason(story(), *governance(by, iss, kind, body)) == "not-entitled"
    assert (
        reason(
            story(),
            *governance(CUSTODIAL, BOB_DID, "key", revoke_body(BOB_DID, CUSTODIAL)),
        )
        == "not-entitled"
    )


# --- records


def test_a_governance_statement_needs_its_own_record():
    statement, _ = by_root("party", party_body(BOB_DID))
    assert reason(story(), statement) == "record-missing"
    assert (
        reason(story(), statement, record("party", party_body(ALICE_DID)))
        == "record-mismatch"
    )
    crossed = record("key", add_body(BOB_DID, NEW))
    raw = sign_statement(
        ROOT, iss=OPERATOR, aud=ORIGIN, media=media_of("party"), preimage=crossed
    )
    assert reason(story(), decode_statement(raw), crossed) == "record-mismatch"
    for first in (POLICY[0], statement):
        with pytest.raises(GovernanceRefused):
            Governance(ORIGIN).check(first)


@pytest.mark.parametrize(
    "kind", sorted(GOVERNANCE_TYPES - {"registration-policy", "party", "key"})
)
def test_other_governance_is_not_registered_yet(kind):
    statement, data = by_root(kind, {})
    assert (
        reason(story(), statement, data) == reason(story(), statement) == "unknown-type"
    )


def test_a_governance_record_that_is_no_record_is_malformed():
    raw = sign_statement(
        ROOT, iss=OPERATOR, aud=ORIGIN, media=media_of("party"), preimage=b"{}"
    )
    with pytest.raises(Malformed):
        story().check(decode_statement(raw), b"{}")


# --- parties


def test_only_the_operator_registers_parties():
    assert (
        reason(
            story(),
            *governance(ALICE, ALICE_DID, "party", party_body(ALICE_DID, "Alice Ltd")),
        )
        == "not-entitled"
    )
    state = takes(story(), *by_root("party", party_body(ALICE_DID, "Alice Ltd")))
    assert state.parties[ALICE_DID].name == "Alice Ltd"
    assert state.parties[ALICE_DID].country is None
    takes(state, content(ALICE, ALICE_DID))


# --- keys


def test_keys_are_for_registered_parties():
    state = told(POLICY)
    assert reason(state, *by_root("key", add_body(ALICE_DID, ALICE))) == "party-unknown"
    assert reason(state, *by_root("key", add_body(OPERATOR, ALICE))) == "party-unknown"
    assert (
        reason(
            story(),
            *by_root("key", add_body(BOB_DID, NEW, custodian="did:web:nobody.example")),
        )
        == "party-unknown"
    )
    takes(story(), *by_root("key", add_body(BOB_DID, NEW, custodian=ALICE_DID)))


def test_a_party_changes_its_own_keys_only():
    state = takes(
        story(), *governance(ALICE, ALICE_DID, "key", add_body(ALICE_DID, NEW))
    )
    takes(state, content(NEW, ALICE_DID))
    assert (
        reason(state, *governance(ALICE, ALICE_DID, "key", add_body(BOB_DID, LAB)))
        == "not-entitled"
    )
    assert (
        reason(state, *governance(ALICE, ALICE_DID, "key", revoke_body(BOB_DID, BOB)))
        == "not-entitled"
    )
    assert (
        reason(state, *governance(ALICE, ALICE_DID, "key", revoke_body(ALICE_DID, BOB)))
        == "unknown-key"
    )
    takes(state, *governance(NEW, ALICE_DID, "key", revoke_body(ALICE_DID, ALICE)))
    assert reason(state, content(ALICE, ALICE_DID)) == "revoked-key"


def test_a_key_may_revoke_itself_and_then_signs_nothing():
    state = takes(
        story(),
        *governance(
            ALICE, ALICE_DID, "key", revoke_body(ALICE_DID, ALICE, reason="lost")
        ),
    )
    assert state.keys[ALICE.public.thumbprint].until == 8
    assert reason(state, content(ALICE, ALICE_DID)) == "revoked-key"
    assert (
        reason(state, *governance(ALICE, ALICE_DID, "key", add_body(ALICE_DID, NEW)))
        == "revoked-key"
    )
    assert state.signing_key(content(ALICE, ALICE_DID)) == ALICE.public


def test_a_known_key_is_never_added_again():
    state = takes(story(), *by_root("key", revoke_body(ALICE_DID, ALICE)))
    for did in (ALICE_DID, BOB_DID):
        for by in (ALICE, BOB, CUSTODIAL, ROOT, CENTER, RECEIPT):
            assert reason(state, *by_root("key", add_body(did, by))) == "key-known"
    assert (
        reason(state, *by_root("key", revoke_body(ALICE_DID, ALICE))) == "revoked-key"
    )
    assert reason(state, *by_root("key", revoke_body(ALICE_DID, NEW))) == "unknown-key"


def test_operator_keys_end_by_policy_only():
    state = takes(story(), *by_root("party", party_body(OPERATOR, kind="center")))
    for by in (ROOT, CENTER, RECEIPT):
        assert (
            reason(state, *by_root("key", revoke_body(OPERATOR, by))) == "not-entitled"
        )
    takes(state, *by_root("key", add_body(OPERATOR, NEW)))
    takes(state, content(NEW, OPERATOR))


# --- policy updates


def test_a_policy_update_changes_name_rules_and_keys():
    keys = [("root", ROOT2), ("center", CENTER), ("receipt", NEW)]
    rules = {"4-segments": "ni:///sha-256;" + "A" * 43}
    state = takes(story(), *update(keys, name="New name", rules=rules))
    assert (state.name, state.rules) == ("New name", {"4-segments": bytes(32)})
    assert state.last_tick == START + 1  # only entry 0 is a tick too
    until = {key.public: key.until for key in state.keys.values()}
    assert until[ROOT.public] == until[RECEIPT.public] == 8
    assert until[CENTER.public] is until[ROOT2.public] is until[ALICE.public] is None
    assert state.keys[CENTER.public.thumbprint].since == 0
    assert reason(state, *update(iat=START + 200)) == "revoked-key"
    takes(state, tick(START + 9))
    takes(state, *update(keys, iat=START + 200, by=ROOT2))


@pytest.mark.parametrize(
    "change",
    [
        {"origin": "other/log", "vkey": vkey(signer("log"), "other/log")},
        {"operator": ALICE_DID},
        {"vkey": vkey(signer("another log"))},
    ],
)
def test_what_entry_0_fixed_stays(change):
    assert reason(story(), *update(**change)) == "policy-frozen"


def test_an_old_policy_does_not_come_back():
    state = takes(story(), *update(name="Second"))
    for entry in (POLICY, update(name="Second"), update(iat=START + 99)):
        assert reason(state, *entry) == "stale-policy"


@pytest.mark.parametrize(
    "keys",
    [
        [("root", ROOT), ("center", ALICE), ("receipt", RECEIPT)],
        [("root", CENTER), ("center", ROOT), ("receipt", RECEIPT)],
        [("root", ROOT), ("center", CENTER), ("receipt", RECEIPT), ("root", CUSTODIAL)],
    ],
)
def test_a_policy_takes_no_key_with_another_use_or_owner(keys):
    assert reason(story(), *update(keys)) == "key-known"


def test_a_policy_brings_no_ended_key_back():
    keys = [("root", ROOT), ("center", NEW), ("receipt", RECEIPT)]
    state = takes(story(), *update(keys))
    assert reason(state, *update(iat=START + 200)) == "key-known"


def test_party_keys_sign_no_policy():
    entry = governance(ALICE, ALICE_DID, "registration-policy", policy_body())
    assert reason(story(), *entry) == "not-entitled"


# --- bodies


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        *[("party", party_body(ALICE_DID) | change) for change in [
            {"did": "alice"}, {"did": None}, {"name": ""}, {"name": "x" * 201}, {"name": 5}, {"name": "a\nb"}, {"kind": "friend"}, {"kind": []},
            {"country": "cn"}, {"country": "CHN"}, {"country": None}, {"country": "C\n"}, {"phone": "1"},
        ]],
        *[("key", add_body(ALICE_DID, NEW) | change) for change in [
            {"did": "alice"}, {"action": "replace"}, {"action": None}, {"action": "revoke"}, {"kid": LAB.public.kid_text}, {"kid": "AA"}, {"kid": None},
            {"jwk": None}, {"jwk": {}}, {"jwk": NEW.public.jwk() | {"d": "AA"}}, {"custodian": "x"}, {"custodian": None}, {"reason": "x" * 201},
            {"reason": 5}, {"since": 5},
        ]],
        ("key", {k: v for k, v in add_body(ALICE_DID, NEW).items() if k != "jwk"}),
        ("key", revoke_body(ALICE_DID, ALICE, custodian=OPERATOR)),
        *[("registration-policy", policy_body() | change) for change in [
            {"origin": ""}, {"origin": 5}, {"name": "x" * 201}, {"operator": "x"}, {"vkey": ""}, {"vkey": "x" * 400}, {"vkey": ORIGIN + "+00000000+AAAA"},
            {"vkey": vkey(signer("log"), "other/log")}, {"vkey": vkey(signer("log"), alg=COSIGNATURE)}, {"vkey": vkey(ROOT)}, {"vkey": vkey(RECEIPT)}, {"tree": "RFC9162_SHA512"},
            {"tree": None}, {"keys": []}, {"keys": {}}, {"keys": [5]}, {"keys": policy_body()["keys"][:2]}, {"keys": policy_body()["keys"] * 2},
            {"keys": [*policy_body()["keys"], {"use": "party", "jwk": NEW.public.jwk()}]}, {"keys": [*policy_body()["keys"], {"use": [], "jwk": NEW.public.jwk()}]},
            {"keys": [{**key, "kid": "x"} for key in policy_body()["keys"]]}, {"keys": [*policy_body()["keys"], *({"use": "root", "jwk": signer(str(n)).public.jwk()} for n in range(30))]},
            {"rules": []}, {"rules": {"x": "y"}}, {"rules": {"": "ni:///sha-256;" + "A" * 43}}, {"rules": {"x" * 201: "ni:///sha-256;" + "A" * 43}},
            {"rules": {str(n): "ni:///sha-256;" + "A" * 43 for n in range(257)}}, {"more": 1},
        ]],
        ("party", {}), ("key", {}), ("registration-policy", {}),
    ],
)  # fmt: skip
def test_bodies_are_read_strictly(kind, body):
    state = story()
    before = state.digest()
    statement, data = by_root(
        kind, body, iat=START + 100 if kind == "registration-policy" else None
    )
    with pytest.raises(Malformed) as caught:
        state.apply(8, statement, data)
    assert caught.value.where.startswith("body")
    assert state.digest() == before


JUNK = st.recursive(
    st.none()
    | st.integers(0, 5)
    | st.text(max_size=5)
    | st.sampled_from([ALICE_DID, ORIGIN, "add", "revoke", ALICE.public.kid_text]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["use", "jwk", "kty", "x"]), inner, max_size=3
        )
    ),
)


@given(st.sampled_from(["registration-policy", "party", "key"]), st.data())
def test_any_body_is_taken_or_refused(kind, data):
    good = {
        "registration-policy": policy_body(),
        "party": party_body(ALICE_DID),
        "key": add_body(ALICE_DID, NEW),
    }[kind]
    name = data.draw(st.sampled_from(sorted(good)))
    try:
        body = good | {name: data.draw(JUNK)}
        story().apply(
            8,
            *by_root(
                kind, body, iat=START + 100 if kind == "registration-policy" else None
            ),
        )
    except TraceNodeError:
        return


@given(st.permutations(range(1, len(STORY))))
def test_in_any_order_the_fold_is_the_same_for_all_and_never_half_done(order):
    states = [told(POLICY), told(POLICY)]
    for place, number in enumerate(order, start=1):
        outcomes = set()
        for state in states:
            before = state.digest()
            try:
                state.apply(place, *STORY[number])
                outcomes.add("taken")
            except GovernanceRefused as error:
                assert state.digest() == before
                outcomes.add(error.reason)
        assert len(outcomes) == 1
    assert states[0].digest() == states[1].digest()
