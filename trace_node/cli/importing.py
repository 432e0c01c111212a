"""The command ``import``: files into a center, as their party's signed word."""

import fcntl
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)

from trace_node import local
from trace_node.cli.files import PolicyFile, not_over, read_policy
from trace_node.cli.keyfile import (
    Center,
    Iss,
    KeyFile,
    open_signer,
    party_did,
    raw_private,
)
from trace_node.cli.output import Json, answer, machine
from trace_node.client import (
    Author,
    Client,
    Importer,
    Options,
    Registered,
    Report,
    party_secret,
)
from trace_node.client.authoring import BATCH
from trace_node.client.importing import Done, names
from trace_node.client.problems import plain
from trace_node.errors import Misuse
from trace_node.trust.base64url import encode as base64url
from trace_node.verify.verdict import timestamp

JOURNALS = "imports"  # folder beside the key
SHOWN = 20  # faults printed for people
MENDING = (
    "Mend them in a file of their own: a changed file is another document, and all "
    "of its rows would be registered again."
)


def add_to(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command("import")(import_files)


def import_files(
    files: Annotated[
        list[Path], typer.Argument(help="EPCIS 2.0 in JSON, or tables in CSV.")
    ],
    *,
    center: Center,
    key: KeyFile,
    policy: PolicyFile,
    iss: Iss = None,
    kind: Annotated[
        str | None,
        typer.Option(
            "--type", help="event, declaration or document; by file if left out."
        ),
    ] = None,
    batch: Annotated[int, typer.Option(help="Rows under one signature.")] = BATCH,
    out: Annotated[
        Path | None, typer.Option(help="Write receipts there, one JSON line each.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Import files; run the same command again to go on after a failure."""
    machine(as_json)
    if out is not None:
        not_over(out, [*files, key, policy])
    begin = time.perf_counter()
    author = load_author(key, iss)
    options = Options(timestamp(local.now()), kind, batch, local.read_rules())
    with (
        Client(
            center, policy=read_policy(policy), signer=author.signer, iss=author.iss
        ) as client,
        receipts_to(out) as done,
        progress_bar() as bar,
    ):
        journals = key.parent / JOURNALS
        report = Importer(
            client, author, journals, options, done=done, progress=bar.update_to
        ).run(files)
    seconds = time.perf_counter() - begin
    answer(members(report, seconds), text(report, seconds), as_json=as_json)
    if report.rejected:
        raise typer.Exit(1)


def load_author(key: Path, iss: str | None) -> Author:
    """Return whose word the records are, from a key file.

    Raises:
        Misuse: the key cannot be opened.
    """
    signer = open_signer(key)
    return Author(signer, party_did(signer, iss), party_secret(raw_private(signer)))


def members(report: Report, seconds: float) -> dict[str, Any]:
    """Return a report as JSON values."""
    return {
        "files": report.files,
        "records": report.records,
        "statements": report.statements,
        "resumed": report.resumed,
        "indices": report.indices,
        "rejected": report.rejected,
        "faults": [
            {"file": name, "place": fault.place, "message": fault.message}
            for name, fault in report.faults
        ],
        "notes": report.notes,
        "seconds": round(seconds, 3),
        "records_per_second": round(report.records / seconds, 1),
    }


def text(report: Report, seconds: float) -> str:
    """Return a report for people."""
    head = f"{report.records:,} records in {report.statements:,} statements"
    lines = [f"{head} from {report.files:,} files in {seconds:.1f} s"]
    if report.resumed:
        lines.append(f"{report.resumed:,} statements were registered before")
    lines += [f"note: {note}" for note in report.notes[:SHOWN]]
    if report.rejected:
        lines.append(f"{report.rejected:,} records were not imported:")
    lines += [
        f"  {name}, {fault.place}: {fault.message}"
        for name, fault in report.faults[:SHOWN]
    ]
    if len(report.faults) > SHOWN:
        lines.append("  ... (--json lists up to 1,000)")
    if report.rejected and report.records:
        lines.append(MENDING)
    # Notes and faults repeat what stands in files that others made.
    return "\n".join(map(plain, lines))


@contextmanager
def receipts_to(path: Path | None) -> Iterator[Done]:
    """Yield what writes receipts as NDJSON; the file is there when all is done.

    Until then they are in FILE.part, which a run that fails takes away and one that
    is killed leaves: the next writes all of it again.

    Raises:
        Misuse: the file cannot be written, or another import is writing it.
    """
    if path is None:
        yield lambda *_: None
        return
    part = path.with_name(path.name + ".part")
    with _writing(part):
        file = part.open("ab", buffering=0)  # a buffer would fail again when closed
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Misuse(f"another import is writing {part}") from None
        file.truncate(0)

        def done(registered: Registered, records: list[bytes]) -> None:
            line = {
                "statement": base64url(registered.statement),
                "receipt": base64url(registered.receipt),
                "index": registered.index,
                "records": names(records),
            }
            left = json.dumps(line).encode() + b"\n"
            with _writing(part):
                while left:
                    left = left[file.write(left) :]

        try:
            yield done
            with _writing(part):
                part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Misuse(f"cannot write {path}: {error.strerror}") from None


class Bar(Progress):
    """Records done of records known."""

    def update_to(self, done: int, known: int) -> None:
        """Show ``done`` of ``known``."""
        if not self.task_ids:
            self.add_task("importing")
        self.update(self.task_ids[0], completed=done, total=max(known, done))


def progress_bar() -> Bar:
    """Return a progress bar on standard error; silent when that is no terminal."""
    return Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(file=sys.stderr),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
