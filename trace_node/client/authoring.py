"""From items to records and manifests; the same file gives the same bytes again."""

import hmac
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from trace_node.client.items import Fault, Item, Source
from trace_node.client.journal import Plan
from trace_node.errors import Malformed, Misuse, Refused
from trace_node.rules import Rules
from trace_node.trust.keys import Signer
from trace_node.trust.manifest import MAX_RECORDS, manifest_preimage
from trace_node.trust.record import make_record
from trace_node.trust.statement import MANIFEST_MEDIA, sign_statement

KINDS: Final = ("event", "declaration", "document")
BATCH: Final = 1_000  # rows of a table under one signature
BATCH_BYTES: Final = 16 << 20  # of records under one signature
PROFILE: Final = "4-segments@1"
_SECRET: Final = b"trace-node/import-salt/v1"


@dataclass(frozen=True, slots=True)
class Author:
    """Whose word the records are.

    Args:
        signer: the party's key.
        iss: the party's DID.
        secret: 32 bytes that only the party has; salts are made from it.
    """

    signer: Signer
    iss: str
    secret: bytes

    def salt(self, document: bytes, position: int) -> bytes:
        """Return 16 bytes that nobody guesses and the next run makes again."""
        data = document + position.to_bytes(8)
        return hmac.digest(self.secret, data, "sha256")[:16]

    def sign(self, records: Sequence[bytes], origin: str) -> bytes:
        """Return the statement over ``records`` for the log ``origin``."""
        digests = [sha256(record).digest() for record in records]
        return sign_statement(
            self.signer,
            iss=self.iss,
            aud=origin,
            media=MANIFEST_MEDIA,
            preimage=manifest_preimage(digests),
        )


def party_secret(private: bytes) -> bytes:
    """Return the secret for salts that belongs to a private key's raw bytes."""
    return hmac.digest(private, _SECRET, "sha256")


@dataclass(frozen=True, slots=True)
class Options:
    """How to import.

    Args:
        issued: the time now, RFC 3339 UTC; an import begun earlier keeps its own.
        kind: type of the records; None lets the kind of file decide.
        batch: rows of a table under one signature, 1 to 10,000.
        rules: checked here, row by row; the center checks them again.

    Raises:
        Misuse: ``kind`` or ``batch`` is none.
    """

    issued: str
    kind: str | None = None
    batch: int = BATCH
    rules: Rules | None = None

    def __post_init__(self) -> None:
        if self.kind is not None and self.kind not in KINDS:
            raise Misuse(f"the type is one of {', '.join(KINDS)}, not {self.kind!r}")
        if not 1 <= self.batch <= MAX_RECORDS:
            raise Misuse(f"a batch is 1 to {MAX_RECORDS:,} rows")


@dataclass(frozen=True, slots=True)
class Batch:
    """What one signature is over; ``places`` and ``records`` in the same order."""

    places: list[str]
    records: list[bytes]


def batches(
    source: Source,
    plan: Plan,
    author: Author,
    rules: Rules | None,
    on_fault: Callable[[Fault], None],
) -> Iterator[Batch]:
    """Yield the records of a file in batches; what is none goes to ``on_fault``."""
    batch, size = Batch([], []), 0
    for item in source.items:
        made = item if isinstance(item, Fault) else _record(item, plan, author, rules)
        if isinstance(made, Fault):
            on_fault(made)
            continue
        full = len(batch.records) == plan.batch
        if batch.records and (full or size + len(made) > BATCH_BYTES):
            yield batch
            batch, size = Batch([], []), 0
        # A fault was none of the two, so the item is what the record was made of.
        batch.places.append(item.place)
        batch.records.append(made)
        size += len(made)
    if batch.records:
        yield batch


def _record(
    item: Item, plan: Plan, author: Author, rules: Rules | None
) -> bytes | Fault:
    body = item.body
    if "source" in body:  # the name of the first run, or the bytes would differ
        body = {**body, "source": {**body["source"], "name": plan.name}}
    salt = author.salt(plan.document, item.position)
    try:
        record = make_record(item.kind, PROFILE, plan.issued, salt, body)
        if rules is not None:
            rules.check(item.kind, body)
    except (Malformed, Refused) as error:
        return Fault(item.place, str(error))
    return record
