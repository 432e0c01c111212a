"""What commands print: lines for people, or one JSON object for machines."""

import json
import sys
from typing import Annotated, Any

import typer

from trace_node.errors import TraceNodeError

Json = Annotated[
    bool, typer.Option("--json", help="Print one machine-readable object.")
]

_machine = False


def answer(members: dict[str, Any], text: str, *, as_json: bool) -> None:
    """Print an answer in the form that was asked for."""
    if as_json:
        print(json.dumps(members, ensure_ascii=False, sort_keys=True))
    else:
        print(text)


def machine(as_json: bool) -> None:
    """Remember that errors are wanted as JSON, too."""
    global _machine  # noqa: PLW0603 - one process runs one command
    _machine = as_json


def fail(error: TraceNodeError) -> None:
    """Print an error: what, where, and what can be done about it."""
    if _machine:
        members = {
            "error": error.type,
            "message": error.message,
            "where": error.where,
            "help": error.help,
        }
        print(json.dumps(members, ensure_ascii=False, sort_keys=True))
        return
    print(f"trace-node: {error}", file=sys.stderr)
    if error.help:
        print(f"  {error.help}", file=sys.stderr)
