"""Import: files in, records and signed manifests out, registered exactly once.

    file ── items ── records ── manifests of many ── POST /submissions ── receipts
                │                                                            │
                └ faults, by line                              journal ◄─────┘

Everything sent is a function of the file, the party's key and the journal's first
line. So whatever a run was doing when it was killed, the next one makes the
same statements; those without an acknowledgement are sent again, and the center
answers the ones it knows with their first receipts.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from trace_node.client.authoring import Author, Batch, Options, batches
from trace_node.client.documents import read_epcis
from trace_node.client.items import Fault, Report, Source
from trace_node.client.journal import Ack, Journal, Plan
from trace_node.client.session import Client, Outcome
from trace_node.client.tables import MAX_TABLE, read_table
from trace_node.client.trusting import Registered
from trace_node.errors import (
    Conflict,
    Malformed,
    Misuse,
    NotVerified,
    TraceNodeError,
)
from trace_node.trust.record import ni
from trace_node.trust.statement import decode_statement

_JSON: Final = frozenset({".json", ".jsonld"})
_TABLES: Final = frozenset({".csv", ".tsv"})
_STRANGER: Final = (
    "Has the center's operator registered the party and its key (trace-node party add)?"
)


@dataclass(slots=True)
class _File:
    """A file that is being imported; its journal closes with its last answer."""

    name: str
    journal: Journal
    waiting: int = 0
    read: bool = False

    def settle(self) -> None:
        if self.read and not self.waiting:
            self.journal.close()


@dataclass(frozen=True, slots=True)
class _Manifest:
    """One signature over a batch, number ``number`` of its file."""

    file: _File
    number: int
    batch: Batch
    statement: bytes


Done = Callable[[Registered, list[bytes]], None]
Progress = Callable[[int, int], None]


class Importer:
    """Imports files for one party into one center."""

    def __init__(
        self,
        client: Client,
        author: Author,
        folder: Path,
        options: Options,
        *,
        done: Done = lambda *_: None,
        progress: Progress = lambda *_: None,
    ) -> None:
        """Prepare; nothing is read or sent yet.

        Args:
            client: of the center; its policy decides what is believed.
            author: whose word it is.
            folder: where journals are kept, beside the key.
            options: how to import.
            done: told of each registered statement and its records.
            progress: told of (records settled, records known of).
        """
        self._client, self._author, self._folder = client, author, folder
        self._options, self._done, self._progress = options, done, progress
        self._report = Report()
        self._files: list[_File] = []
        self._seen: dict[tuple[bytes, str], str] = {}
        self._known = 0

    def run(self, paths: Sequence[Path]) -> Report:
        """Import the files, in their order; run it again to go on after a failure.

        Raises:
            Misuse: a file is missing or of a kind that cannot be read.
            Refused: the center takes nothing from this party or key.
            NotVerified: what the center answered does not hold.
            Unreachable, Overloaded: it could not be asked.
        """
        for path in paths:
            check_kind(path, self._options.kind)
        waiting: deque[_Manifest] = deque()

        def feed() -> Iterator[tuple[bytes, list[bytes]]]:
            for manifest in self._manifests(paths):
                waiting.append(manifest)
                yield manifest.statement, manifest.batch.records

        try:
            for outcome in self._client.submit_many(feed()):
                self._settle(waiting.popleft(), outcome)
        finally:
            for file in self._files:
                file.journal.close()
        return self._report

    def _manifests(self, paths: Sequence[Path]) -> Iterator[_Manifest]:
        """Yield what is not acknowledged yet, over all files."""
        for path in paths:
            self._report.files += 1
            seen = len(self._seen)
            try:
                data = path.read_bytes()
                source = self._read(path, data)
            except Malformed as error:
                fault = Fault(error.where or "the file", error.message)
                self._report.fault(path.name, fault)
                continue
            except OSError as error:
                raise Misuse(f"cannot read {path}: {error.strerror}") from None
            self._report.notes += [f"{path.name}: {note}" for note in source.notes]
            content = sha256(data).digest(), self._kind_of(path)
            twin = self._seen.setdefault(content, path.name)
            if len(self._seen) == seen:
                self._report.notes.append(f"{path.name}: the same as {twin}")
                continue
            self._known += source.total
            yield from self._of_file(self._open(path, data, source), source)

    def _read(self, path: Path, data: bytes) -> Source:
        if path.suffix.lower() in _JSON:
            return read_epcis(data)
        return read_table(data, _spelled(path.name), self._kind_of(path))

    def _kind_of(self, path: Path) -> str:
        usual = "event" if path.suffix.lower() in _JSON else "declaration"
        return self._options.kind or usual

    def _open(self, path: Path, data: bytes, source: Source) -> _File:
        document = sha256(data).digest()
        origin = self._client.trust().origin
        plan = Plan(
            document,
            self._options.issued,
            _spelled(path.name),
            source.batch or self._options.batch,
            self._author.signer.public.kid_text,
        )
        parts = [
            document,
            origin.encode(),
            self._author.iss.encode(),
            self._kind_of(path).encode(),
        ]
        file = _File(path.name, Journal(self._folder, parts, plan))
        # Open journals are those of a request in flight, and no more.
        self._files = [f for f in self._files if f.waiting or not f.read] + [file]
        return file

    def _of_file(self, file: _File, source: Source) -> Iterator[_Manifest]:
        cut = batches(
            source,
            file.journal.plan,
            self._author,
            self._options.rules,
            lambda fault: self._report.fault(file.name, fault),
        )
        origin = self._client.trust().origin
        for number, batch in enumerate(cut):
            statement = self._author.sign(batch.records, origin)
            manifest = _Manifest(file, number, batch, statement)
            earlier = self._acknowledged(manifest)
            file.waiting += 1
            if earlier is None:
                yield manifest
            else:
                self._report.resumed += 1
                self._registered(manifest, earlier)
        file.read = True
        file.settle()

    def _acknowledged(self, manifest: _Manifest) -> Registered | None:
        """Return what an earlier run registered, checked again; None if it did not."""
        journal = manifest.file.journal
        ack = journal.acks.get(manifest.number)
        if ack is None:
            return None
        identity = decode_statement(manifest.statement).identity
        if identity != ack.identity:
            raise Conflict(
                "this program cuts the file into other records than the one that "
                "began the import",
                where=str(journal.path),
            )
        try:
            self._client.trust().check_receipt(
                ack.receipt, manifest.statement, ack.index
            )
        except (NotVerified, Malformed):
            return None  # another log under the same name, or a damaged journal
        return Registered(ack.index, ack.receipt, manifest.statement, identity)

    def _settle(self, manifest: _Manifest, outcome: Outcome) -> None:
        if isinstance(outcome, TraceNodeError):
            if outcome.type.startswith("refused-"):  # the log's rules: all would fail
                outcome.help = outcome.help or _STRANGER
                raise outcome
            places = manifest.batch.places
            where = f"{places[0]} to {places[-1]}"
            fault = Fault(where, str(outcome))
            self._report.fault(manifest.file.name, fault, len(manifest.batch.records))
            manifest.file.waiting -= 1
            manifest.file.settle()
            return
        ack = Ack(outcome.index, outcome.identity, outcome.receipt)
        manifest.file.journal.add(manifest.number, ack)
        self._registered(manifest, outcome)

    def _registered(self, manifest: _Manifest, registered: Registered) -> None:
        report = self._report
        report.records += len(manifest.batch.records)
        report.statements += 1
        report.indices.append(registered.index)
        self._done(registered, manifest.batch.records)
        self._progress(report.records, self._known)
        manifest.file.waiting -= 1
        manifest.file.settle()


def names(records: Sequence[bytes]) -> list[str]:
    """Return the ``ni:`` names of records."""
    return [ni(sha256(record).digest()) for record in records]


def _spelled(name: str) -> str:
    """Return a file's name as text; bytes that are none are written out."""
    return name.encode(errors="backslashreplace").decode()


def check_kind(path: Path, kind: str | None) -> None:
    """Check that a file can be imported, by its name and size alone.

    Raises:
        Misuse: it cannot.
    """
    suffix = path.suffix.lower()
    if suffix not in _JSON | _TABLES:
        raise Misuse(
            f"{path.name}: EPCIS 2.0 documents in JSON (.json, .jsonld) and tables "
            "(.csv, .tsv) can be imported; save a spreadsheet as CSV in UTF-8"
        )
    if suffix in _JSON and kind not in {None, "event"}:
        raise Misuse(f"{path.name}: an EPCIS document holds events, not {kind}s")
    try:
        size = path.stat().st_size
    except OSError as error:
        raise Misuse(f"cannot read {path}: {error.strerror}") from None
    if not path.is_file() or size > MAX_TABLE:
        raise Misuse(f"{path} is no file, or over {MAX_TABLE >> 20} MiB")
