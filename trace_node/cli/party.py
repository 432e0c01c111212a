"""Commands of a party: keys new, statement sign, submit, bundle, import."""

import secrets
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from trace_node import node
from trace_node.cli import importing
from trace_node.cli.keyfile import (
    Center,
    Iss,
    KeyFile,
    PolicyFile,
    open_signer,
    party_did,
    read_bytes,
    read_policy,
    secret_of,
)
from trace_node.cli.output import Json, answer, machine
from trace_node.client import Client
from trace_node.client.authoring import PROFILE
from trace_node.errors import Malformed, Misuse
from trace_node.services.founding import timestamp
from trace_node.store.files import write_file
from trace_node.store.keys import new_signer, save_signer
from trace_node.trust.did import did_key
from trace_node.trust.manifest import manifest_preimage
from trace_node.trust.record import (
    SALT_SIZE,
    loads_strict,
    make_record,
    media_of,
    ni,
    parse_ni,
    parse_record,
)
from trace_node.trust.statement import decode_statement, sign_statement

CURVES = ("Ed25519", "P-256")
key_commands = typer.Typer(help="Keys of a party.", no_args_is_help=True)
statements = typer.Typer(help="Signed statements.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.add_typer(key_commands, name="keys")
    app.add_typer(statements, name="statement")
    key_commands.command("new")(keys_new)
    statements.command("sign")(statement_sign)
    app.command()(submit)
    app.command()(bundle)
    importing.add_to(app)


def keys_new(
    file: Annotated[Path, typer.Argument(help="Where to write the key.")],
    curve: Annotated[str, typer.Option(help="Ed25519 or P-256.")] = "Ed25519",
    as_json: Json = False,
) -> None:
    """Make a signing key: FILE (encrypted) and FILE.jwk (public)."""
    machine(as_json)
    match curve:
        case "Ed25519" | "P-256":
            signer = new_signer(curve)
        case _:
            raise Misuse(f"the curve is {' or '.join(CURVES)}, not {curve!r}")
    if file.exists():
        raise Misuse(f"{file} exists; a key is never overwritten")
    save_signer(file, signer, secret_of(file, create=True))
    public = beside(file, "jwk")
    write_file(public, orjson.dumps(signer.public.jwk()) + b"\n")
    made = {
        "did": did_key(signer.public),
        "kid": signer.public.kid_text,
        "key": str(file),
        "public": str(public),
    }
    answer(
        made,
        f"did     {made['did']}\nkid     {made['kid']}\n"
        f"key     {file}  (keep it, and the passphrase beside it, to yourself)\n"
        f"public  {public}  (give it to the center's operator)",
        as_json=as_json,
    )


def statement_sign(
    record: Annotated[
        Path, typer.Argument(help="A record, or its body with --type, in JSON.")
    ],
    *,
    key: KeyFile,
    aud: Annotated[str, typer.Option(help="The log it is for, HOST[:PORT]/log.")],
    out: Annotated[Path, typer.Option(help="Where to write the statement.")],
    iss: Iss = None,
    kind: Annotated[
        str | None, typer.Option("--type", help="RECORD is the body of such a record.")
    ] = None,
    profile: Annotated[str, typer.Option(help="Rules the body follows.")] = PROFILE,
    as_json: Json = False,
) -> None:
    """Sign a record; a body becomes one with a fresh salt, in OUT.record.json."""
    machine(as_json)
    signer = open_signer(key)
    made = {"statement": str(out), "record": str(record)}
    data = read_bytes(record)
    if kind is not None:
        data = record_of(data, kind, profile)
        made["record"] = str(beside(out, "record.json"))
    parsed = parse_record(data)
    statement = sign_statement(
        signer,
        iss=party_did(signer, iss),
        aud=aud,
        media=media_of(parsed.type),
        preimage=data,
        iat=node.now() if parsed.type == "registration-policy" else None,
    )
    if kind is not None:
        write_file(Path(made["record"]), data)
    write_file(out, statement)
    made["name"] = ni(parsed.digest)
    answer(
        made,
        f"statement  {out}\nrecord     {made['record']}\nname       {made['name']}",
        as_json=as_json,
    )


def record_of(data: bytes, kind: str, profile: str) -> bytes:
    """Return a new record with the body in ``data``, a fresh salt and the time now.

    Raises:
        Malformed: it is no JSON object, or not one of ``kind``.
    """
    body = loads_strict(data)
    if not isinstance(body, dict):
        raise Malformed("the body is a JSON object", where="body")
    salt = secrets.token_bytes(SALT_SIZE)
    return make_record(kind, profile, timestamp(node.now()), salt, body)


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
        [read_bytes(file) for file in files],
        [read_bytes(path) for path in record or []],
    )
    done: list[dict[str, Any]] = []
    with Client(center, policy=read_policy(policy)) as client:
        for file, (statement, records) in zip(files, items, strict=True):
            registered = client.register(statement, records)
            receipt = beside(file, "receipt")
            write_file(receipt, registered.receipt)
            done.append(
                {
                    "file": str(file),
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
    name = read_digest(digest)
    with Client(center, policy=read_policy(policy)) as client:
        data = client.bundle(name)
    write_file(out, data)
    answer(
        {"bundle": str(out), "record": ni(name), "bytes": len(data)},
        f"bundle  {out}\nrecord  {ni(name)}",
        as_json=as_json,
    )


def beside(file: Path, suffix: str) -> Path:
    """Return FILE.suffix."""
    return file.with_name(f"{file.name}.{suffix}")


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


def pair(
    raw: Sequence[bytes], records: Sequence[bytes]
) -> list[tuple[bytes, list[bytes]]]:
    """Return each statement with those of ``records`` that it is about.

    Raises:
        Malformed: a statement is none.
        Misuse: a record belongs to no statement.
    """
    by_digest = {sha256(data).digest(): data for data in records}
    whole = list(by_digest)
    root = sha256(manifest_preimage(whole)).digest() if whole else b""
    pairs: list[tuple[bytes, list[bytes]]] = []
    used: set[bytes] = set()
    for statement in raw:
        payload = decode_statement(statement).payload
        names = whole if payload == root else [payload] if payload in by_digest else []
        used.update(names)
        pairs.append((statement, [by_digest[name] for name in names]))
    stray = [name for name in whole if name not in used]
    if stray:
        raise Misuse(f"no statement is about the record {ni(stray[0])}")
    return pairs
