"""Found a center: its folder, keys and settings, and the records that name it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from trace_node.errors import Misuse
from trace_node.ledger.sequencer import Placed
from trace_node.services.prepare import Preparer
from trace_node.services.submit import Intake
from trace_node.store import keys
from trace_node.store.files import make_folder, write_file
from trace_node.trust.did import did_web
from trace_node.trust.keys import MemorySigner, Signer
from trace_node.trust.record import make_record, media_of
from trace_node.trust.statement import sign_statement
from trace_node.trust.vkey import VerifierKey, make_vkey

ED25519_NOTE = 1  # C2SP signed-note: the algorithm byte of Ed25519 log keys
USES = ("root", "center", "receipt", "log")
PROFILES = {
    "registration-policy": "3-center@1",
    "party": "1-participants@1",
    "key": "1-participants@1",
}


def make_keys(folder: Path, given: str | None) -> dict[str, MemorySigner]:
    """Draw and store the center's four keys; each has one use only."""
    place = folder / "keys"
    secret = keys.passphrase(place, given, create=True)
    made = {use: keys.new_signer("Ed25519") for use in USES}
    for use, signer in made.items():
        keys.save_signer(place / f"{use}.pem", signer, secret)
    return made


def lay_out(folder: Path, files: Mapping[str, str]) -> None:
    """Make the center's folder with its text files.

    Raises:
        Misuse: there is something in it already.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Misuse(f"{folder} is not empty; a center is founded in a new folder")
    make_folder(folder)
    for name, text in files.items():
        write_file(folder / name, text.encode())


def policy_body(
    origin: str, name: str, operator: str, vkey: str, signers: Mapping[str, Signer]
) -> dict[str, Any]:
    """Return the body of entry 0, without the rules."""
    return {
        "origin": origin,
        "name": name,
        "operator": operator,
        "vkey": vkey,
        "tree": "RFC9162_SHA256",
        "keys": [
            {"use": use, "jwk": signers[use].public.jwk()}
            for use in ("root", "center", "receipt")
        ],
    }


def policy_text(vkey: VerifierKey) -> str:
    """Return the C2SP policy of who believes the log of this key, and it alone."""
    return f"log {vkey}\nquorum none\n"


def center_did(origin: str) -> str:
    """Return the did:web of the center that keeps the log ``origin``."""
    host, *path = origin.removesuffix("/log").split("/")
    return did_web(host, *path)


def log_vkey(origin: str, signer: MemorySigner) -> VerifierKey:
    """Return the verifier key that checkpoints of ``origin`` are checked with."""
    return make_vkey(origin, ED25519_NOTE, signer.public.x)


def timestamp(now: int) -> str:
    """Return Unix seconds as RFC 3339 UTC."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Registrar:
    """Says governance records for the operator and registers them at once."""

    def __init__(
        self, preparer: Preparer, intake: Intake, origin: str, operator: str
    ) -> None:
        self._preparer = preparer
        self._intake = intake
        self._origin = origin
        self._operator = operator

    def say(
        self, signer: Signer, kind: str, body: dict[str, Any], now: int, salt: bytes
    ) -> Placed:
        """Register one governance record signed by a root key of the operator.

        Raises:
            TraceNodeError: it was refused.
        """
        record = make_record(kind, PROFILES[kind], timestamp(now), salt, body)
        statement = sign_statement(
            signer,
            iss=self._operator,
            aud=self._origin,
            media=media_of(kind),
            preimage=record,
            iat=now if kind == "registration-policy" else None,
        )
        return self._intake.register(self._preparer.prepare(statement, [record]))
