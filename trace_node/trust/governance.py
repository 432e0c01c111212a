"""Who may say what: the fold of a log's governance records.

This is the only place that decides validity. Its state after the entries
[0, n) is a function of those entries alone, so everyone who replays a log agrees
on every entry (docs/formats.md, Validity). Four uses of keys:

    root     the operator's: registration policies, parties, anyone's keys
    center   the operator's: ticks
    receipt  the operator's: receipts and nothing that is in the log
    party    a party's: content, manifests, and keys of that party

A key has one use and one owner in its life, and what is revoked never returns.
A key that a custodian holds signs content only, so no custodian can take a party
over. The first entry is the registration policy; its root key vouches for
itself, and a reader pins that entry (or the log's key) by a policy file.

Signatures are not checked here: ``signing_key`` names the key, the caller
verifies with it (``verify_statement``), ``check`` decides the rest.
"""

from collections.abc import Callable
from hashlib import sha256
from typing import Any, Final

from trace_node.trust.govstate import GovernanceRefused, GovernanceState, KeyState
from trace_node.trust.keys import PublicKey
from trace_node.trust.parties import (
    KeyChange,
    Party,
    Policy,
    Use,
    parse_key,
    parse_party,
    parse_policy,
)
from trace_node.trust.record import Record, parse_record
from trace_node.trust.statement import Statement
from trace_node.trust.tick import check_tick

__all__ = ["Governance", "GovernanceRefused", "KeyState", "Party"]

_Body = Policy | Party | KeyChange

_PARSERS: Final[dict[str, Callable[[dict[str, Any]], _Body]]] = {
    "registration-policy": parse_policy,
    "party": parse_party,
    "key": parse_key,
}


class Governance(GovernanceState):
    """The state after the entries applied so far, and what may come next."""

    def signing_key(
        self, statement: Statement, record: bytes | None = None
    ) -> PublicKey:
        """Return the key that must have signed ``statement``, active or not.

        Args:
            statement: decoded, not verified.
            record: its preimage; needed for the first entry of a log, which
                brings its own root keys.

        Raises:
            GovernanceRefused: this log does not know the key.
            Malformed: the first record is no registration policy.
        """
        if self.policy_iat is None:
            return _root_key(self._first_policy(statement, record), statement.kid)
        if (state := self.keys.get(statement.kid)) is not None:
            return state.public
        raise GovernanceRefused(
            "unknown-key", "this log knows no such key", where="kid"
        )

    def check(self, statement: Statement, record: bytes | None = None) -> None:
        """Check that ``statement`` may be the next entry; the signature is not.

        O(1) for content and manifests.

        Args:
            statement: decoded.
            record: its preimage; required for governance statements, compared
                with the payload where it is given, None for manifests and ticks.

        Raises:
            GovernanceRefused: it may not; ``reason`` says why.
            Malformed: the record is not one of its type.
        """
        self._check(statement, record)

    def apply(
        self, index: int, statement: Statement, record: bytes | None = None
    ) -> None:
        """Check the entry at ``index``, then let it take effect.

        Entries that change nothing (content, manifests) may be left out, as long
        as the indexes rise. When the check fails nothing has changed.

        Raises:
            GovernanceRefused, Malformed: as ``check``.
            ValueError: an entry at or behind ``index`` was applied already.
        """
        if index < self.size or (self.policy_iat is None and index):
            raise ValueError(f"entry {index} does not follow {self.size} entries")
        body = self._check(statement, record)
        match body:
            case Policy():
                self.set_policy(index, statement.iat, body)
            case Party():
                self.parties[body.did] = body
            case KeyChange():
                self.set_key(index, body)
            case None if statement.is_tick:
                self.last_tick = check_tick(statement)
            case None:
                pass
        self.size = index + 1

    def _check(self, statement: Statement, record: bytes | None) -> _Body | None:
        """Check everything; return what the record says if it changes the state."""
        if statement.aud != self.origin:
            raise GovernanceRefused(
                "wrong-audience", "made for another log", where="aud"
            )
        if self.policy_iat is None:
            return self._check_first(statement, record)
        key = self.active_key(statement)
        if statement.is_content:
            _entitle("party", key)
            if record is not None:
                _check_preimage(statement, record)
            return None
        if statement.is_tick:
            _entitle("center", key)
            self._check_tick(statement)
            return None
        return self._check_governance(statement, record, key)

    def _check_tick(self, statement: Statement) -> None:
        seconds = check_tick(statement)
        if seconds <= self.last_tick:
            raise GovernanceRefused(
                "stale-tick", f"the last tick was {self.last_tick}", where="iat"
            )

    def _check_first(self, statement: Statement, record: bytes | None) -> Policy:
        body = self._first_policy(statement, record)
        if body.origin != self.origin:
            raise GovernanceRefused(
                "wrong-audience", "the policy of another log", where="body.origin"
            )
        if body.operator != statement.iss:
            raise GovernanceRefused(
                "wrong-issuer", "the operator issues the policy", where="iss"
            )
        _root_key(body, statement.kid)
        return body

    def _first_policy(self, statement: Statement, record: bytes | None) -> Policy:
        if statement.governance_type != "registration-policy":
            raise GovernanceRefused(
                "policy-missing",
                "a log starts with its registration policy",
                where="media",
            )
        kind = "registration-policy"
        return parse_policy(_matching_record(statement, kind, record).body)

    def _check_governance(
        self, statement: Statement, record: bytes | None, key: KeyState
    ) -> _Body:
        if key.use not in {"root", "party"} or key.custodian is not None:
            raise GovernanceRefused(
                "not-entitled",
                "a key held by a custodian, or not for governance",
                where="kid",
            )
        body = _body(statement, record)
        if isinstance(body, KeyChange):
            if key.use == "party" and body.did != key.did:
                raise GovernanceRefused(
                    "not-entitled", "the key of another party", where="body.did"
                )
            self._check_key(body)
            return body
        _entitle("root", key)
        if isinstance(body, Policy):
            self._check_policy(statement, body)
        return body

    def _check_policy(self, statement: Statement, policy: Policy) -> None:
        """Check an update: the log stays the log, and time goes on.

        Its iat must pass that of the policy in force, or whoever kept an old
        policy could bring back the keys and rules of its day.
        """
        frozen = {
            "origin": self.origin == policy.origin,
            "vkey": self.vkey == policy.vkey,
            "operator": self.operator == policy.operator,
        }
        for member, same in frozen.items():
            if not same:
                raise GovernanceRefused(
                    "policy-frozen",
                    f"{member} is fixed by entry 0",
                    where=f"body.{member}",
                )
        if (statement.iat or 0) <= (self.policy_iat or 0):
            raise GovernanceRefused(
                "stale-policy", "not later than the policy in force", where="iat"
            )
        for key in policy.keys:
            self.check_new(key.public, key.use)

    def _check_key(self, change: KeyChange) -> None:
        if change.did not in self.parties:
            raise GovernanceRefused(
                "party-unknown", "no such party is registered", where="body.did"
            )
        custodian = change.custodian or self.operator
        if custodian != self.operator and custodian not in self.parties:
            raise GovernanceRefused(
                "party-unknown", "no such custodian", where="body.custodian"
            )
        if change.public is not None:
            self.check_new(change.public, "party")
            return
        known = self.keys.get(change.kid)
        if known is None or known.did != change.did:
            raise GovernanceRefused(
                "unknown-key", "the party has no such key", where="body.kid"
            )
        if known.use != "party":
            raise GovernanceRefused(
                "not-entitled", "only a policy ends this key", where="body.kid"
            )
        if known.until is not None:
            raise GovernanceRefused(
                "revoked-key", f"it ended with entry {known.until}", where="body.kid"
            )


