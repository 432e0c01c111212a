"""The state that governance records leave behind, and its refusals.

``governance`` decides what may change it; here is what is known: the policy in
force, the parties, and every key that ever was, with the entries that began and
ended it. Keys are never forgotten, so that none comes back.
"""

from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from trace_node.errors import Refused
from trace_node.trust import cbor
from trace_node.trust.keys import PublicKey
from trace_node.trust.parties import KeyChange, Party, Policy, Use
from trace_node.trust.statement import Statement


class GovernanceRefused(Refused):
    """The log's own records do not allow this statement.

    Args:
        reason: a stable code ("revoked-key"); ``type`` is "refused-" ‖ reason.
        message: one sentence for a person.
        where: the field that is at fault.
    """

    def __init__(self, reason: str, message: str, *, where: str = "") -> None:
        super().__init__(message, where=where)
        self.reason = reason
        self.type = f"refused-{reason}"


@dataclass(slots=True)
class KeyState:
    """What the log says about a key.

    Args:
        public: the key.
        did: whose it is.
        use: what it may sign.
        since: index of the entry that named it; it signs later entries.
        until: index of the entry that ended it; None while active.
        custodian: DID of who holds it for ``did``, if another does.
    """

    public: PublicKey
    did: str
    use: Use
    since: int
    until: int | None = None
    custodian: str | None = None


class GovernanceState:
    """The state after the entries applied so far; starts empty.

    Args:
        origin: of the log that is folded; statements for another are refused.
    """

    def __init__(self, origin: str) -> None:
        self.origin: Final = origin
        self.name = ""
        self.operator = ""
        self.vkey = ""
        self.size = 0  # one more than the index applied last
        self.last_tick = 0  # Unix seconds
        self.policy_iat: int | None = None  # of the policy in force; None before it
        self.rules: dict[str, bytes] = {}
        self.parties: dict[str, Party] = {}
        self.keys: dict[bytes, KeyState] = {}

    def digest(self) -> bytes:
        """Return SHA-256 over the state; equal states have equal digests.

        Content entries leave it as it is: ``size`` does not enter.
        """
        keys = {
            kid: [k.public.cose, k.did, k.use, k.since, k.until, k.custodian]
            for kid, k in self.keys.items()
        }
        parties = {
            did: [party.name, party.kind, party.country]
            for did, party in self.parties.items()
        }
        head = [self.origin, self.name, self.operator, self.vkey]
        times = [self.last_tick, self.policy_iat]
        state = ["trace-node/governance/v1", head, times, self.rules, parties, keys]
        return sha256(cbor.encode(state)).digest()

    def active_key(self, statement: Statement) -> KeyState:
        """Return the state of the key that ``statement`` names, if it may sign now.

        Raises:
            GovernanceRefused: unknown, revoked, or bound to another party.
        """
        key = self.keys.get(statement.kid)
        if key is None:
            raise GovernanceRefused(
                "unknown-key", "this log knows no such key", where="kid"
            )
        if key.until is not None:
            raise GovernanceRefused(
                "revoked-key", f"the key ended with entry {key.until}", where="kid"
            )
        if key.did != statement.iss:
            raise GovernanceRefused(
                "wrong-issuer", "the key belongs to another party", where="iss"
            )
        return key

    def check_new(self, public: PublicKey, use: Use) -> None:
        """Check that a key may begin with ``use``: nobody named it before.

        A key that a policy names again for the same use goes on.

        Raises:
            GovernanceRefused: it is known under another use or owner, or ended.
        """
        known = self.keys.get(public.thumbprint)
        if known is None or (
            use != "party" and known.use == use and known.until is None
        ):
            return
        raise GovernanceRefused(
            "key-known", "a key has one use and one owner, once", where="body"
        )

    def set_policy(self, index: int, iat: int | None, policy: Policy) -> None:
        """Put a checked policy in force; keys of the old one not named again end."""
        if self.policy_iat is None:
            self.last_tick = iat or 0  # entry 0 is the first tick
        self.policy_iat = iat
        self.name, self.vkey = policy.name, policy.vkey
        self.operator, self.rules = policy.operator, policy.rules
        named = {key.public.thumbprint: key for key in policy.keys}
        for kid, state in self.keys.items():
            if state.use != "party" and state.until is None and kid not in named:
                state.until = index
        for kid, key in named.items():
            if kid not in self.keys:
                self.keys[kid] = KeyState(key.public, self.operator, key.use, index)

    def set_key(self, index: int, change: KeyChange) -> None:
        """Begin or end a party's key, as a checked record says."""
        if change.public is None:
            self.keys[change.kid].until = index
        else:
            # The party's own text and the key's own name: one copy each, for a
            # log may have a million keys.
            did, holder = self.parties[change.did].did, change.custodian
            if holder in self.parties:
                holder = self.parties[holder].did
            public = change.public
            self.keys[public.thumbprint] = KeyState(
                public, did, "party", index, custodian=holder
            )
