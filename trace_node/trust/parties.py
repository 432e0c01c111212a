"""Bodies of the governance records that the fold understands.

``registration-policy`` sets up a log, ``party`` names who takes part, ``key``
binds a key to a party or ends it. Unknown members are refused: whoever wrote one
meant something that the fold would silently not do.
"""

import re
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

from trace_node.errors import LimitExceeded, Malformed
from trace_node.trust import base64url
from trace_node.trust.did import check_did
from trace_node.trust.keys import PublicKey
from trace_node.trust.record import parse_ni
from trace_node.trust.vkey import ED25519, parse_vkey

Use = Literal["root", "center", "receipt", "party"]

TREE: Final = "RFC9162_SHA256"
POLICY_USES: Final[tuple[Use, ...]] = ("root", "center", "receipt")
KINDS: Final = frozenset(
    {
        "enterprise",
        "laboratory",
        "certifier",
        "notary",
        "regulator",
        "customs",
        "service",
        "platform",
        "consumer",
        "center",
    }
)
MAX_POLICY_KEYS: Final = 32
MAX_RULES: Final = 256
MAX_NAME: Final = 200  # characters
MAX_ORIGIN: Final = 255  # characters, as aud in a statement

_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f]")
_COUNTRY: Final = re.compile(r"[A-Z]{2}")


@dataclass(frozen=True, slots=True)
class PolicyKey:
    """A key that a registration policy names, and what it is for."""

    use: Use
    public: PublicKey


@dataclass(frozen=True, slots=True)
class Policy:
    """The body of a ``registration-policy``.

    Args:
        origin: of the log.
        name: of the center, for people.
        operator: DID that root and center keys speak for.
        vkey: verifier key of the log's checkpoints (C2SP signed-note), Ed25519,
            named like the origin, and none of ``keys``.
        keys: all keys of the operator that are in force from here on.
        rules: digest of each rule in force, by name.
    """

    origin: str
    name: str
    operator: str
    vkey: str
    keys: tuple[PolicyKey, ...]
    rules: dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Party:
    """The body of a ``party``: who takes part, in which capacity, from where."""

    did: str
    name: str
    kind: str
    country: str | None = None


@dataclass(frozen=True, slots=True)
class KeyChange:
    """The body of a ``key``.

    Args:
        did: the party whose key it is.
        kid: thumbprint, 32 bytes.
        public: the key to add; None revokes ``kid``.
        custodian: DID of who holds the private key for the party, if another does.
        reason: for people.
    """

    did: str
    kid: bytes
    public: PublicKey | None
    custodian: str | None = None
    reason: str | None = None


def parse_policy(body: dict[str, Any]) -> Policy:
    """Return the registration policy in ``body``.

    Raises:
        Malformed: it holds none; ``where`` names the member.
    """
    _members(
        body, {"origin", "name", "operator", "vkey", "tree", "keys", "rules"}, set()
    )
    if body["tree"] != TREE:
        raise Malformed(f"the tree is {TREE}", where="body.tree")
    policy = Policy(
        _text(body, "origin", MAX_ORIGIN),
        _text(body, "name", MAX_NAME),
        check_did(body["operator"], where="body.operator"),
        _text(body, "vkey", MAX_ORIGIN + 64),
        _policy_keys(body["keys"]),
        _rules(body["rules"]),
    )
    _check_vkey(policy)
    return policy


def parse_party(body: dict[str, Any]) -> Party:
    """Return the party in ``body``.

    Raises:
        Malformed: it holds none; ``where`` names the member.
    """
    _members(body, {"did", "name", "kind"}, {"country"})
    did = check_did(body["did"], where="body.did")
    kind, country = body["kind"], body.get("country")
    if not isinstance(kind, str) or kind not in KINDS:
        raise Malformed("no such kind of party", where="body.kind")
    if "country" in body and not (
        isinstance(country, str) and _COUNTRY.fullmatch(country)
    ):
        raise Malformed("two upper-case letters", where="body.country")
    return Party(did, _text(body, "name", MAX_NAME), kind, country)


