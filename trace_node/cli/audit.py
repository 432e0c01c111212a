"""The command audit: a whole log again, from a folder or an address."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from trace_node.cli.files import read_policy
from trace_node.cli.output import Json, answer, machine
from trace_node.client.audit import audit_url
from trace_node.client.http import Wire
from trace_node.config import FILE, load
from trace_node.errors import Misuse
from trace_node.services.audit import audit_center
from trace_node.store.engine import place_of
from trace_node.store.place import Place
from trace_node.trust.policy import Policy
from trace_node.trust.vkey import VerifierKey
from trace_node.verify import AuditReport

Options = Annotated[
    Path | None, typer.Option("--policy", help="Whom you believe: a tlog-policy file.")
]


def add_to(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(audit)


def audit(
    center: Annotated[str, typer.Argument(help="A center's folder, or its address.")],
    policy: Options = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; one a core if not given.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Rebuild the root and re-check every signature of a log."""
    machine(as_json)
    believed = read_policy(policy) if policy else None
    with _progress() as step:
        if "://" in center:
            with Wire(center) as wire:
                report = audit_url(wire, believed, progress=step)
        else:
            report = _audit_folder(Path(center), believed, workers, step)
    answer(report.members(), report_text(report), as_json=as_json)
    if not report.ok:
        raise typer.Exit(1)


def _audit_folder(
    folder: Path,
    policy: Policy | None,
    workers: int | None,
    step: Callable[[int, int], None],
) -> AuditReport:
    note = ""
    if policy is None:
        if not (folder / "policy.txt").exists():
            raise Misuse(f"no center in {folder}; an address begins with http://")
        policy = read_policy(folder / "policy.txt")
        note = "the log's key was taken from the folder itself"
    if len(policy.logs) != 1:
        raise Misuse("the policy must name the one log to audit")
    key: VerifierKey = policy.logs[0][0]
    report = audit_center(_place(folder), key.name, key, workers=workers, progress=step)
    report.notes += [note] if note else []
    return report


def _place(folder: Path) -> Place:
    """Return where the bytes of a center are; one without settings is all there."""
    if not (folder / FILE).is_file():
        return place_of(folder)
    settings = load(folder)
    return place_of(folder, settings.database_url.get_secret_value(), settings.blobs)


def report_text(report: AuditReport) -> str:
    """Return a report for a person."""
    found = report.findings
    lines = [f"log     {report.origin}", f"size    {report.size}"]
    lines.append(f"root    {report.root.hex()}")
    lines += [f"{count:>9} {name}" for name, count in sorted(report.counts.items())]
    lines += [f"note    {note}" for note in report.notes]
    lines += [f"WRONG   {f.where}: {f.message} [{f.kind}]" for f in found.kept]
    if found.dropped:
        lines.append(f"WRONG   and {found.dropped} more")
    lines.append("holds" if report.ok else "does not hold")
    return "\n".join(lines)


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """Show progress on standard error, if that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("audit")
        yield lambda done, total: bar.update(task, completed=done, total=total)
