"""Commands of who runs a center: init, party add."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from trace_node import config, node
from trace_node.cli.output import Json, answer, machine
from trace_node.errors import Conflict, Malformed, Misuse
from trace_node.store.keys import load_public
from trace_node.trust.did import did_key

Dir = Annotated[Path, typer.Argument(help="The center's folder.")]
parties = typer.Typer(help="Who may register.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(init)
    app.add_typer(parties, name="party")
    parties.command("add")(party_add)


def init(
    folder: Dir,
    origin: Annotated[
        str, typer.Option(help="The log's name: schemeless URL, HOST[:PORT]/log.")
    ],
    name: Annotated[str, typer.Option(help="The center's name for people.")] = (
        "A traceability center"
    ),
    as_json: Json = False,
) -> None:
    """Found a center: keys, settings, database, entry 0."""
    machine(as_json)
    try:
        settings = config.build(None, {"origin": origin, "name": name})
    except Misuse as error:
        error.help = "An origin looks like trace.example/log or 127.0.0.1:8080/log."
        raise
    made = _found(folder, settings)
    members = {
        "folder": str(folder),
        "origin": origin,
        "operator": made.did,
        "vkey": str(made.vkey),
        "policy": str(folder / "policy.txt"),
    }
    made.close()
    answer(
        members,
        f"center     {name}\n"
        f"log        {origin}\n"
        f"operator   {members['operator']}\n"
        f"policy     {members['policy']}  (give it to everyone who verifies)\n"
        f"keys       {folder / 'keys'}  (move root.pem to a safe place)",
        as_json=as_json,
    )


def _found(folder: Path, settings: config.Settings) -> node.Node:
    """Found a center; leave nothing behind when that fails, or it could not be again.

    Only what came into being here is taken away: keys that signed nothing.
    """
    new = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
    try:
        return node.found(folder, settings)
    except BaseException:
        if new and folder.is_dir():
            for path in folder.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        raise


def party_add(
    folder: Dir,
    name: Annotated[str, typer.Option(help="The party's name.")],
    key: Annotated[Path, typer.Option(help="Its public key: JWK or PEM file.")],
    kind: Annotated[str, typer.Option(help="enterprise, laboratory, ...")] = (
        "enterprise"
    ),
    did: Annotated[
        str | None, typer.Option(help="Its DID; made from the key if left out.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Register a party and its key; works beside a running server, too."""
    machine(as_json)
    try:
        public = load_public(key)
    except Malformed as error:
        error.help = "`trace-node keys new FILE` writes the public key to FILE.jwk."
        raise
    did = did or did_key(public)
    made = node.Node(folder, config.load(folder))
    try:
        # Before anything is said: the log would keep the half of it.
        made.admission.catch_up(made.log.head().range.size)
        if public.thumbprint in made.admission.state.keys:
            raise Conflict(f"the key {public.kid_text} is registered already")
        party = made.say("party", {"did": did, "name": name, "kind": kind})
        added = made.say(
            "key",
            {
                "did": did,
                "action": "add",
                "kid": public.kid_text,
                "jwk": public.jwk(),
            },
        )
    finally:
        made.close()
    answer(
        {"did": did, "kid": public.kid_text, "entries": [party.index, added.index]},
        f"party  {did}\nname   {name}\nkey    {public.kid_text}\n"
        f"entries {party.index} and {added.index}",
        as_json=as_json,
    )
