"""What a client certificate says of its holder: principals from its subject alternative names.

Rule 1: only subject alternative names count. A common name is text that no CA has to check.
Rule 2: a SPIFFE id is a URI name; a certificate has one at most (SPIFFE X.509-SVID, 2), and it must be well-formed.

Not here: whether the certificate is genuine: the TLS library has verified its chain, its time and its purpose.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from mcpguard import limits
from mcpguard.credentials.presented import Authenticated
from mcpguard.errors import PeerError

CERT: Final = "cert:"
_SPIFFE: Final = re.compile(r"spiffe://[a-z0-9._-]{1,255}(?:/[A-Za-z0-9._-]+)+")
_PLAIN: Final = re.compile(r"[!-~]+")


def authenticated(der: bytes) -> Authenticated:
    """Who the holder of a verified certificate is.

    Raises:
        PeerError: The certificate names nobody, or cannot be read.
    """
    try:
        certificate = x509.load_der_x509_certificate(der)
        names = _names(certificate)
        expires = certificate.not_valid_after_utc.timestamp()
        serial = format(certificate.serial_number, "x")
    except ValueError as error:
        raise PeerError("the client certificate cannot be read", hint="issue it anew") from error
    if not names:
        raise PeerError(
            "the client certificate names nobody: it has no subject alternative name",
            hint="issue one with a DNS, mail or URI name",
        )
    digest = fingerprint(der)
    text = " ".join(sorted(names))
    if len(text) > limits.ID_CHARS:
        text = f"{CERT}{hashlib.sha256(text.encode()).hexdigest()}"
    return Authenticated(
        principals=frozenset(names),
        evidence={"certificate": digest, "serial": serial},
        expires=expires,
        instance=text,
    )


def fingerprint(der: bytes) -> str:
    """SHA-256 of a certificate, hex: what a registry knows it by."""
    return hashlib.sha256(der).hexdigest()


def _names(certificate: x509.Certificate) -> set[str]:
    try:
        extension = certificate.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME)
    except x509.ExtensionNotFound:
        return set()
    found: set[str] = set()
    spiffe = 0
    value = extension.value
    assert isinstance(value, x509.SubjectAlternativeName)  # noqa: S101 (for the type checker)
    for name in value:
        if isinstance(name, x509.UniformResourceIdentifier) and name.value.startswith("spiffe:"):
            spiffe += 1
            if spiffe > 1 or not _SPIFFE.fullmatch(name.value):
                raise PeerError(
                    "the client certificate has no one well-formed SPIFFE id", hint="issue it anew"
                )
            found.add(name.value)
        elif isinstance(name, x509.DNSName | x509.RFC822Name | x509.UniformResourceIdentifier):
            _add(found, name.value)
        elif isinstance(name, x509.IPAddress):
            _add(found, str(name.value))
    return found


def _add(found: set[str], name: str) -> None:
    """Keep a name that a policy can hold; a wildcard names many, which is nobody."""
    if _PLAIN.fullmatch(name) and "*" not in name and len(name) <= limits.PRINCIPAL_CHARS:
        found.add(f"{CERT}{name}")