def _entitle(use: Use, key: KeyState) -> None:
    if key.use != use:
        raise GovernanceRefused(
            "not-entitled", f"a {key.use} key does not sign this", where="kid"
        )


def _root_key(policy: Policy, kid: bytes) -> PublicKey:
    """Return the root key named ``kid`` in a policy that vouches for itself."""
    for key in policy.keys:
        if key.public.thumbprint == kid:
            if key.use == "root":
                return key.public
            raise GovernanceRefused(
                "not-entitled", "a root key signs the policy", where="kid"
            )
    raise GovernanceRefused("unknown-key", "the policy names no such key", where="kid")


def _body(statement: Statement, record: bytes | None) -> _Body:
    """Return what the governance record of ``statement`` says."""
    kind = statement.governance_type or ""
    parse = _PARSERS.get(kind)
    if parse is None:
        raise GovernanceRefused(
            "unknown-type",
            f"this version does not register {kind} records",
            where="media",
        )
    return parse(_matching_record(statement, kind, record).body)


def _matching_record(statement: Statement, kind: str, record: bytes | None) -> Record:
    """Return the parsed preimage of a governance statement."""
    if record is None:
        raise GovernanceRefused(
            "record-missing", "a governance statement needs its record"
        )
    _check_preimage(statement, record)
    parsed = parse_record(record)
    if parsed.type != kind:
        raise GovernanceRefused(
            "record-mismatch", f"a {parsed.type} record, not {kind}", where="type"
        )
    return parsed


def _check_preimage(statement: Statement, record: bytes) -> None:
    if sha256(record).digest() != statement.payload:
        raise GovernanceRefused(
            "record-mismatch", "the record is not the one stated", where="payload"
        )
