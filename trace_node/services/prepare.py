"""Everything about a submission that needs no lock: decoding, digests, rules."""

from collections.abc import Sequence
from hashlib import sha256

from trace_node.errors import LimitExceeded, Refused, TraceNodeError
from trace_node.ledger.sequencer import Candidate
from trace_node.rules import Rules
from trace_node.services.admission import kind_of
from trace_node.store.log import KIND_GOVERNANCE, KIND_MANIFEST, ROW_LIMIT, Content
from trace_node.store.vault import Vault
from trace_node.trust.manifest import MAX_RECORDS, manifest_preimage
from trace_node.trust.record import CONTENT_TYPES, read_members
from trace_node.trust.statement import Statement, decode_statement


def check_record(data: bytes, rules: Rules) -> str:
    """Read a record strictly, check it against the rules in force; return its type.

    Raises:
        Malformed: it is no record.
        Refused: its body does not conform to the rules.
    """
    record = read_members(data)
    kind: str = record["type"]
    rules.check(kind, record["body"])
    return kind


class Preparer:
    """Turns statement and records into a candidate; safe in any thread."""

    def __init__(self, vault: Vault, rules: Rules, origin: str) -> None:
        self._vault = vault
        self._rules = rules
        self._origin = origin

    def prepare(self, raw: bytes, records: Sequence[bytes] = ()) -> Candidate:
        """Decode ``raw`` and check all that needs no lock, see ``candidate``."""
        return self.candidate(decode_statement(raw), records)

    def candidate(
        self, statement: Statement, records: Sequence[bytes] = ()
    ) -> Candidate:
        """Check all that needs no lock.

        Raises:
            Malformed: a record is not what it claims to be.
            Refused: made for another log, or the records are not the statement's.
        """
        if statement.aud != self._origin:
            raise Refused(
                f"the statement is made for {statement.aud}", where="statement.aud"
            )
        content = Content(statement, kind_of(statement))
        if statement.is_tick:
            raise Refused("only the center itself ticks", where="statement")
        if content.kind == KIND_GOVERNANCE:
            content.record = self._governance_record(statement, records)
            content.records = ((statement.payload, content.record),)
        elif records:
            self._take(content, records)
        return Candidate(statement.identity, statement.raw, content)

    def _governance_record(
        self, statement: Statement, records: Sequence[bytes]
    ) -> bytes:
        if len(records) > 1:
            raise Refused("a governance statement has one record", where="records")
        if not records and not self._vault.has(statement.payload):
            raise Refused(
                "a governance statement needs its record first: "
                "PUT it, or send it along",
                where="record",
            )
        data = records[0] if records else self._vault.read(statement.payload)
        if sha256(data).digest() != statement.payload:
            raise Refused("the record is not the statement's", where="records[0]")
        check_record(data, self._rules)
        return data

    def _take(self, content: Content, records: Sequence[bytes]) -> None:
        if len(records) > MAX_RECORDS:
            raise LimitExceeded(f"{len(records)} records, {MAX_RECORDS} are the limit")
        digests = [sha256(data).digest() for data in records]
        payload = content.statement.payload
        if content.kind == KIND_MANIFEST:
            if sha256(manifest_preimage(digests)).digest() != payload:
                raise Refused("the records are not the manifest's", where="records")
            content.digests = digests
        elif digests != [payload]:
            raise Refused("the record is not the statement's", where="records[0]")
        rows, large = [], []
        for position, (digest, data) in enumerate(zip(digests, records, strict=True)):
            try:
                _check_content(check_record(data, self._rules))
            except TraceNodeError as error:
                error.where = f"records[{position}] {error.where}".strip()
                raise
            if len(data) <= ROW_LIMIT:
                rows.append((digest, data))
            else:
                large.append((digest, data))
        self._vault.stage_large(large)
        content.records = rows
        content.filed = [(digest, len(data)) for digest, data in large]


def _check_content(kind: str) -> None:
    # A stranger's "sanction", stated as content, would read like the center's.
    if kind not in CONTENT_TYPES:
        raise Refused(f"a {kind} record is no content", where="type")