def parse_key(body: dict[str, Any]) -> KeyChange:
    """Return the key to add or to revoke in ``body``.

    Raises:
        Malformed: it holds none; ``where`` names the member.
    """
    adds = body.get("action") == "add"
    if not adds and body.get("action") != "revoke":
        raise Malformed("the action is add or revoke", where="body.action")
    if adds:
        _members(body, {"did", "action", "kid", "jwk"}, {"custodian", "reason"})
    else:
        _members(body, {"did", "action", "kid"}, {"reason"})
    did = check_did(body["did"], where="body.did")
    kid = base64url.decode(body["kid"], size=32, where="body.kid")
    public = _key(body["jwk"], "body.jwk") if adds else None
    if public is not None and public.thumbprint != kid:
        raise Malformed("kid is not the thumbprint of the key", where="body.kid")
    custodian = None
    if "custodian" in body:
        custodian = check_did(body["custodian"], where="body.custodian")
    reason = _text(body, "reason", MAX_NAME) if "reason" in body else None
    return KeyChange(did, kid, public, custodian, reason)


def _members(
    value: object, required: set[str], optional: set[str], where: str = "body"
) -> None:
    if not isinstance(value, dict):
        raise Malformed("a JSON object is needed", where=where)
    missing = required - value.keys()
    unknown = value.keys() - required - optional
    if missing:
        raise Malformed(f"no {min(missing)}", where=where)
    if unknown:
        raise Malformed(
            "a member that is not known here", where=f"{where}.{min(unknown)[:64]}"
        )


def _text(body: dict[str, Any], name: str, most: int) -> str:
    value = body[name]
    where = f"body.{name}"
    if not isinstance(value, str) or not value or _CONTROL.search(value):
        raise Malformed("text without control characters is needed", where=where)
    if len(value) > most:
        raise LimitExceeded(f"at most {most} characters", where=where)
    return value


def _key(jwk: object, where: str) -> PublicKey:
    try:
        return PublicKey.from_jwk(jwk)
    except Malformed as error:
        raise Malformed(error.message, where=where) from None


def _check_vkey(policy: Policy) -> None:
    """Check that checkpoints have a key, the log's own and for them alone."""
    where = "body.vkey"
    try:
        key = parse_vkey(policy.vkey)
    except Malformed as error:
        raise Malformed(error.message, where=where) from None
    if key.alg != ED25519 or key.name != policy.origin:
        raise Malformed("an Ed25519 key named like the origin", where=where)
    if any(key.public == other.public.x for other in policy.keys):
        raise Malformed("the key of checkpoints has another use", where=where)


def _policy_keys(value: object) -> tuple[PolicyKey, ...]:
    where = "body.keys"
    if not isinstance(value, list):
        raise Malformed("a list of keys is needed", where=where)
    if len(value) > MAX_POLICY_KEYS:
        raise LimitExceeded(f"at most {MAX_POLICY_KEYS} keys", where=where)
    keys = []
    for position, entry in enumerate(value):
        place = f"{where}[{position}]"
        _members(entry, {"use", "jwk"}, set(), place)
        if entry["use"] not in POLICY_USES:
            raise Malformed("a key is for root, center or receipt", where=place)
        keys.append(PolicyKey(cast("Use", entry["use"]), _key(entry["jwk"], place)))
    if len({key.public.thumbprint for key in keys}) != len(keys):
        raise Malformed("a key stands twice", where=where)
    if {key.use for key in keys} != set(POLICY_USES):
        raise Malformed("a key of each use is needed", where=where)
    return tuple(keys)


def _rules(value: object) -> dict[str, bytes]:
    where = "body.rules"
    if not isinstance(value, dict):
        raise Malformed("names and digests are needed", where=where)
    if len(value) > MAX_RULES:
        raise LimitExceeded(f"at most {MAX_RULES} rules", where=where)
    for name in value:
        if not name or len(name) > MAX_NAME or _CONTROL.search(name):
            raise Malformed("not a name of a rule", where=where)
    return {
        name: parse_ni(digest, where=f"{where}.{name}")
        for name, digest in value.items()
    }
