"""Make trust.json: keys, statements and manifests, byte for byte.

    python tests/vectors/make_trust.py            write tests/vectors/trust.json

Everything follows from seeds, SHA-256("trace-node vector " ‖ name), so the file
can be made again by another implementation. Statements are built here from
hex-level parts with cbor2 and cryptography alone, without the package's own
encoder, signer and tree; a test holds the package against the file.
"""

import json
from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256
from pathlib import Path

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

FILE = Path(__file__).with_name("trust.json")
ORIGIN = "center.example/log"
OPERATOR = "did:web:center.example"
PARTY = "did:web:supplier.example:plant-1"
ISSUED = "2026-11-23T08:00:00Z"
SECONDS = 1_795_420_800
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
MEDIA = "application/vnd.trace-node."
COMMENT = [
    "Made by tests/vectors/make_trust.py with cbor2 and cryptography; deterministic.",
    "seed = SHA-256('trace-node vector ' + name); Ed25519: the seed is the private key (RFC 8032);",
    "P-256: scalar = int(seed) mod (n - 1) + 1; ECDSA signatures are deterministic (RFC 6979).",
    "cose is the COSE_Key of RFC 9679, thumbprint its SHA-256, did the did:key.",
    "signed is the Sig_structure of RFC 9052 section 4.4, identity its SHA-256.",
    "published holds examples of RFC 8032 section 7.1 test 1 and RFC 9679 section 6.",
    "A manifest's preimage is u64be(count) || root of the RFC 9162 tree over SHA-256(bytes([n])), n = 0, 1, ...",
]  # fmt: skip


def b64(data):
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def base58(data):
    number, text = int.from_bytes(data), ""
    while number:
        number, digit = divmod(number, 58)
        text = ALPHABET[digit] + text
    return text


class Key:
    """A key pair with its names, made from the name of a seed or from a seed."""

    def __init__(self, name, curve, seed=None):
        self.name, self.curve = name, curve
        self.seed = seed or sha256(b"trace-node vector " + name.encode()).digest()
        if curve == "Ed25519":
            self.private = ed25519.Ed25519PrivateKey.from_private_bytes(self.seed)
            x, y = self.private.public_key().public_bytes_raw(), b""
            members, codec = {1: 1, -1: 6, -2: x}, b"\xed\x01" + x
            self.jwk = {"kty": "OKP", "crv": "Ed25519", "x": b64(x)}
        else:
            scalar = int.from_bytes(self.seed) % (ORDER - 1) + 1
            self.private = ec.derive_private_key(scalar, ec.SECP256R1())
            numbers = self.private.public_key().public_numbers()
            x, y = numbers.x.to_bytes(32), numbers.y.to_bytes(32)
            members = {1: 2, -1: 1, -2: x, -3: y}
            codec = b"\x80\x24" + bytes([2 + (y[-1] & 1)]) + x
            self.jwk = {"kty": "EC", "crv": "P-256", "x": b64(x), "y": b64(y)}
        self.cose = cbor2.dumps(members)  # in the order of RFC 8949 as written
        self.thumbprint = sha256(self.cose).digest()
        self.did = "did:key:z" + base58(codec)

    def sign(self, message):
        if self.curve == "Ed25519":
            return self.private.sign(message)
        der = self.private.sign(
            message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
        )
        return b"".join(part.to_bytes(32) for part in decode_dss_signature(der))

    def row(self):
        return {
            "name": self.name, "curve": self.curve, "seed": self.seed.hex(), "cose": self.cose.hex(),
            "thumbprint": self.thumbprint.hex(), "kid": b64(self.thumbprint), "jwk": self.jwk, "did": self.did,
        }  # fmt: skip


def statement(name, key, alg, iss, media, preimage, iat=None):
    payload = sha256(preimage).digest()
    sub = "ni:///sha-256;" + b64(payload)
    claims = {1: iss, 2: sub, 3: ORIGIN} | ({} if iat is None else {6: iat})
    protected = cbor2.dumps(
        {
            1: alg,
            4: key.thumbprint,
            15: claims,
            16: MEDIA + "statement+cose",
            258: -16,
            259: MEDIA + media,
        }
    )
    signed = cbor2.dumps(["Signature1", protected, b"", payload])
    raw = cbor2.dumps(cbor2.CBORTag(18, [protected, {}, payload, key.sign(signed)]))
    return {
        "name": name, "key": key.name, "alg": alg, "iss": iss, "aud": ORIGIN, "iat": iat, "media": MEDIA + media,
        "sub": sub, "preimage": preimage.hex(), "raw": raw.hex(), "signed": signed.hex(),
        "identity": sha256(signed).hexdigest(),
    }  # fmt: skip


