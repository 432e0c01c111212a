"""Check a bundle: recompute its answer from the entries and records in it.

The policy authenticates the head, the head the entries, entry 0 and the
governance entries all keys, the keys the statements, the statements the records,
and these the answer. All of it must hold; the order of the checks is the one
that names the place of a change best. What is in the file and used by
nothing is refused, and so is any encoding but the one: so no byte of the file is
free (but signature lines of keys that the policy does not name).
"""

from typing import Any, Final

import orjson

from trace_node.errors import BadProof, Malformed, Untrusted
from trace_node.trust import base64url
from trace_node.trust.merkle import leaf_hash, root_of
from trace_node.trust.policy import Policy
from trace_node.trust.record import GOVERNANCE_TYPES, ni, parse_ni, parse_record
from trace_node.trust.strictjson import loads_strict
from trace_node.verify.parts import (
    Entry,
    check_proofs,
    position_in,
    read_entries,
    read_records,
)
from trace_node.verify.replay import Replay
from trace_node.verify.verdict import (
    Head,
    Verdict,
    at,
    compare,
    exactly,
    open_head,
    timestamp,
)

FORMAT: Final = "trace-node-bundle@1"
MAX_BUNDLE: Final = 256 << 20  # bytes
_MEMBERS: Final = frozenset(
    {
        "answer",
        "as_of",
        "bundle",
        "checkpoint",
        "disclosures",
        "entries",
        "question",
        "records",
        "withheld",
    }
)
# A bundle is signed by nobody: whoever carries it can leave entries out.
_UNPROVEN: Final = (
    "that no other entry speaks of the record is the word of who made this file",
    (
        "that no governance entry (a revocation) was left out is the word of who made "
        "this file; `trace-node audit` of the log shows it"
    ),
    (
        "that no tick was left out is the word of who made this file: the times are "
        "the earliest possible; `trace-node audit` of the log shows it"
    ),
)


def verify_bundle(data: bytes, policy: Policy) -> Verdict:
    """Return what a bundle proves to whoever holds ``policy``.

    Raises:
        TraceNodeError: something does not hold; ``where`` names the place.
    """
    try:
        value = loads_strict(data, max_bytes=MAX_BUNDLE)
    except Malformed as error:
        error.where = error.where or "bundle"
        raise
    verdict = _Check(exactly(value, _MEMBERS), policy).run()
    again = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    if again != data:
        pairs = enumerate(zip(again, data, strict=False))
        place = next((i for i, (a, b) in pairs if a != b), min(len(again), len(data)))
        raise Malformed("not the one encoding of a bundle", where=f"byte {place}")
    return verdict


