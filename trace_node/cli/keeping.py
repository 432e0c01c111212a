"""Commands of who keeps a center: backup, restore."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from sqlalchemy import Engine

from trace_node import config
from trace_node.cli.files import read_bytes, read_policy
from trace_node.cli.output import Json, answer, machine
from trace_node.errors import Misuse
from trace_node.local import now
from trace_node.services.backup import Made, Source, back_up
from trace_node.services.founding import timestamp
from trace_node.services.restore import Restored, learn_head, restore, sign_from
from trace_node.store.blobs import open_blobs
from trace_node.store.copying import check_empty, copy_rows, copy_sqlite, load_rows
from trace_node.store.engine import open_engines, reading, sqlite_driver
from trace_node.store.log import SqlLog
from trace_node.store.postgres import is_postgres
from trace_node.store.scan import Scan
from trace_node.trust.vkey import VerifierKey

Dir = Annotated[Path, typer.Argument(help="The center's folder.")]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Processes; one a core if not given.")
]
Step = Callable[[str, int, int], None]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(backup)
    app.command("restore")(restore_center)


def backup(
    folder: Dir,
    to: Annotated[Path, typer.Option(help="A new folder, or an earlier backup.")],
    with_passphrase: Annotated[
        bool, typer.Option(help="Copy what opens the key files, too.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Back up a center while it runs, into a folder that audit can read."""
    machine(as_json)
    settings, at = config.load(folder), timestamp(now())
    with _database(folder, settings) as center, bars() as step:
        copy = partial(copy_sqlite, folder / "center.db")
        if center is not None:
            copy = partial(copy_rows, center)
        key = log_key(folder)
        blobs = open_blobs(settings.blobs, folder, key.name)
        source = Source(folder, key, copy, blobs)
        try:
            made = back_up(
                source, to, at, with_passphrase=with_passphrase, progress=step
            )
        finally:
            blobs.close()
    answer(_backup_members(made), _backup_text(made, to), as_json=as_json)
    if made.manifest.damaged:
        raise typer.Exit(1)


