"""Revocation lists (CRLs): how ours is made, and what another's says.

Rule: a list whose signature, time or number is not right counts for nothing, and what needs it is refused.

Source: RFC 5280 5.1 to 5.3 (CRLNumber, reasonCode).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from mcpguard import limits
from mcpguard.errors import TrustError
from mcpguard.identity.certificates import Key, Span, loaded

REASONS: Final = {
    "unspecified": x509.ReasonFlags.unspecified,
    "key-compromise": x509.ReasonFlags.key_compromise,
    "affiliation-changed": x509.ReasonFlags.affiliation_changed,
    "superseded": x509.ReasonFlags.superseded,
    "cessation-of-operation": x509.ReasonFlags.cessation_of_operation,
    "privilege-withdrawn": x509.ReasonFlags.privilege_withdrawn,
}
"""Why a certificate is revoked, as people name it."""
_AGAIN: Final = "get the newest list from its issuer"


class Entry(msgspec.Struct, frozen=True):
    """One revoked certificate.

    Attributes:
        serial: Serial number, hex.
        at: When it was revoked, Unix seconds.
        reason: One of `REASONS`.
    """

    serial: str
    at: float
    reason: str = "unspecified"


class RevocationList(msgspec.Struct, frozen=True):
    """What a list says.

    Attributes:
        number: Its number, which only rises.
        made: When it was signed, Unix seconds.
        until: When the next one is there at the latest, Unix seconds.
        revoked: When each certificate was revoked, by serial number in hex.
    """

    number: int
    made: float
    until: float
    revoked: dict[str, float]


def make(issuer: bytes, key: Key, number: int, span: Span, entries: Iterable[Entry]) -> bytes:
    """A signed list of one issuer, DER."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(loaded(issuer).subject)
        .last_update(_moment(span.begins))
        .next_update(_moment(span.ends))
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
    )
    for entry in entries:
        one = (
            x509.RevokedCertificateBuilder()
            .serial_number(int(entry.serial, 16))
            .revocation_date(_moment(entry.at))
        )
        if entry.reason != "unspecified":  # RFC 5280 5.3.1: better left out
            one = one.add_extension(x509.CRLReason(REASONS[entry.reason]), critical=False)
        builder = builder.add_revoked_certificate(one.build())
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def pem(der: bytes) -> bytes:
    """A list as PEM."""
    return x509.load_der_x509_crl(der).public_bytes(serialization.Encoding.PEM)


def read(data: bytes, issuer: bytes, now: float, least: int = 0) -> RevocationList:
    """What a list (DER or PEM) of this issuer says now.

    Raises:
        TrustError: It is none, another's, wrongly signed, not of now, or its number is below `least`.
    """
    try:
        if len(data) > limits.CHAIN_BYTES:
            raise ValueError  # as good as none
        found = (x509.load_pem_x509_crl if data.startswith(b"-----") else x509.load_der_x509_crl)(data)
        number = found.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        made, until = found.last_update_utc, found.next_update_utc
        revoked = {f"{each.serial_number:x}": each.revocation_date_utc.timestamp() for each in found}
    except (ValueError, x509.ExtensionNotFound) as error:
        raise TrustError("this is not a revocation list with a number", hint=_AGAIN) from error
    above = loaded(issuer)
    if found.issuer != above.subject or not _signed_by(found, above):
        raise TrustError("the revocation list is not signed by the authority it is for", hint=_AGAIN)
    if until is None or not made.timestamp() <= now + limits.BACKDATED_SECONDS or until.timestamp() < now:
        raise TrustError(
            f"the revocation list is not of now (it says {made:%Y-%m-%d %H:%M} to {until or 'ever'})",
            hint=_AGAIN,
        )
    if number < least:
        raise TrustError(f"the revocation list went back, from number {least} to {number}", hint=_AGAIN)
    return RevocationList(number, made.timestamp(), until.timestamp(), revoked)


def _signed_by(found: x509.CertificateRevocationList, above: x509.Certificate) -> bool:
    try:
        return found.is_signature_valid(above.public_key())  # type: ignore[arg-type]  # others raise TypeError
    except (TypeError, ValueError):
        return False


def _moment(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(int(seconds), dt.UTC)
