"""The governance fold against a second reading of docs/formats.md, in any order.

The model below is written from the section "Bodies of governance records" and
knows nothing of the fold: sets of who is what, and one rule a line. Every entry
is tried at every point of a random history; both take it or both refuse it.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trust_story import (
    ALICE_DID,
    BOB_DID,
    CENTER,
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
    revoke_body,
    signer,
    tick,
)

from trace_node.errors import Malformed
from trace_node.trust.governance import Governance, GovernanceRefused

SIGNERS = {
    "root": ROOT,
    "center": CENTER,
    "receipt": RECEIPT,
    **{name: signer(f"model {name}") for name in ("root2", "center2", "a1", "a2")},
    **{name: signer(f"model {name}", "P-256") for name in ("b1", "b2", "x")},
}
NAMES = sorted(SIGNERS)
DIDS = [OPERATOR, ALICE_DID, BOB_DID]
POLICIES = [
    {"root": "root", "center": "center", "receipt": "receipt"},
    {"root": "root", "root2": "root", "center": "center", "receipt": "receipt"},
    {"root2": "root", "center2": "center", "receipt": "receipt"},
    {"root": "root", "a1": "center", "receipt": "receipt"},
    {"root": "root", "center": "receipt", "receipt": "center"},
]


class Model:
    """Who may say what, as docs/formats.md says it."""

    def __init__(self):
        self.key = dict.fromkeys(("root", "center", "receipt"), OPERATOR)  # owner
        self.use = {name: name for name in ("root", "center", "receipt")}
        self.ended, self.held, self.parties = set(), set(), set()
        self.iat = self.time = START

    def speaks(self, by, iss, use):
        """Whether key ``by`` is active, of that use, and ``iss``'s."""
        return self.key.get(by) == iss and by not in self.ended and self.use[by] == use

    def content(self, by, iss):
        return self.speaks(by, iss, "party")

    def tick(self, by, iss, seconds):
        if not self.speaks(by, iss, "center") or seconds <= self.time:
            return False
        self.time = seconds
        return True

    def party(self, by, iss, did):
        if not self.speaks(by, iss, "root"):
            return False
        self.parties.add(did)
        return True

    def policy(self, by, iss, uses, iat):
        if not self.speaks(by, iss, "root") or iat <= self.iat:
            return False
        for name, use in uses.items():
            if name in self.key and (self.use[name] != use or name in self.ended):
                return False
        self.iat = iat
        for name, use in self.use.items():
            if use != "party" and name not in uses:
                self.ended.add(name)
        self.use |= uses
        self.key |= dict.fromkeys(uses, OPERATOR)
        return True

    def _own(self, by, iss, did):
        own = self.speaks(by, iss, "party") and by not in self.held and iss == did
        return (own or self.speaks(by, iss, "root")) and did in self.parties

    def add(self, by, iss, did, name, custodian):
        if not self._own(by, iss, did) or name in self.key:
            return False
        if custodian not in {None, OPERATOR} and custodian not in self.parties:
            return False
        self.key[name], self.use[name] = did, "party"
        if custodian:
            self.held.add(name)
        return True

    def revoke(self, by, iss, did, name):
        if not self._own(by, iss, did):
            return False
        if self.key.get(name) != did or self.use[name] != "party":
            return False
        if name in self.ended:
            return False
        self.ended.add(name)
        return True


def entry(op, by, iss, args):
    """Return statement and record of one operation."""
    key = SIGNERS[by]
    match op, args:
        case "content", ():
            return content(key, iss), None
        case "tick", (seconds,):
            return tick(seconds, key, iss), None
        case "party", (did,):
            return governance(key, iss, "party", party_body(did))
        case "policy", (uses, iat):
            keys = [(use, SIGNERS[name]) for name, use in uses.items()]
            return governance(
                key, iss, "registration-policy", policy_body(keys), iat=iat
            )
        case "add", (did, name, custodian):
            more = {"custodian": custodian} if custodian else {}
            return governance(key, iss, "key", add_body(did, SIGNERS[name], **more))
        case "revoke", (did, name):
            return governance(key, iss, "key", revoke_body(did, SIGNERS[name]))
    raise AssertionError(op)


DID, NAME = st.sampled_from(DIDS), st.sampled_from(NAMES)
SOON = st.integers(START - 1, START + 6)
# Mostly the operator's root, or nothing much would ever be taken.
BY = st.one_of(
    st.just(("root", OPERATOR)),
    st.just(("a1", ALICE_DID)),
    st.sampled_from([("root2", OPERATOR), ("b1", BOB_DID), ("a2", ALICE_DID)]),
    st.tuples(NAME, DID),
)
OPS = st.one_of(
    st.tuples(st.just("content"), BY, st.just(())),
    st.tuples(
        st.just("tick"),
        st.just(("center", OPERATOR)) | BY,
        st.tuples(SOON),
    ),
    st.tuples(st.just("party"), BY, st.tuples(DID)),
    st.tuples(
        st.just("policy"), BY, st.tuples(st.sampled_from(POLICIES), SOON)
    ),
    st.tuples(st.just("add"), BY, st.tuples(DID, NAME, st.none() | DID)),
    st.tuples(st.just("revoke"), BY, st.tuples(DID, NAME)),
)  # fmt: skip


def run(ops):
    """Apply ``ops`` to both; return how many were taken."""
    fold, model, taken = Governance(ORIGIN), Model(), []
    first = governance(ROOT, OPERATOR, "registration-policy", policy_body())
    fold.apply(0, *first)
    for index, (op, (by, iss), args) in enumerate(ops, start=1):
        statement, record = entry(op, by, iss, args)
        expected = getattr(model, op)(by, iss, *args)
        before = fold.digest()
        try:
            fold.apply(index, statement, record)
            got = True
        except (GovernanceRefused, Malformed):
            got = False
            assert fold.digest() == before
        assert got is expected, (op, by, iss, args)
        if got:
            taken.append((index, statement, record))
    again = Governance(ORIGIN)
    again.apply(0, *first)
    for index, statement, record in taken:
        again.apply(index, statement, record)
    assert again.digest() == fold.digest()
    return len(taken)


def start(*ops):
    """Histories that begin with two parties and their keys reach further."""
    root = ("root", OPERATOR)
    return [
        ("party", root, (ALICE_DID,)),
        ("party", root, (BOB_DID,)),
        ("add", root, (ALICE_DID, "a1", None)),
        ("add", root, (BOB_DID, "b1", ALICE_DID)),
        *ops,
    ]


@settings(max_examples=150, deadline=None)
@given(st.booleans(), st.lists(OPS, max_size=25))
def test_the_fold_takes_what_the_formats_allow_and_nothing_else(begun, ops):
    run(start(*ops) if begun else ops)


def test_a_custodial_key_adds_none_and_a_fold_that_lets_it_is_found(monkeypatch):
    """The control: without the rule about custodians the model disagrees."""
    ops = start(("add", ("b1", BOB_DID), (BOB_DID, "b2", None)))
    assert run(ops) == 4
    kept = Governance._check_governance

    def broken(self, statement, record, key):
        holder, key.custodian = key.custodian, None
        try:
            return kept(self, statement, record, key)
        finally:
            key.custodian = holder

    monkeypatch.setattr(Governance, "_check_governance", broken)
    with pytest.raises(AssertionError):
        run(ops)