def record(kind, name, body):
    salt = sha256(b"trace-node vector salt " + name.encode()).digest()[:16]
    value = {
        "type": kind,
        "profile": "1-participants@1",
        "issued": ISSUED,
        "salt": b64(salt),
        "body": body,
    }
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def root(leaves):
    """RFC 9162 section 2.1.1, as it is written there."""
    if len(leaves) == 1:
        return sha256(b"\0" + leaves[0]).digest()
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return sha256(b"\1" + root(leaves[:split]) + root(leaves[split:])).digest()


def path(index, leaves):
    """RFC 9162 section 2.1.3.1, as it is written there."""
    if len(leaves) == 1:
        return []
    split = 1 << (len(leaves) - 1).bit_length() - 1
    if index < split:
        return [*path(index, leaves[:split]), root(leaves[split:])]
    return [*path(index - split, leaves[split:]), root(leaves[:split])]


def manifest(count):
    digests = [sha256(bytes([n])).digest() for n in range(count)]
    preimage = count.to_bytes(8) + root(digests)
    return {
        "digests": [digest.hex() for digest in digests],
        "preimage": preimage.hex(),
        "payload": sha256(preimage).hexdigest(),
        "paths": [[node.hex() for node in path(i, digests)] for i in range(count)],
    }


def vkey(key):
    """Return the verifier key of C2SP signed-note, type 1, named like the origin."""
    data = b"\x01" + urlsafe_b64decode(key.jwk["x"] + "=")
    name = sha256(ORIGIN.encode() + b"\n" + data).hexdigest()[:8]
    return f"{ORIGIN}+{name}+{b64encode(data).decode()}"


def published():
    seed = bytes.fromhex(
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
    )
    return {
        "rfc8032": {
            "seed": seed.hex(),
            "public": "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "message": "",
            "signature": "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
            "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
            "key": Key("RFC 8032 test 1", "Ed25519", seed).row(),
        },
        "rfc9679": {
            "x": "65eda5a12577c2bae829437fe338701a10aaa375e1bb5b5de108de439c08551d",
            "y": "1e52ed75701163f7f9e40ddf9f341b3dc9ba860af7e0ca7ca7e9eecd0084d19c",
            "thumbprint": "496bd8afadf307e5b08c64b0421bf9dc01528a344a43bda88fadd1669da253ec",
        },
    }


def build():
    """Return what the file holds."""
    keys = [Key("root", "Ed25519"), Key("center", "P-256"), Key("receipt", "Ed25519"),
            Key("party", "Ed25519"), Key("party-p256", "P-256")]  # fmt: skip
    root_key, center, _, ed, p256 = keys
    policy = record("registration-policy", "policy", {
        "origin": ORIGIN, "name": "示例溯源中心", "operator": OPERATOR, "vkey": vkey(Key("log", "Ed25519")), "tree": "RFC9162_SHA256",
        "keys": [{"use": key.name, "jwk": key.jwk} for key in keys[:3]], "rules": {"4-segments": "ni:///sha-256;" + b64(bytes(32))},
    })  # fmt: skip
    party = record(
        "party",
        "party",
        {"did": PARTY, "name": "Supplier", "kind": "enterprise", "country": "CN"},
    )
    adds = [
        (
            key.name,
            record(
                "key",
                key.name,
                {
                    "did": PARTY,
                    "action": "add",
                    "kid": b64(key.thumbprint),
                    "jwk": key.jwk,
                },
            ),
        )
        for key in (ed, p256)
    ]
    event = record(
        "event", "event", {"text": "装运 ✓", "quantity": 12.5, "lots": ["a", "b"]}
    )
    seven = bytes.fromhex(manifest(7)["preimage"])
    tick = str(SECONDS + 1).encode()
    revoke = record(
        "key",
        "revoke",
        {
            "did": PARTY,
            "action": "revoke",
            "kid": b64(ed.thumbprint),
            "reason": "rotated",
        },
    )
    log = [
        statement(
            "registration-policy",
            root_key,
            -19,
            OPERATOR,
            "registration-policy+json",
            policy,
            SECONDS,
        ),
        statement("party", root_key, -19, OPERATOR, "party+json", party),
        *(
            statement(f"add-{name}", root_key, -19, OPERATOR, "key+json", data)
            for name, data in adds
        ),
        statement("tick", center, -9, OPERATOR, "tick", tick, SECONDS + 1),
        statement("record-ed25519", ed, -19, PARTY, "record+json", event),
        statement("record-eddsa", ed, -8, PARTY, "record+json", event),
        statement("record-esp256", p256, -9, PARTY, "record+json", event),
        statement("record-es256", p256, -7, PARTY, "record+json", event),
        statement("manifest", p256, -9, PARTY, "manifest", seven),
        statement("revoke", p256, -9, PARTY, "key+json", revoke),
    ]
    return {
        "comment": COMMENT,
        "origin": ORIGIN,
        "published": published(),
        "keys": [key.row() for key in keys],
        "statements": log,
        "manifests": [manifest(count) for count in (1, 2, 3, 7)],
    }


def text():
    """Return the file as it stands on disk."""
    return json.dumps(build(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
