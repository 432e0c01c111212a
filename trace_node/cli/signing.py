"""Commands of who signs: keys new, statement sign."""

import re
import secrets
from pathlib import Path
from typing import Annotated

import orjson
import typer

from trace_node import local
from trace_node.cli.files import beside, not_over, read_bytes
from trace_node.cli.keyfile import (
    Iss,
    KeyFile,
    open_signer,
    party_did,
    secret_of,
)
from trace_node.cli.output import Json, answer, machine
from trace_node.client.authoring import PROFILE
from trace_node.errors import Malformed, Misuse
from trace_node.store.files import write_file
from trace_node.store.keys import new_signer, save_signer
from trace_node.trust.did import did_key
from trace_node.trust.record import (
    SALT_SIZE,
    loads_strict,
    make_record,
    media_of,
    ni,
    parse_record,
)
from trace_node.trust.statement import sign_statement
from trace_node.verify.verdict import timestamp

CURVES = ("Ed25519", "P-256")
_ORIGIN = re.compile(r"[^\s/:]+(:\d+)?(/[^\s/:]+)*/log")
key_commands = typer.Typer(help="Keys of a party.", no_args_is_help=True)
statements = typer.Typer(help="Signed statements.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.add_typer(key_commands, name="keys")
    app.add_typer(statements, name="statement")
    key_commands.command("new")(keys_new)
    statements.command("sign")(statement_sign)


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
    not_over(out, [record, key])
    if not _ORIGIN.fullmatch(aud):
        raise Misuse(f"a log is named HOST[:PORT]/log, not {aud!r}")
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
        iat=local.now() if parsed.type == "registration-policy" else None,
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
    return make_record(kind, profile, timestamp(local.now()), salt, body)
