"""The command line: arguments in, one answer out. What is done is elsewhere.

Exit codes: 0 done or holds; 1 it does not hold, was refused or unreachable, or
the answer could not be written; 2 misuse, also of files and folders (missing,
unwritable, full); 130 interrupted. ``--json`` prints one machine-readable object
and nothing else on standard output, errors included. Progress goes to standard
error, and only to a terminal.
"""

import sys
from collections.abc import Sequence

import typer
from typer.core import TyperGroup

from trace_node.cli.lazy import Lazy
from trace_node.cli.output import fail, finish, machine, prepare
from trace_node.errors import Misuse, TraceNodeError

MISUSE, INTERRUPTED = 2, 130

root = TyperGroup(
    name="trace-node",
    help="A global traceability center in one command (全球溯源中心).",
    no_args_is_help=True,
    commands=[
        Lazy("center", "init", "Found a center: keys, settings, database, entry 0."),
        Lazy(
            "serve",
            "serve",
            "Serve the center until Ctrl-C or SIGTERM; SIGHUP renews the certificate.",
        ),
        Lazy("center", "party", "Who may register."),
        Lazy("signing", "keys", "Keys of a party."),
        Lazy("signing", "statement", "Signed statements."),
        Lazy(
            "party",
            "submit",
            "Register statements; writes a verified receipt beside each, FILE.receipt.",
        ),
        Lazy(
            "party",
            "bundle",
            "Fetch the proof of a record to take away; verified before it is written.",
        ),
        Lazy(
            "importing",
            "import",
            "Import files; run the same command again to go on after a failure.",
        ),
        Lazy("check", "verify", "Check a file offline: no network, no database."),
        Lazy(
            "audit", "audit", "Rebuild the root and re-check every signature of a log."
        ),
        Lazy(
            "keeping",
            "backup",
            "Back up a center while it runs, into a folder that audit can read.",
        ),
        Lazy(
            "keeping",
            "restore",
            "Restore a center; it reads, and signs only after --sign-from-here SIZE.",
        ),
        Lazy(
            "scrubbing",
            "scrub",
            "Hash every byte of a center's disk again; name what changed, and mend it.",
        ),
        Lazy(
            "demo",
            "demo",
            "Tell a real story on this machine, then keep serving until Ctrl-C.",
        ),
    ],
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    machine("--json" in given)  # also where parsing ends before a command begins
    prepare()
    code = _run(given)
    return code if finish() else code or 1


def _run(given: list[str]) -> int:
    try:
        result = root.main(args=given, standalone_mode=False)
    except typer.TyperException as error:
        _usage(error)
        return MISUSE
    except TraceNodeError as error:
        fail(error)
        return MISUSE if isinstance(error, Misuse) else 1
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except OSError as error:
        # A file or folder of the caller's: no room, no right, another kind.
        reason = error.strerror or str(error)
        fail(Misuse(f"{error.filename}: {reason}" if error.filename else reason))
        return MISUSE
    return result if isinstance(result, int) else 0


def _usage(error: typer.TyperException) -> None:
    """Print what the parser of arguments complains about."""
    told = Misuse(error.format_message().strip())
    if not told.message:
        return  # no arguments at all: the help was printed instead
    context = getattr(error, "ctx", None)
    if context is not None:
        told.help = f"`{context.command_path} --help` tells more."
    fail(told)
