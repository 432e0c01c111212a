"""Whom a reader believes: logs, witnesses and a quorum (C2SP tlog-policy).

    log example.com/log+9a1b2c3d+Ad4x…
    witness X1 x1.example/w+…
    witness X2 x2.example/w+…
    witness Y1 y1.example/w+…
    group X any X1 X2
    group X-and-Y all X Y1
    quorum X-and-Y

A checkpoint is believed when one of the logs signed it and the witnesses that
cosigned it satisfy the quorum. A line refers to lines above it only, and a name
is a member of one group at most, so groups form a tree and no witness counts
twice.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from trace_node.errors import LimitExceeded, Malformed
from trace_node.trust.vkey import COSIGNATURE, ML_DSA_44, VerifierKey, parse_vkey

MAX_LINES: Final = 1_000
MAX_POLICY: Final = 1 << 20  # characters
_NONE: Final = "none"
_WITNESS_TYPES: Final = frozenset({COSIGNATURE, ML_DSA_44})
_FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f]")
_SPACE = re.compile("[ \t]+")  # str.split would also split at Unicode spaces
_THRESHOLD = re.compile(r"[1-9][0-9]{0,3}", re.ASCII)

Party = tuple[VerifierKey, str | None]


@dataclass(frozen=True, slots=True)
class Group:
    """Satisfied when at least ``threshold`` of ``members`` (names) are."""

    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class QuorumResult:
    """An answer that explains itself.

    ``have`` are the witnesses of the policy that were seen; ``missing`` says,
    group by group from the quorum down, who could still satisfy it.
    """

    satisfied: bool
    have: tuple[str, ...]
    missing: tuple[str, ...]

    def __str__(self) -> str:
        seen = ", ".join(self.have) or "no witness"
        if self.satisfied:
            return f"quorum met by {seen}"
        return f"quorum not met by {seen}: needs {'; '.join(self.missing)}"


@dataclass(frozen=True, slots=True)
class Policy:
    """A parsed policy; ``groups`` stand in order of definition.

    Keys come with the URL of their log or witness, if the policy names one.
    ``quorum`` names a witness or a group; ``None`` asks for no cosignature.
    """

    logs: tuple[Party, ...]
    witnesses: dict[str, Party]
    groups: dict[str, Group]
    quorum: str | None

    def log_for(self, origin: str) -> list[VerifierKey]:
        """Return the keys that may sign for the log ``origin``."""
        return [key for key, _ in self.logs if key.name == origin]

    def _standing(self, names: Collection[str]) -> dict[str, bool]:
        """Return for each witness and group whether it is satisfied."""
        seen = set(names)
        standing = {name: name in seen for name in self.witnesses}
        for name, group in self.groups.items():
            count = sum(standing[member] for member in group.members)
            standing[name] = count >= group.threshold
        return standing

    def satisfied(self, names: Collection[str]) -> bool:
        """Return whether cosignatures of the witnesses ``names`` are enough."""
        return self.quorum is None or self._standing(names)[self.quorum]

    def explain(self, names: Collection[str]) -> QuorumResult:
        """Return whether ``names`` are enough, and if not, what is missing."""
        standing = self._standing(names)
        have = tuple(name for name in self.witnesses if standing[name])
        if self.quorum is None or standing[self.quorum]:
            return QuorumResult(satisfied=True, have=have, missing=())
        missing, waiting = [], [self.quorum]
        while waiting:  # not recursive: a policy may nest 1,000 groups
            name = waiting.pop(0)
            group = self.groups.get(name)
            if group is None:
                if name == self.quorum:
                    missing.append(name)
                continue
            lacking = [member for member in group.members if not standing[member]]
            more = group.threshold - (len(group.members) - len(lacking))
            missing.append(f"{name}: {more} more of {', '.join(lacking)}")
            waiting += lacking
        return QuorumResult(satisfied=False, have=have, missing=tuple(missing))


class _Parser:
    """Collects the lines of one policy; ``where`` is the line being read."""

    def __init__(self) -> None:
        self.where = ""
        self._logs: list[Party] = []
        self._witnesses: dict[str, Party] = {}
        self._groups: dict[str, Group] = {}
        self._members: set[str] = set()
        self._quorum: list[str | None] = []

    def _bad(self, message: str) -> Malformed:
        return Malformed(message, where=self.where)

    def line(self, words: list[str]) -> None:
        """Take one line that is neither empty nor a comment."""
        match words:
            case ["log", vkey, *url] if len(url) <= 1:
                party = self._party(vkey, url, self._logs)
                if party[0].alg == COSIGNATURE:
                    raise self._bad("this is the key of a witness, not of a log")
                self._logs.append(party)
            case ["witness", name, vkey, *url] if len(url) <= 1:
                self._check_new(name)
                party = self._party(vkey, url, self._witnesses.values())
                if party[0].alg not in _WITNESS_TYPES:
                    raise self._bad("this is not the key of a witness")
                self._witnesses[name] = party
            case ["group", name, threshold, *members]:
                self._check_new(name)
                self._groups[name] = self._group(threshold, members)
            case ["quorum", name]:
                self._set_quorum(name)
            case ["log" | "witness" | "group" | "quorum", *_]:
                raise self._bad(f"wrong number of words after {words[0]!r}")
            case _:
                raise self._bad("a line starts with log, witness, group or quorum")

    def _check_new(self, name: str) -> None:
        if name == _NONE:
            raise self._bad("the name 'none' is taken")
        if name in self._witnesses or name in self._groups:
            raise self._bad(f"{name!r} is defined twice")

    def _check_defined(self, name: str) -> None:
        if name not in self._witnesses and name not in self._groups:
            raise self._bad(f"{name!r} is not defined above")

    def _party(self, vkey: str, url: list[str], others: Iterable[Party]) -> Party:
        try:
            key = parse_vkey(vkey)
        except Malformed as error:
            raise self._bad(error.message) from None
        for other, _ in others:
            # The same key under two names would count twice; two keys under one
            # name and id could not be told apart in a note.
            identity = (other.name, other.key_id)
            if other.public == key.public or identity == (key.name, key.key_id):
                raise self._bad("this key is there already")
        return key, (url[0] if url else None)

    def _group(self, threshold: str, members: list[str]) -> Group:
        if not members:
            raise self._bad("a group has members")
        for member in members:
            self._check_defined(member)
            if member in self._members:
                raise self._bad(f"{member!r} is a member already")
            self._members.add(member)
        if threshold == "all":
            return Group(len(members), tuple(members))
        if threshold == "any":
            return Group(1, tuple(members))
        if not _THRESHOLD.fullmatch(threshold) or int(threshold) > len(members):
            raise self._bad(f"the threshold is all, any or 1 to {len(members)}")
        return Group(int(threshold), tuple(members))

    def _set_quorum(self, name: str) -> None:
        if self._quorum:
            raise self._bad("there is one quorum line only")
        if name != _NONE:
            self._check_defined(name)
        self._quorum.append(None if name == _NONE else name)

    def policy(self) -> Policy:
        """Return the policy that the lines define."""
        if not self._quorum:
            raise Malformed("the quorum line is missing", where="end")
        logs = tuple(self._logs)
        return Policy(logs, self._witnesses, self._groups, self._quorum[0])


def parse_policy(text: str) -> Policy:
    """Return the policy of a file.

    Raises:
        Malformed: the grammar is broken; ``where`` is the line ("line 7").
        LimitExceeded: over 1,000 lines or 1 MiB.
    """
    if len(text) > MAX_POLICY or text.count("\n") > MAX_LINES:
        raise LimitExceeded(f"a policy has at most {MAX_LINES} lines")
    parser = _Parser()
    for number, line in enumerate(text.split("\n"), start=1):
        parser.where = f"line {number}"
        if _FORBIDDEN.search(line):
            raise Malformed("a control character", where=parser.where)
        bare = line.strip(" \t")
        if bare and not bare.startswith("#"):
            parser.line(_SPACE.split(bare))
    return parser.policy()


def dump_policy(policy: Policy) -> str:
    """Return the file that ``parse_policy`` reads as ``policy``."""
    lines = [f"log {_with_url(party)}" for party in policy.logs]
    lines += [f"witness {n} {_with_url(p)}" for n, p in policy.witnesses.items()]
    for name, group in policy.groups.items():
        words = {1: "any", len(group.members): "all"}
        threshold = words.get(group.threshold, str(group.threshold))
        lines.append(f"group {name} {threshold} {' '.join(group.members)}")
    lines.append(f"quorum {policy.quorum or _NONE}")
    return "\n".join(lines) + "\n"


def _with_url(party: Party) -> str:
    key, url = party
    return f"{key} {url}" if url else str(key)
