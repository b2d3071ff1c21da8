"""X.509 certificates: how ours are made, and what is read of any.

The profile: P-256 and ECDSA with SHA-256 throughout. The root has path length 1, the intermediate 0, the uses of TLS
and name constraints; a leaf has names in its SAN only, and an empty subject but for a CN that nobody reads.

Rule 1. Keys, serial numbers and time are arguments. Nothing here is drawn or asked.
Rule 2. A name constraint that leaves out a kind of name shuts that kind out: RFC 5280 alone would leave it open.

Not checked here: whether a certificate leads anywhere (`pathcheck`), whether it is revoked (`revocationlist`).

Source: RFC 5280 4.2; CA/Browser Forum baseline requirements 7.1.2 (profile of leaves); RFC 7469 2.4 (SPKI pin).

Decided:
    *URIs are held to their permission by `pathcheck`, not by a name constraint in the intermediate*, because the path
    validation of the cryptography library (50.0) refuses every chain that constrains URIs and names one; openssl
    judges them. Rejected: a path validation of our own.
    *P-256, not Ed25519*, because that library and browsers validate no path with Ed25519 in it.
"""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import functools
import hashlib
import ipaddress
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeAlias, TypeVar

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mcpguard import limits
from mcpguard.errors import TrustError
from mcpguard.identity import subjectnames
from mcpguard.identity.subjectnames import Names

Key: TypeAlias = ec.EllipticCurvePrivateKey
_E = TypeVar("_E", bound=x509.ExtensionType)
SERVER: Final = "server"
"""Use of a certificate: its holder is called."""
CLIENT: Final = "client"
"""Use of a certificate: its holder calls."""
USES: Final = (SERVER, CLIENT)
_OIDS: Final = {SERVER: ExtendedKeyUsageOID.SERVER_AUTH, CLIENT: ExtendedKeyUsageOID.CLIENT_AUTH}
_NO_HOST: Final = "nothing.invalid"
"""Permitted in the place of no DNS name at all: RFC 2606 keeps it from ever being one."""
_EVERYWHERE: Final = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
_WHERE: Final = "give the file that its issuer has handed out"


class Certificate(msgspec.Struct, frozen=True):
    """What is read of a certificate.

    Attributes:
        der: The certificate.
        fingerprint: SHA-256 of `der`, hex: what it is called by.
        pin: SHA-256 of its public key as `curl --pinnedpubkey` takes it: `sha256//BASE64`.
        serial: Serial number, hex.
        issuer: Name of the issuer, RFC 4514.
        subject: Its own name, likewise; shown, never believed.
        names: The names that count.
        uses: `server`, `client`, or both; empty if it says neither.
        begins: Unix seconds from which it holds.
        ends: Unix seconds until which it holds.
        authority: Whether it may issue others.
    """

    der: bytes
    fingerprint: str
    pin: str
    serial: str
    issuer: str
    subject: str
    names: Names
    uses: tuple[str, ...]
    begins: float
    ends: float
    authority: bool

    @property
    def renewal(self) -> float:
        """Unix seconds at which it is due to be renewed."""
        begins = self.begins + limits.BACKDATED_SECONDS
        return begins + (self.ends - begins) * limits.RENEWED_AT


@functools.lru_cache(maxsize=2 * limits.CERTIFICATES)
def read(der: bytes) -> Certificate:
    """Read a certificate.

    Raises:
        TrustError: It is none, is too large, or has extensions that cannot be read.
    """
    found = loaded(der)
    try:
        extensions = found.extensions
    except (ValueError, x509.DuplicateExtension) as error:
        raise TrustError("the certificate has extensions that cannot be read", hint=_WHERE) from error
    alternative = _extension(extensions, x509.SubjectAlternativeName)
    usage = _extension(extensions, x509.ExtendedKeyUsage)
    basic = _extension(extensions, x509.BasicConstraints)
    return Certificate(
        der=der,
        fingerprint=fingerprint(der),
        pin=pin(found.public_key()),
        serial=f"{found.serial_number:x}",
        issuer=found.issuer.rfc4514_string(),
        subject=found.subject.rfc4514_string(),
        names=_names(alternative) if alternative is not None else Names(),
        uses=tuple(use for use in USES if usage is not None and _OIDS[use] in usage),
        begins=found.not_valid_before_utc.timestamp(),
        ends=found.not_valid_after_utc.timestamp(),
        authority=basic is not None and basic.ca,
    )


