"""What commands print: lines for people, or one JSON object for machines."""

import io
import json
import os
import sys
from typing import Annotated, Any

import typer

from trace_node.errors import TraceNodeError

Json = Annotated[
    bool, typer.Option("--json", help="Print one machine-readable object.")
]

_machine = False
_lost = False  # something could not be written to standard output


def answer(members: dict[str, Any], text: str, *, as_json: bool) -> None:
    """Print an answer in the form that was asked for."""
    if as_json:
        _print_json(members)
    else:
        _print(text)


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
        _print_json(members)
        return
    print(f"trace-node: {error}", file=sys.stderr)
    if error.help:
        print(f"  {error.help}", file=sys.stderr)


def prepare() -> None:
    """Let no character stop an answer.

    A terminal may know no Chinese, and a file's name may be no text at all.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def finish() -> bool:
    """Write out what was printed; return whether all of it could be.

    Without this a full disk is noticed when the process has ended well already.
    """
    global _lost
    _print("", end="")
    lost, _lost = _lost, False
    return not lost


def _print(text: str, *, end: str = "\n") -> None:
    """Print to standard output now.

    A reader that went away (a pipe into ``head``) has what it wanted, and hears
    no complaint; a full disk is one.
    """
    global _lost  # noqa: PLW0603 - as above
    if sys.stdout is None:
        return
    try:
        print(text, end=end, flush=True)
    except OSError as error:
        _lost = True
        if not isinstance(error, BrokenPipeError):
            print(f"trace-node: cannot write: {error.strerror}", file=sys.stderr)
        # What is left in the buffer goes nowhere, or it fails again at the end.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _print_json(members: dict[str, Any]) -> None:
    r"""Print one object; escaped where standard output is not UTF-8.

    In UTF-8 only lone surrogates are replaced by ``prepare``, which gives JSON's
    own escape, ``\udcff``; other encodings would not.
    """
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    utf8 = encoding.lower().replace("-", "") == "utf8"
    _print(json.dumps(members, ensure_ascii=not utf8, sort_keys=True))