class _Check:
    """One bundle while it is checked."""

    def __init__(self, value: dict[str, Any], policy: Policy) -> None:
        self._value = value
        self._policy = policy
        self._used: set[int] = set()  # entries that the answer rests on

    def run(self) -> Verdict:
        value = self._value
        if value["bundle"] != FORMAT:
            raise Malformed(f"this reads {FORMAT}", where="bundle")
        with at("question"):
            asked = exactly(value["question"], frozenset({"record"}))
        self._digest = parse_ni(asked["record"], where="question.record")
        head = self._open()
        entries = read_entries(value["entries"])
        records = read_records(value["records"], self._digest, entries)
        replay = Replay(head.checkpoint.origin, records.get)
        said = self._replay(replay, entries, head)
        check_proofs(entries, head, self._note)
        self._compare(replay, head, records, said)
        for entry in entries:
            if entry.index not in self._used:
                raise BadProof(
                    "nothing in the answer needs this entry", where=entry.place
                )
        return self._verdict(head, entries, records, said)

    def _open(self) -> Head:
        with at("checkpoint"):
            if not isinstance(self._value["checkpoint"], str):
                raise Malformed("a signed note is needed")
            self._note = self._value["checkpoint"].encode()
            return open_head(self._note, self._policy)

    def _replay(
        self, replay: Replay, entries: list[Entry], head: Head
    ) -> list[dict[str, Any]]:
        """Check every signature at its index; return the mentions they make."""
        said: list[dict[str, Any]] = []
        clock = 0  # index of the entry that told the time last
        for entry in entries:
            statement = entry.statement
            with at(f"{entry.place}.statement"):
                replay.check(entry.index, statement)
            if entry.index == 0:
                self._check_log_key(replay, head)
            if statement.is_tick:
                clock = entry.index
            elif not statement.is_content:
                self._used.add(entry.index)
            position = position_in(entry, self._digest)
            if position is None:
                continue
            self._used |= {entry.index, clock}
            with at(f"{entry.place}.statement"):
                recorded = timestamp(replay.state.last_tick)
            mention = {
                "index": entry.index,
                "position": position,
                "issuer": statement.iss,
                "key": base64url.encode(statement.kid),
                "recorded": recorded,
            }
            said.append(mention)
        return said

    def _check_log_key(self, replay: Replay, head: Head) -> None:
        if replay.state.vkey not in {str(key) for key in head.keys}:
            raise Untrusted(
                "entry 0 names another log key than the one that signed the head",
                where="entries[0].statement",
            )

    def _compare(
        self,
        replay: Replay,
        head: Head,
        records: dict[bytes, bytes],
        said: list[dict[str, Any]],
    ) -> None:
        """Check everything that follows from the rest by computing it again."""
        value, tree = self._value, head.checkpoint
        self._withheld: list[dict[str, str]] = []
        if (record := records.get(self._digest)) is None:
            name = ni(self._digest)
            self._withheld.append({"record": name, "reason": "content-absent"})
        else:
            with at("records"):
                parse_record(record)
        log = {
            "origin": tree.origin,
            "size": tree.size,
            "root": base64url.encode(tree.root),
        }
        as_of = {
            "logs": [log],
            "contents": base64url.encode(root_of(sorted(map(leaf_hash, records)))),
            "rules": {name: ni(rule) for name, rule in replay.state.rules.items()},
            "viewer": "public",
        }
        compare({"mentions": said, "complete": "unproven"}, value["answer"], "answer")
        if not said:
            raise BadProof("no entry speaks of the record", where="answer.mentions")
        compare(self._withheld, value["withheld"], "withheld")
        compare(as_of, value["as_of"], "as_of")
        compare([], value["disclosures"], "disclosures")

    def _verdict(
        self,
        head: Head,
        entries: list[Entry],
        records: dict[bytes, bytes],
        said: list[dict[str, Any]],
    ) -> Verdict:
        tree = head.checkpoint
        checks = [
            head.check_line(),
            f"{len(entries)} entries are under its root",
            f"{len(entries)} signatures hold, each by a key entitled at its index",
            f"{len(records)} records have the digests that were signed",
            "entry 0 names the key that signed the head",
            *(
                f"registered by {m['issuer']} as entry {m['index']}, "
                f"not before {m['recorded']}"
                for m in said
            ),
        ]
        name = ni(self._digest)
        facts: dict[str, Any] = {"record": name, "mentions": said}
        facts["cosigners"] = list(head.cosigners)
        mistaken: tuple[str, ...] = ()
        if self._digest in records:
            kind = facts["type"] = parse_record(records[self._digest]).type
            mistaken = self._as_content(kind, entries, said)
        return Verdict(
            "bundle",
            tree.origin,
            tree.size,
            tree.root,
            tuple(checks),
            facts,
            _UNPROVEN + mistaken + head.ignored(),
            tuple(item["record"] for item in self._withheld),
        )

    @staticmethod
    def _as_content(
        kind: str, entries: list[Entry], said: list[dict[str, Any]]
    ) -> tuple[str, ...]:
        """Return a line for each entry that states a governance record as content.

        Any party's key may sign content, so a stranger could show a "sanction"
        registered in the log. It is no reason to refuse the bundle: then the
        stranger could spoil the bundles of the true governance record.
        """
        if kind not in GOVERNANCE_TYPES:
            return ()
        named = {mention["index"] for mention in said}
        return tuple(
            f"entry {entry.index} states this {kind} record as content: it has no "
            "effect on who may do what"
            for entry in entries
            if entry.index in named and entry.statement.is_content
        )