def loaded(der: bytes) -> x509.Certificate:
    """A certificate as the library has it.

    Raises:
        TrustError: It is none, or too large.
    """
    try:
        if len(der) > limits.CERTIFICATE_BYTES:
            raise ValueError  # as good as none
        return x509.load_der_x509_certificate(der)
    except ValueError as error:
        raise TrustError("this is not a certificate", hint=_WHERE) from error


def read_pem(data: bytes) -> tuple[bytes, ...]:
    """The certificates of a PEM file, DER, in their order; of a file that is one certificate in DER, that one.

    Raises:
        TrustError: There is none, one cannot be read, there are too many, or it holds a private key.
    """
    if b"PRIVATE KEY" in data:
        raise TrustError(
            "there is a private key beside the certificates",
            hint="give certificates and key in files of their own",
        )
    if b"-----BEGIN" not in data:
        return (loaded(data).public_bytes(serialization.Encoding.DER),)
    try:
        found = x509.load_pem_x509_certificates(data)
    except ValueError as error:
        raise TrustError("the file holds no certificate that can be read", hint=_WHERE) from error
    if len(found) > limits.CHAIN_CERTIFICATES:
        raise TrustError(
            f"the file holds {len(found)} certificates, at most {limits.CHAIN_CERTIFICATES} are read",
            hint=_WHERE,
        )
    return tuple(each.public_bytes(serialization.Encoding.DER) for each in found)


def pem(ders: Iterable[bytes]) -> bytes:
    """Certificates as PEM, in their order."""
    return b"".join(loaded(der).public_bytes(serialization.Encoding.PEM) for der in ders)


def fingerprint(der: bytes) -> str:
    """SHA-256 of a certificate, hex."""
    return hashlib.sha256(der).hexdigest()


def pin(key: CertificatePublicKeyTypes) -> str:
    """`sha256//` and the SHA-256 of a public key in base64, as curl has it."""
    spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return "sha256//" + base64.b64encode(hashlib.sha256(spki).digest()).decode()


# --- making ---------------------------------------------------------------------------------------------


class Span(msgspec.Struct, frozen=True):
    """From when until when, Unix seconds."""

    begins: float
    ends: float


def make_root(name: str, key: Key, serial: int, span: Span) -> bytes:
    """A root certificate, DER: signed by itself, for one intermediate below it."""
    subject = _subject(f"{name} root")
    builder = _begun(subject, subject, key.public_key(), key.public_key(), serial, span)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
    return _signed(builder.add_extension(_signing(), critical=True), key)


def make_intermediate(
    name: str, public: ec.EllipticCurvePublicKey, root: bytes, root_key: Key, serial: int, span: Span,
    permitted: Sequence[str],
) -> bytes:  # fmt: skip
    """An intermediate certificate, DER: it issues leaves only, for TLS only, with permitted names only.

    `permitted` is as `subjectnames.permission` has it; those of URIs are held by `pathcheck` (see *Decided*).
    """
    above = loaded(root)
    builder = _begun(
        _subject(f"{name} intermediate {serial & 0xFFFF:04x}"),
        above.subject,
        public,
        root_key.public_key(),
        serial,
        span,
    )
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_signing(), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([_OIDS[use] for use in USES]), critical=False)
    return _signed(builder.add_extension(_constraints(permitted), critical=True), root_key)


