"""Commands of a party beside import: submit, bundle."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import typer

from trace_node.cli.files import (
    PolicyFile,
    beside,
    not_over,
    read_bytes,
    read_policy,
)
from trace_node.cli.keyfile import Center
from trace_node.cli.output import Json, answer, machine
from trace_node.client import Client
from trace_node.errors import Malformed, Misuse, TraceNodeError
from trace_node.store.files import write_file
from trace_node.trust.manifest import manifest_preimage
from trace_node.trust.record import ni, parse_ni
from trace_node.trust.statement import decode_statement


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(submit)
    app.command()(bundle)


def submit(
    files: Annotated[list[Path], typer.Argument(help="Signed statements.")],
    center: Center,
    policy: PolicyFile,
    record: Annotated[
        list[Path] | None,
        typer.Option(help="A record that a statement is about; may be repeated."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Register statements; writes a verified receipt beside each, FILE.receipt."""
    machine(as_json)
    items = pair(
        {str(file): read_bytes(file) for file in files},
        [read_bytes(path) for path in record or []],
    )
    done: list[dict[str, Any]] = []
    with Client(center, policy=read_policy(policy)) as client:
        for file, (statement, records) in items.items():
            with named(file):
                registered = client.register(statement, records)
            receipt = beside(Path(file), "receipt")
            write_file(receipt, registered.receipt)
            done.append(
                {
                    "file": file,
                    "index": registered.index,
                    "id": f"1.{registered.index}",
                    "receipt": str(receipt),
                }
            )
    answer(
        {"registered": done},
        "\n".join(f"entry {d['index']}  {d['file']}  {d['receipt']}" for d in done),
        as_json=as_json,
    )


def bundle(
    digest: Annotated[str, typer.Argument(help="The record: its ni: name, or hex.")],
    center: Center,
    policy: PolicyFile,
    out: Annotated[Path, typer.Option(help="Where to write the bundle.")],
    as_json: Json = False,
) -> None:
    """Fetch the proof of a record to take away; verified before it is written."""
    machine(as_json)
    not_over(out, [policy])
    name = read_digest(digest)
    with Client(center, policy=read_policy(policy)) as client:
        data = client.bundle(name)
    write_file(out, data)
    answer(
        {"bundle": str(out), "record": ni(name), "bytes": len(data)},
        f"bundle  {out}\nrecord  {ni(name)}",
        as_json=as_json,
    )


def read_digest(text: str) -> bytes:
    """Return the digest that a person typed: a ``ni:`` name or 64 hex digits.

    Raises:
        Misuse: it is neither.
    """
    try:
        digest = parse_ni(text) if text.startswith("ni:") else bytes.fromhex(text)
    except (ValueError, Malformed):
        digest = b""
    if len(digest) != sha256().digest_size:
        raise Misuse(f"{text!r} is neither a ni: name nor 64 hex digits")
    return digest


@contextmanager
def named(file: str) -> Iterator[None]:
    """Let an error say which of the files it is about."""
    try:
        yield
    except TraceNodeError as error:
        error.where = f"{file}, {error.where}" if error.where else file
        raise


def pair(
    raw: Mapping[str, bytes], records: Sequence[bytes]
) -> dict[str, tuple[bytes, list[bytes]]]:
    """Return each statement, by its file, with those of ``records`` it is about.

    Raises:
        Malformed: a statement is none.
        Misuse: a record belongs to no statement.
    """
    by_digest = {sha256(data).digest(): data for data in records}
    whole = list(by_digest)
    root = sha256(manifest_preimage(whole)).digest() if whole else b""
    pairs: dict[str, tuple[bytes, list[bytes]]] = {}
    used: set[bytes] = set()
    for file, statement in raw.items():
        with named(file):
            payload = decode_statement(statement).payload
        names = whole if payload == root else [payload] if payload in by_digest else []
        used.update(names)
        pairs[file] = statement, [by_digest[name] for name in names]
    stray = [name for name in whole if name not in used]
    if stray:
        raise Misuse(f"no statement is about the record {ni(stray[0])}")
    return pairs
