"""Key files: encrypted, never overwritten, readable by their owner alone."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.rsa import (
    generate_private_key as generate_rsa,
)
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    PublicFormat,
)

from trace_node.errors import Malformed, Misuse
from trace_node.store.files import write_file
from trace_node.store.keys import (
    load_public,
    load_signer,
    new_signer,
    passphrase,
    save_signer,
)
from trace_node.trust.strictjson import loads_strict

CURVES = pytest.mark.parametrize("curve", ["Ed25519", "P-256"])
SECRET = b"correct horse"


@CURVES
def test_a_key_comes_back_from_its_file(tmp_path, curve):
    signer = new_signer(curve)
    save_signer(tmp_path / "keys" / "a.pem", signer, SECRET)
    loaded = load_signer(tmp_path / "keys" / "a.pem", SECRET)
    assert loaded.public == signer.public
    assert loaded.sign(b"message") == signer.sign(b"message")


def test_key_files_and_their_folder_are_the_owners_alone(tmp_path):
    save_signer(tmp_path / "keys" / "a.pem", new_signer("Ed25519"), SECRET)
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "keys" / "a.pem").stat().st_mode & 0o777 == 0o600


def test_a_key_file_is_encrypted(tmp_path):
    save_signer(tmp_path / "a.pem", new_signer("Ed25519"), SECRET)
    assert (tmp_path / "a.pem").read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE")


@pytest.mark.parametrize("secret", [b"wrong horse", b""])
def test_a_wrong_passphrase_is_misuse(tmp_path, secret):
    save_signer(tmp_path / "a.pem", new_signer("Ed25519"), SECRET)
    with pytest.raises(Misuse, match="passphrase is wrong"):
        load_signer(tmp_path / "a.pem", secret)


def test_an_existing_key_is_never_overwritten(tmp_path):
    first = new_signer("Ed25519")
    save_signer(tmp_path / "a.pem", first, SECRET)
    with pytest.raises(Misuse, match="never overwritten"):
        save_signer(tmp_path / "a.pem", new_signer("Ed25519"), SECRET)
    assert load_signer(tmp_path / "a.pem", SECRET).public == first.public


@pytest.mark.parametrize(
    "content", [None, b"", b"no key", b"-----BEGIN PRIVATE KEY-----"]
)
def test_what_is_no_key_file_is_misuse(tmp_path, content):
    path = tmp_path / "a.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Misuse):
        load_signer(path, SECRET)


@pytest.mark.parametrize(
    "make",
    [lambda: generate_private_key(SECP384R1()), lambda: generate_rsa(65537, 2048)],
)
def test_a_key_we_never_sign_with_is_refused(tmp_path, make):
    pem = make().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(SECRET)
    )
    (tmp_path / "a.pem").write_bytes(pem)
    with pytest.raises((Misuse, Malformed)):
        load_signer(tmp_path / "a.pem", SECRET)


def test_the_passphrase_is_drawn_once_and_kept_for_the_owner(tmp_path):
    made = passphrase(tmp_path / "keys", None, create=True)
    path = tmp_path / "keys" / "passphrase"
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(made) >= 32
    assert passphrase(tmp_path / "keys", None) == made
    assert passphrase(tmp_path / "keys", None, create=True) == made


def test_a_given_passphrase_is_used_and_not_kept(tmp_path):
    assert passphrase(tmp_path / "keys", "given", create=True) == b"given"
    assert not (tmp_path / "keys").exists()


def test_no_passphrase_is_misuse(tmp_path):
    with pytest.raises(Misuse, match="TRACE_NODE_PASSPHRASE"):
        passphrase(tmp_path, None)


@CURVES
def test_public_keys_are_read_as_jwk_and_as_pem(tmp_path, curve):
    signer = new_signer(curve)
    pem = signer.private_key.public_key().public_bytes(
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    )
    write_file(tmp_path / "a.pem", pem)
    jwk = str(signer.public.jwk()).replace("'", '"').encode()
    assert loads_strict(jwk) == signer.public.jwk()
    write_file(tmp_path / "a.jwk", b"\n " + jwk)
    assert load_public(tmp_path / "a.pem") == signer.public
    assert load_public(tmp_path / "a.jwk") == signer.public


@pytest.mark.parametrize("data", [b"", b"no key", b"{}", b'{"kty":"RSA"}'])
def test_what_is_no_public_key_is_malformed(tmp_path, data):
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(Malformed):
        load_public(tmp_path / "a")


def test_a_public_key_of_another_kind_is_malformed(tmp_path):
    pem = (
        generate_private_key(SECP384R1())
        .public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    (tmp_path / "a").write_bytes(pem)
    with pytest.raises(Malformed):
        load_public(tmp_path / "a")
    with pytest.raises(Misuse):
        load_public(tmp_path / "none")