def make_leaf(
    name: str, public: ec.EllipticCurvePublicKey, issuer: bytes, issuer_key: Key, serial: int, span: Span,
    names: Names, uses: Sequence[str],
) -> bytes:  # fmt: skip
    """A certificate of a server or a client, DER; it ends no later than its issuer."""
    above = loaded(issuer)
    ends = min(span.ends, above.not_valid_after_utc.timestamp())
    begins = max(span.begins, above.not_valid_before_utc.timestamp())
    builder = _begun(
        _subject(name), above.subject, public, issuer_key.public_key(), serial, Span(begins, ends)
    )
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(digital_signature=True), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([_OIDS[use] for use in uses]), critical=False)
    alternative: list[x509.GeneralName] = [x509.UniformResourceIdentifier(each) for each in names.uris]
    alternative += [x509.DNSName(each) for each in names.dns]
    alternative += [x509.IPAddress(ipaddress.ip_address(each)) for each in names.ips]
    return _signed(
        builder.add_extension(x509.SubjectAlternativeName(alternative), critical=False), issuer_key
    )


def make_request(name: str, key: Key) -> bytes:
    """A signing request, PEM: it shows the public key, and that its sender has the private one."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(_subject(name))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def read_request(data: bytes) -> ec.EllipticCurvePublicKey:
    """The public key of a signing request, PEM or DER. Names that it asks for are not looked at.

    Raises:
        TrustError: It is none, its signature is wrong, or its key is not P-256.
    """
    try:
        parse = x509.load_pem_x509_csr if data.startswith(b"-----") else x509.load_der_x509_csr
        request = parse(data)
        key, good = request.public_key(), request.is_signature_valid
    except ValueError as error:
        raise TrustError("this is not a signing request", hint="make one: openssl req -new") from error
    if not good:
        raise TrustError("the signing request is not signed by its own key", hint="make it again")
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise TrustError(
            "the key of the signing request is not on P-256", hint="openssl ecparam -name prime256v1"
        )
    return key


def _begun(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey,
    above: ec.EllipticCurvePublicKey, serial: int, span: Span,
) -> x509.CertificateBuilder:  # fmt: skip
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(serial)
        .not_valid_before(_moment(span.begins))
        .not_valid_after(_moment(span.ends))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(above), critical=False)
    )


def _signed(builder: x509.CertificateBuilder, key: Key) -> bytes:
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])


def _signing() -> x509.KeyUsage:
    return _usage(key_cert_sign=True, crl_sign=True)


def _usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=key_cert_sign, crl_sign=crl_sign,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _constraints(permitted: Sequence[str]) -> x509.NameConstraints:
    """Rule 2."""
    hosts = [value for kind, _, value in (each.partition(":") for each in permitted) if kind == "dns"]
    networks = [
        ipaddress.ip_network(value)
        for kind, _, value in (each.partition(":") for each in permitted)
        if kind == "ip"
    ]
    shut = [each for each in _EVERYWHERE if all(network.version != each.version for network in networks)]
    inside: list[x509.GeneralName] = [x509.DNSName(host) for host in hosts or [_NO_HOST]]
    inside += [x509.IPAddress(network) for network in networks]
    return x509.NameConstraints(inside, [x509.IPAddress(each) for each in shut] or None)


def _names(found: x509.SubjectAlternativeName) -> Names:
    """The names that count; wildcards, other URIs, mail addresses are left out, and so stand for nobody."""
    uris = found.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) > 1 and any(each.startswith(subjectnames.SPIFFE) for each in uris):
        uris = []  # X509-SVID 2: exactly one
    return subjectnames.names(
        _accepted(subjectnames.dns_name, found.get_values_for_type(x509.DNSName)),
        [str(each) for each in found.get_values_for_type(x509.IPAddress)][: limits.CERTIFICATE_NAMES // 4],
        _accepted(subjectnames.uri, uris),
    )


def _accepted(check: Callable[[str], str], given: Iterable[str]) -> list[str]:
    kept = []
    for each in given:
        with contextlib.suppress(TrustError):
            kept.append(check(each))
    return kept[: limits.CERTIFICATE_NAMES // 4]


def _extension(extensions: x509.Extensions, kind: type[_E]) -> _E | None:
    try:
        return extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _moment(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(int(seconds), dt.UTC)
