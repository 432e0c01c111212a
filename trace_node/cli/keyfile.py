"""Key files, and who speaks, as the party's commands are given them."""

import os
from pathlib import Path
from typing import Annotated

import typer

from trace_node.errors import Misuse
from trace_node.store.keys import PASSPHRASE_FILE, load_signer, passphrase
from trace_node.trust.did import check_did, did_key
from trace_node.trust.keys import MemorySigner

KeyFile = Annotated[Path, typer.Option("--key", help="The party's key file.")]
Center = Annotated[
    str, typer.Option("--center", help="The center's URL, http://HOST[:PORT].")
]
Iss = Annotated[
    str | None,
    typer.Option("--iss", help="The party's DID; made from the key if left out."),
]
_SCALAR = 32  # bytes of a P-256 private key


def secret_of(path: Path, *, create: bool = False) -> bytes:
    """Return the passphrase for a key file: environment, or the file beside it.

    Raises:
        Misuse: there is none, or others can read it.
    """
    given = os.environ.get("TRACE_NODE_PASSPHRASE")
    file = path.parent / PASSPHRASE_FILE
    if not given and file.exists() and file.stat().st_mode & 0o077:
        told = Misuse(f"others than its owner may use {file}")
        told.help = f"chmod 600 {file} (or set TRACE_NODE_PASSPHRASE and delete it)"
        raise told
    secret = passphrase(path.parent, given, create=create)
    if not secret:
        raise Misuse(f"{file} is empty")
    return secret


def open_signer(path: Path) -> MemorySigner:
    """Return the key in a file.

    Raises:
        Misuse: no such file, or its passphrase is missing or wrong.
    """
    if not path.is_file():
        raise Misuse(f"no key file {path}: `trace-node keys new {path}` makes one")
    return load_signer(path, secret_of(path))


def party_did(signer: MemorySigner, iss: str | None) -> str:
    """Return the DID that was given, or the key's own.

    Raises:
        Malformed: the text is no DID.
    """
    return check_did(iss, where="--iss") if iss else did_key(signer.public)


def raw_private(signer: MemorySigner) -> bytes:
    """Return the 32 bytes of a private key, for deriving what only its owner knows."""
    key = signer.private_key
    if hasattr(key, "private_bytes_raw"):
        return key.private_bytes_raw()
    return key.private_numbers().private_value.to_bytes(_SCALAR)
