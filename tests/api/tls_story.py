"""Certificates made at the time of the test, and centers served with them."""

import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass
class Authority:
    """A private CA that nobody's system knows."""

    key: ec.EllipticCurvePrivateKey
    cert: x509.Certificate
    file: Path

    def issue(self, folder, name="server", *, begin=-1, end=30, password=None):
        """Write NAME.pem (the chain) and NAME.key for 127.0.0.1; days from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        cert = build(name, key.public_key(), self.cert.subject, begin, end)
        cert = cert.add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]),
            critical=False,
        ).sign(self.key, hashes.SHA256())
        chain = folder / f"{name}.pem"
        chain.write_bytes(pem(cert) + pem(self.cert))
        secret = folder / f"{name}.key"
        secret.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(password)
                if password
                else serialization.NoEncryption(),
            )
        )
        return chain, secret, cert.serial_number

    def context(self):
        return ssl.create_default_context(cafile=self.file)


def build(name, public, issuer, begin, end):
    moment = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment + timedelta(days=begin))
        .not_valid_after(moment + timedelta(days=end))
    )


def pem(cert):
    return cert.public_bytes(serialization.Encoding.PEM)


def authority(folder):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
    cert = (
        build("test authority", key.public_key(), name, -1, 60)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True,
                key_cert_sign=True,
                crl_sign=True,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    file = folder / "authority.pem"
    file.write_bytes(pem(cert))
    return Authority(key, cert, file)


def tls_socket(port, context, seconds=5.0):
    plain = socket.create_connection(("127.0.0.1", port), timeout=seconds)
    return context.wrap_socket(plain, server_hostname="127.0.0.1")


def serial_of(wire):
    return x509.load_der_x509_certificate(wire.getpeercert(True)).serial_number
