"""The principals that a client certificate gives: its names, once a listener has verified its chain.

`cert:NAME` for each DNS name, address of mail and URI among its subject alternative names, and the URI itself for a
SPIFFE id (X.509-SVID 2). The subject's common name is no principal (RFC 9525 2).

Not here: the chain, validity at the handshake (the TLS library), revocation (whoever keeps the registry).
"""

from __future__ import annotations

import functools
import hashlib
from typing import Final

from cryptography import x509

from mcpguard.credentials.presented import Authenticated
from mcpguard.errors import PeerError

NAMES: Final = 64
NAME_CHARS: Final = 256
_SPIFFE: Final = "spiffe://"


def fingerprint(certificate: bytes) -> str:
    """SHA-256 of a certificate in DER, hex; empty if there is none."""
    return hashlib.sha256(certificate).hexdigest() if certificate else ""


def holder(certificate: bytes, now: float) -> Authenticated:
    """Whom a certificate in DER names.

    Raises:
        PeerError: It is over, or names nobody.
    """
    found, begins, ends = _read(certificate)
    if now >= ends or now < begins:
        raise PeerError("the client certificate is not valid now", hint="renew it: mcpguard ca renew")
    return found


@functools.lru_cache(maxsize=1024)
def _read(certificate: bytes) -> tuple[Authenticated, float, float]:
    """Whom it names, and from when to when, Unix seconds; remembered, since each request asks."""
    try:
        read = x509.load_der_x509_certificate(certificate)
        names = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        found = [
            *names.get_values_for_type(x509.DNSName),
            *names.get_values_for_type(x509.RFC822Name),
            *names.get_values_for_type(x509.UniformResourceIdentifier),
        ]
    except (ValueError, x509.ExtensionNotFound, x509.UnsupportedGeneralNameType) as error:
        raise PeerError("the client certificate has no subject alternative names that can be read") from error
    kept = [name for name in found if 0 < len(name) <= NAME_CHARS and name.isprintable()]
    if not kept or len(found) > NAMES:
        raise PeerError(f"the client certificate names nobody, or more than {NAMES}")
    spiffe = [name for name in kept if name.startswith(_SPIFFE)]
    principals = frozenset([*(f"cert:{name}" for name in kept), *spiffe])
    shown = fingerprint(certificate)
    begins, ends = read.not_valid_before_utc.timestamp(), read.not_valid_after_utc.timestamp()
    evidence = {"sha256": shown, "names": kept, "serial": f"{read.serial_number:x}"}
    return Authenticated(principals, evidence, ends, instance=f"cert:{shown}"), begins, ends
