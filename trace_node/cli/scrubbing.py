"""The command that reads a center's disk again: scrub."""

import time
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.exc import SQLAlchemyError

from trace_node import config
from trace_node.cli.audit import report_text
from trace_node.cli.keeping import Dir, Workers, bars, log_key
from trace_node.cli.output import Json, answer, machine
from trace_node.errors import Misuse
from trace_node.services.backup_files import check_database
from trace_node.services.repair import Repair
from trace_node.services.scrub import Subject, scrub_center
from trace_node.store.engine import open_sqlite, place_of
from trace_node.store.mending import empty_index
from trace_node.verify import AuditReport

MEGABYTE = 1_000_000


def add_to(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(scrub)


def scrub(
    folder: Dir,
    rate: Annotated[
        float | None, typer.Option(min=0.01, help="MB read a second, at most.")
    ] = None,
    repair: Annotated[bool, typer.Option(help="Mend what can be mended.")] = False,
    from_: Annotated[
        Path | None, typer.Option("--from", help="The backup to mend from.")
    ] = None,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Hash every byte of a center's disk again; name what changed, and mend it."""
    machine(as_json)
    if from_ is not None and not repair:
        raise Misuse("--from is for --repair")
    subject = _subject(folder)
    if repair and (subject.place.server is not None or subject.place.blobs):
        raise Misuse(
            "--repair mends what lies in the folder. On a database server or on S3: "
            "restore a backup (docs/operations/backup.md)"
        )
    report, mended = _scrub(subject, rate, workers), {}
    if repair and not report.ok:
        mended = _repair(subject, report, from_)
        report = _scrub(subject, rate, workers)
    members = report.members() | {"mended": mended}
    lines = [f"MENDED  {count} {name}" for name, count in sorted(mended.items())]
    answer(members, "\n".join([*lines, report_text(report)]), as_json=as_json)
    if not report.ok:
        raise typer.Exit(1)


def _subject(folder: Path) -> Subject:
    key = log_key(folder)
    try:
        settings = config.load(folder)
    except Misuse:  # the report says so
        return Subject(place_of(folder), key.name, key)
    place = place_of(folder, settings.database_url.get_secret_value(), settings.blobs)
    return Subject(place, key.name, key, settings.name, settings.passphrase)


def _scrub(subject: Subject, rate: float | None, workers: int | None) -> AuditReport:
    pace = Pacer(rate * MEGABYTE) if rate else None
    with bars() as step:
        return scrub_center(
            subject, workers=workers, pace=pace, progress=partial(step, "scrub")
        )


def _repair(
    subject: Subject, report: AuditReport, backup: Path | None
) -> dict[str, int]:
    """Mend; return how many of what."""
    if backup is not None:
        check_database(backup, str(subject.vkey))
    engine = open_sqlite(subject.folder / "center.db")
    work = Repair(subject.folder, engine, backup)
    try:
        mended = dict(work.run())
    finally:
        work.close()
        engine.dispose()
    if any(f.kind == "index" or f.where == "index.db" for f in report.findings.kept):
        mended["index"] = _remake_index(subject.folder)
    return mended


def _remake_index(folder: Path) -> int:
    """Empty the index; the server, or its next start, reads the log again."""
    try:
        engine = open_sqlite(folder / "index.db", synchronous="NORMAL")
        try:
            empty_index(engine)
        finally:
            engine.dispose()
    except SQLAlchemyError:
        raise Misuse(
            f"{folder / 'index.db'} is beyond use: stop the center, remove index.db*, "
            "start it again; nothing is lost"
        ) from None
    return 1


class Pacer:
    """Waits so that no more than so many bytes a second are read."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._read = 0
        self._begin = time.monotonic()

    def __call__(self, read: int) -> None:
        """Take note of ``read`` bytes, and wait for their time to pass."""
        self._read += read
        ahead = self._begin + self._read / self._rate - time.monotonic()
        if ahead > 0:
            time.sleep(ahead)
