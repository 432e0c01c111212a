"""TLS: the certificate and its renewal.

A certificate is renewed by replacing its files and sending SIGHUP: handshakes
that begin afterwards get the new one, connections that are open keep the old one.
Files that do not hold are refused at the start; at a renewal they are told in the
log, and the old certificate goes on.
"""

import logging
import ssl
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from trace_node.errors import Misuse
from trace_node.local import now

LOGGER = logging.getLogger("trace_node")
SOON = 14 * 86_400  # seconds before its end from which a certificate is warned of


class Tls:
    """The certificate in force."""

    def __init__(self, cert: Path, key: Path) -> None:
        """Load certificate and key.

        Raises:
            Misuse: they do not hold, and why.
        """
        self._cert, self._key = cert, key
        self.context = _context(cert, key)

    def renew(self) -> None:
        """Load the files again; keep what there is when they do not hold."""
        try:
            self.context = _context(self._cert, self._key)
        except Misuse as error:
            LOGGER.warning("the old TLS certificate goes on: %s", error)
        else:
            LOGGER.info("new connections get the TLS certificate in %s", self._cert)


def _context(cert: Path, key: Path) -> ssl.SSLContext:
    """Return a context of TLS 1.2 and up, its certificate checked.

    Raises:
        Misuse: unreadable, not PEM, of another key, encrypted, or out of date.
    """
    for path in (cert, key):
        try:
            path.read_bytes()
        except OSError as error:
            raise Misuse(f"cannot read {path}: {error.strerror}") from None
    _check_dates(cert)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(cert, key, password=_no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise Misuse(f"{key} is not the key of the certificate {cert}") from None
        raise Misuse(f"{key} holds no PEM private key for {cert}") from None
    return context


def _no_password() -> str:
    # The library would ask on the terminal, and a service has none.
    raise Misuse("the TLS key is encrypted: give one that is not, readable by us only")


def _check_dates(cert: Path) -> None:
    try:
        found = x509.load_pem_x509_certificates(cert.read_bytes())[0]
    except ValueError:
        raise Misuse(f"{cert} holds no PEM certificate") from None
    begin, end = found.not_valid_before_utc, found.not_valid_after_utc
    moment = datetime.fromtimestamp(now(), UTC)
    if moment > end:
        raise Misuse(f"the certificate {cert} ended on {end:%Y-%m-%d %H:%M} UTC")
    if moment < begin:
        raise Misuse(f"the certificate {cert} begins on {begin:%Y-%m-%d %H:%M} UTC")
    left = (end - moment).total_seconds()
    if left < SOON:
        LOGGER.warning("the certificate %s ends in %d hours", cert, left // 3600)