def restore_center(
    folder: Dir,
    from_: Annotated[
        Path | None, typer.Option("--from", help="The backup, or another center.")
    ] = None,
    known_head: Annotated[
        Path | None, typer.Option(help="A checkpoint that somebody holds of this log.")
    ] = None,
    sign_from_here: Annotated[
        int | None,
        typer.Option(
            min=0, help="State that no head larger than this size was ever released."
        ),
    ] = None,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Restore a center; it reads, and signs only after --sign-from-here SIZE."""
    machine(as_json)
    if from_ is None and known_head is None and sign_from_here is None:
        raise Misuse("say what to restore from: --from BACKUP")
    members: dict[str, Any] = {"folder": str(folder)}
    lines: list[str] = []
    at = timestamp(now())
    if from_ is not None:
        # A server for the database is named by what survived, or the environment.
        file = next(
            (f for f in (folder / config.FILE, from_ / config.FILE) if f.is_file()),
            None,
        )
        with _database(folder, config.build(file, {})) as center, bars() as step:
            put = None
            if center is not None:
                check_empty(center)
                put = partial(_load, center)
            done = restore(folder, from_, at, put=put, progress=step, workers=workers)
        members |= _restore_members(done)
        lines += _restore_lines(done)
    key, size = log_key(folder), _size(folder)
    if known_head is not None:
        kept = learn_head(folder, key, read_bytes(known_head))
        members["largest_head"] = kept
        lines.append(f"head    {kept} is the largest known")
    if sign_from_here is not None:
        sign_from(folder, key, size, sign_from_here, at)
        members["signs_from"] = size
        lines.append(f"signs   from {size} on, as you stated")
    elif from_ is not None:
        lines.append(_NEXT.format(folder=folder, size=size))
    answer(members, "\n".join(lines), as_json=as_json)


_NEXT = """
The center can be served now: it answers, and signs nothing. Before it may sign:
  1  find the newest checkpoint that anybody holds: witnesses, monitors, customs,
     partners, receipts (a receipt names a size). Give each to
         trace-node restore {folder} --known-head FILE
  2  none is larger than {size}? Then state it:
         trace-node restore {folder} --sign-from-here {size}
     One is larger? Then entries are lost. Signing would fork the log: leave this
     one for reading, and found a new log (docs/operations/backup.md)."""


def log_key(folder: Path) -> VerifierKey:
    """Return the key of the center's log, by its policy file.

    Raises:
        Misuse: there is none, or more than one log in it.
    """
    logs = read_policy(folder / "policy.txt").logs
    if len(logs) != 1:
        raise Misuse(f"{folder / 'policy.txt'} must name the one log of the center")
    return logs[0][0]


@contextmanager
def _database(folder: Path, settings: config.Settings) -> Iterator[Engine | None]:
    """Open the database server of a center; None where it is a file."""
    url = settings.database_url.get_secret_value()
    if not is_postgres(url):
        yield None
        return
    engines = open_engines(
        folder,
        url,
        accept=settings.database_accept.split(","),
        seconds=settings.database_seconds,
    )
    try:
        yield engines.center
    finally:
        engines.dispose()


def _load(center: Engine, path: Path) -> None:
    load_rows(path, center, lambda *_: None)


def _size(folder: Path) -> int:
    """Return where the log of a center ends."""
    with _database(folder, config.load(folder)) as center:
        if center is not None:
            return SqlLog(center, reading(center)).head().range.size
    scan = Scan(folder / "center.db", sqlite_driver().__name__)
    try:
        return scan.ends().size
    finally:
        scan.close()


def _backup_members(made: Made) -> dict[str, Any]:
    manifest = made.manifest
    return {
        "origin": manifest.origin,
        "size": manifest.size,
        "root": manifest.root.hex(),
        "made": manifest.made,
        "files": len(manifest.files),
        "bytes": sum(file.size for file in manifest.files),
        "vault_copied": made.copied,
        "vault_kept": made.kept,
        "vault_dropped": made.dropped,
        "left_out": list(manifest.left_out),
        "damaged": list(manifest.damaged),
    }


def _backup_text(made: Made, to: Path) -> str:
    manifest = made.manifest
    volume = sum(file.size for file in manifest.files)
    lines = [
        f"backup  {to}, {len(manifest.files)} files, {volume:,} bytes",
        f"log     {manifest.origin}",
        f"size    {manifest.size}",
        f"root    {manifest.root.hex()}",
        f"vault   {made.copied} files copied, {made.kept} there already",
    ]
    lines += [f"not in it: {what}" for what in manifest.left_out]
    lines += [f"LOST AT THE CENTER: {what}" for what in manifest.damaged]
    return "\n".join(lines)


def _restore_members(done: Restored) -> dict[str, Any]:
    return {
        "origin": done.manifest.origin,
        "size": done.manifest.size,
        "root": done.manifest.root.hex(),
        "backup_made": done.manifest.made,
        "largest_head": done.kept,
        "tiles": done.tiles,
        "notes": list(done.notes),
    }


def _restore_lines(done: Restored) -> list[str]:
    manifest = done.manifest
    return [
        f"log     {manifest.origin}, backup of {manifest.made}",
        f"size    {manifest.size}, audited: it holds",
        f"root    {manifest.root.hex()}",
        f"head    {done.kept} is the largest known",
        f"tiles   {done.tiles} made again",
        *(f"note    {note}" for note in done.notes),
    ]


@contextmanager
def bars() -> Iterator[Step]:
    """Show progress of several kinds on standard error, if that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _what, _done, _total: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    tasks: dict[str, Any] = {}
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:

        def step(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what)
            bars.update(tasks[what], completed=done, total=total)

        yield step
