"""Bundles: an answer to take away, checkable offline (``trace_node.verify``).

One JSON file holds the question, the answer, the records, their statements,
manifest paths and tlog-proofs, entry 0 and the governance entries needed. All
proofs lead to one signed head. The bytes are deterministic (sorted keys, no
spaces), so that a changed byte anywhere is found. Each is checked by the verifier
that its taker will use before it is handed on, so that an index that changed at
rest (it is not part of the log) makes an error and not a false answer.
"""

from dataclasses import dataclass
from typing import Any

import orjson

from trace_node.errors import NotFound, StoreCorrupt, TraceNodeError
from trace_node.ledger.checkpoint import Checkpoint
from trace_node.ledger.merkle import inclusion_proof
from trace_node.ledger.tlogproof import encode_proof
from trace_node.services.checked import CheckedLog
from trace_node.services.follow import Follower
from trace_node.services.founding import timestamp
from trace_node.store.heads import HeadFile
from trace_node.store.index import SqlIndex
from trace_node.store.log import LogEntry
from trace_node.store.tiles import TileStore
from trace_node.store.vault import Vault
from trace_node.trust.base64url import encode as base64url
from trace_node.trust.manifest import manifest_path
from trace_node.trust.merkle import leaf_hash, root_of
from trace_node.trust.policy import Policy
from trace_node.trust.record import Record, ni, parse_record
from trace_node.trust.statement import Statement, decode_statement
from trace_node.verify import verify_bundle

FORMAT = "trace-node-bundle@1"


@dataclass(frozen=True)
class Library:
    """All that answers are made from."""

    log: CheckedLog
    vault: Vault
    index: SqlIndex
    tiles: TileStore
    keeper: HeadFile
    follower: Follower
    policy: Policy  # of a taker who believes this log alone


def record_bundle(library: Library, digest: bytes) -> bytes:
    """Return the bundle that answers "who registered this record, and when?".

    Raises:
        NotFound: no entry under the signed head speaks of the record.
    """
    while library.follower.step():  # answers include all that is acknowledged
        pass
    found = library.keeper.snapshot()
    head = found[0] if found else None
    mentions = [
        mention
        for mention in library.index.mentions(digest)
        if head and mention.index < head.size
    ]
    if found is None or not mentions:
        raise NotFound("no entry of this log speaks of that record")
    data = _Maker(library, *found).bundle(
        digest, [(mention.index, mention.position) for mention in mentions]
    )
    try:
        verify_bundle(data, library.policy)
    except TraceNodeError as error:
        raise StoreCorrupt(f"the answer does not hold: {error}") from None
    return data


class _Maker:
    """Collects what one bundle needs, each thing once."""

    def __init__(self, library: Library, head: Checkpoint, note: bytes) -> None:
        self._library = library
        self._head = head
        self._note = note
        library.tiles.catch_up(head.size)
        self._nodes = library.tiles.nodes(head.size)
        self._records: dict[bytes, bytes] = {}
        self._entries: dict[int, dict[str, Any]] = {}
        self._rules: dict[str, str] = {}

    def bundle(self, digest: bytes, places: list[tuple[int, int]]) -> bytes:
        said = [self._mention(digest, index, at) for index, at in places]
        withheld = []
        try:
            self._records[digest] = self._library.vault.read(digest)
        except NotFound:
            withheld.append({"record": ni(digest), "reason": "content-absent"})
        self._add_governance({mention["issuer"] for mention in said})
        members = {
            "bundle": FORMAT,
            "question": {"record": ni(digest)},
            "answer": {"mentions": said, "complete": "unproven"},
            "as_of": {
                "logs": [
                    {
                        "origin": self._head.origin,
                        "size": self._head.size,
                        "root": base64url(self._head.root),
                    }
                ],
                "contents": base64url(root_of(sorted(map(leaf_hash, self._records)))),
                "rules": self._rules,
                "viewer": "public",
            },
            "checkpoint": self._note.decode(),
            "entries": [self._entries[index] for index in sorted(self._entries)],
            "records": [
                {"name": ni(name), "bytes": base64url(data)}
                for name, data in sorted(self._records.items())
            ],
            "disclosures": [],
            "withheld": withheld,
        }
        return orjson.dumps(members, option=orjson.OPT_SORT_KEYS)

    def _add_governance(self, issuers: set[str]) -> None:
        """Add the policies, and what says who the issuers are, with the records."""
        custodians: set[str] = set()
        for subject in ["", *sorted(issuers)]:
            for record in self._governance_of(subject):
                if not subject:  # the newest policy names the rules in force
                    self._rules = record.body["rules"]
                if holder := record.body.get("custodian"):
                    custodians.add(holder)
        # A key is only taken if its custodian is a party by then.
        for holder in sorted(custodians - issuers):
            self._governance_of(holder, only="party")

    def _governance_of(self, subject: str, only: str | None = None) -> list[Record]:
        """Add the governance entries about ``subject``; return their records."""
        library, found = self._library, []
        for index in library.index.governance_of(subject):
            if index >= self._head.size:
                continue
            entry = library.log.entry(index)
            statement = decode_statement(entry.statement)
            if only in {None, statement.governance_type}:
                payload = self._add(entry).payload
                self._records[payload] = library.vault.read(payload)
                found.append(parse_record(self._records[payload]))
        return found

    def _mention(self, digest: bytes, index: int, position: int) -> dict[str, Any]:
        entry = self._library.log.entry(index)
        statement = self._add(entry)
        if statement.is_manifest:
            digests = self._digests(index, statement)
            if position >= len(digests) or digests[position] != digest:
                raise StoreCorrupt("index and manifest name different records")
            self._entries[index]["manifest"] = {
                "count": len(digests),
                "root": base64url(root_of([leaf_hash(d) for d in digests])),
                "position": position,
                "path": [base64url(node) for node in manifest_path(digests, position)],
            }
        elif statement.payload != digest or position:
            raise StoreCorrupt("index and entry name different records")
        self._add(self._library.log.tick_of(entry))
        return {
            "index": index,
            "position": position,
            "issuer": statement.iss,
            "key": base64url(statement.kid),
            "recorded": timestamp(entry.recorded),
        }

    def _add(self, entry: LogEntry) -> Statement:
        if entry.index not in self._entries:
            path = inclusion_proof(entry.index, self._head.size, self._nodes)
            proof = encode_proof(entry.index, path, self._note)
            self._entries[entry.index] = {
                "index": entry.index,
                "statement": base64url(entry.statement),
                # The checkpoint is in the bundle once; a proof is the lines before.
                "proof": proof.decode().removesuffix(self._note.decode()),
            }
        return decode_statement(entry.statement)

    def _digests(self, index: int, statement: Statement) -> list[bytes]:
        try:
            return self._library.log.manifest(index, statement)
        except NotFound:  # the index has read it, so it was here
            raise StoreCorrupt(
                "a record list is gone", where=f"entry {index}"
            ) from None
