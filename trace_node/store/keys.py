"""Key files: encrypted PKCS#8, one key a file, readable by their owner only.

``signer`` is the port's file form (``trust.keys.Signer``); the passphrase never
leaves this module and ``node``. Encryption is what ``cryptography`` calls its
best available (PBES2: scrypt or PBKDF2 with AES-256-CBC).
"""

import secrets
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from trace_node.errors import Malformed, Misuse
from trace_node.store.files import make_folder, write_file
from trace_node.trust.keys import Curve, MemorySigner, PublicKey
from trace_node.trust.strictjson import loads_strict

PASSPHRASE_FILE = "passphrase"  # noqa: S105 - a file's name


def passphrase(folder: Path, given: str | None, *, create: bool = False) -> bytes:
    """Return the passphrase for the keys in ``folder``.

    Given by the environment, or kept in a file of mode 0600 beside the keys, so
    that one command is enough; an operator who keeps it elsewhere deletes the
    file and sets TRACE_NODE_PASSPHRASE.

    Raises:
        Misuse: there is none.
    """
    if given:
        return given.encode()
    path = folder / PASSPHRASE_FILE
    if path.exists():
        return path.read_bytes().strip()
    if not create:
        raise Misuse(
            f"no passphrase for the keys in {folder}: set TRACE_NODE_PASSPHRASE"
        )
    make_folder(folder, mode=0o700)
    made = secrets.token_urlsafe(32).encode()
    write_file(path, made + b"\n", mode=0o600)
    return made


def new_signer(curve: Curve) -> MemorySigner:
    """Draw a new key from the system's randomness."""
    return MemorySigner.from_seed(curve, secrets.token_bytes(32))


def save_signer(path: Path, signer: MemorySigner, secret: bytes) -> None:
    """Write a key; never over an existing one.

    Raises:
        Misuse: the file is there already.
    """
    if path.exists():
        raise Misuse(f"{path} exists; a key is never overwritten")
    make_folder(path.parent, mode=0o700)
    data = signer.private_key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(secret)
    )
    write_file(path, data, mode=0o600)


def load_signer(path: Path, secret: bytes) -> MemorySigner:
    """Read a key.

    Raises:
        Misuse: no such file, wrong passphrase, or no key we sign with.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Misuse(f"cannot read the key {path}: {error.strerror}") from None
    try:
        key = load_pem_private_key(data, password=secret)
    except (ValueError, TypeError):
        raise Misuse(f"{path} is no key, or the passphrase is wrong") from None
    if not isinstance(key, Ed25519PrivateKey | EllipticCurvePrivateKey):
        raise Misuse(f"{path} is neither an Ed25519 nor a P-256 key")
    return MemorySigner.from_private_key(key)


def load_public(path: Path) -> PublicKey:
    """Read a public key: a JWK, or PEM (SubjectPublicKeyInfo).

    Raises:
        Misuse: the file cannot be read.
        Malformed: it holds no key that we know.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Misuse(f"cannot read {path}: {error.strerror}") from None
    if data.lstrip().startswith(b"{"):
        return PublicKey.from_jwk(loads_strict(data))
    try:
        key = load_pem_public_key(data)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise Malformed("neither a JWK nor a PEM public key", where=str(path)) from None
    if isinstance(key, Ed25519PublicKey):
        return PublicKey.from_raw("Ed25519", key.public_bytes_raw())
    if isinstance(key, EllipticCurvePublicKey):
        point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return PublicKey.from_raw("P-256", point)
    raise Malformed("neither an Ed25519 nor a P-256 key", where=str(path))
