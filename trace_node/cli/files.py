"""Files as commands are given them: read whole, within a limit, or misuse."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from trace_node.errors import Malformed, Misuse
from trace_node.trust.policy import Policy, parse_policy

MAX_FILE = 256 << 20  # bytes
PolicyFile = Annotated[
    Path, typer.Option("--policy", help="The policy file: whose log to believe.")
]


def read_bytes(path: Path) -> bytes:
    """Return a file's bytes.

    Raises:
        Misuse: it cannot be read, or is larger than anything we take.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise Misuse(f"cannot read {path}: {error.strerror}") from None
    if len(data) > MAX_FILE:
        raise Misuse(f"{path} has more than {MAX_FILE} bytes")
    return data


def read_policy(path: Path) -> Policy:
    """Return the policy in a file.

    Raises:
        Misuse: it cannot be read or holds none. It says whom to believe, so a
            wrong one says nothing about what was to be checked.
    """
    try:
        policy = parse_policy(read_bytes(path).decode())
    except UnicodeDecodeError:
        raise Misuse(f"{path} is no policy: not UTF-8") from None
    except Malformed as error:
        raise _no_policy(path, str(error)) from None
    if not policy.logs:
        raise _no_policy(path, "it names no log")
    return policy


def _no_policy(path: Path, why: str) -> Misuse:
    told = Misuse(f"{path} is no policy: {why}")
    told.help = "A center's policy.txt is one; its operator hands it out."
    return told


def not_over(out: Path, inputs: Iterable[Path]) -> None:
    """Check that an output is none of the inputs, which it would replace.

    Raises:
        Misuse: it is one, or a folder.
    """
    if out.is_dir():
        raise Misuse(f"{out} is a folder, not a file to write")
    if out.resolve() in {path.resolve() for path in inputs}:
        raise Misuse(f"{out} would be overwritten; write to another file")


def beside(file: Path, suffix: str) -> Path:
    """Return FILE.suffix."""
    return file.with_name(f"{file.name}.{suffix}")
