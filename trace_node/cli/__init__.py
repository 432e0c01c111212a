"""The command line: arguments in, one answer out. What is done is elsewhere.

Exit codes: 0 done or holds; 1 it does not hold, was refused or unreachable;
2 misuse. ``--json`` prints one machine-readable object and nothing else on
standard output. Progress goes to standard error, and only to a terminal.
"""

import sys
from collections.abc import Sequence

import click
import typer

from trace_node.cli import center, check, demo, party
from trace_node.cli.output import fail
from trace_node.errors import Misuse, TraceNodeError

MISUSE, INTERRUPTED = 2, 130

app = typer.Typer(
    name="trace-node",
    help="A global traceability center in one command (全球溯源中心).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for module in (center, party, check, demo):
    module.add_to(app)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    try:
        result = app(args=arguments, standalone_mode=False)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return MISUSE
    except TraceNodeError as error:
        fail(error)
        return MISUSE if isinstance(error, Misuse) else 1
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        return 1
    return result if isinstance(result, int) else 0
