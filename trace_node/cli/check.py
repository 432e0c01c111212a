"""The command verify: for who believes nothing unseen."""

from pathlib import Path
from typing import Annotated

import typer

from trace_node.cli.files import read_bytes, read_policy
from trace_node.cli.output import Json, answer, machine
from trace_node.ledger.keyset import decode_key_set
from trace_node.verify import Verdict, verify_file


def add_to(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(verify)


def verify(
    file: Annotated[
        Path, typer.Argument(help="A bundle, proof, receipt, statement or checkpoint.")
    ],
    policy: Annotated[Path, typer.Option(help="Whom you believe: a tlog-policy file.")],
    statement: Annotated[
        Path | None, typer.Option(help="The log entry, for a proof or a receipt.")
    ] = None,
    record: Annotated[
        Path | None, typer.Option(help="The record that it should be about.")
    ] = None,
    keys: Annotated[
        Path | None, typer.Option(help="Receipt keys (COSE_KeySet), for receipts.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check a file offline: no network, no database."""
    machine(as_json)
    verdict = verify_file(
        read_bytes(file),
        read_policy(policy),
        statement=read_bytes(statement) if statement else None,
        record=read_bytes(record) if record else None,
        keys=decode_key_set(read_bytes(keys)) if keys else (),
    )
    answer(verdict.members(), _verdict_text(file, verdict), as_json=as_json)


def _verdict_text(file: Path, verdict: Verdict) -> str:
    lines = [f"{file}: the {verdict.kind} holds"]
    lines += [f"  checked    {line}" for line in verdict.checks]
    lines += [f"  withheld   {name}" for name in verdict.withheld]
    lines += [f"  unproven   {line}" for line in verdict.unproven]
    return "\n".join(lines)
