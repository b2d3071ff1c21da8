"""Authorities and certificates for tests, made by our own profile or bent away from it."""

import datetime as dt

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mcpguard.identity.certificates import Span, make_intermediate, make_leaf, make_root
from mcpguard.identity.pathcheck import Anchor
from mcpguard.identity.subjectnames import names

NOW = dt.datetime(2026, 11, 29, 12, 0, tzinfo=dt.UTC).timestamp()
DAY = 24 * 3600
PERMITTED = ("dns:localhost", "dns:example", "ip:127.0.0.0/8", "uri:example")


def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


class Maker:
    """One authority with its keys."""

    def __init__(self, name: str = "ours", now: float = NOW, permitted: tuple[str, ...] = PERMITTED) -> None:
        self.name, self.now, self.permitted = name, now, permitted
        self.root_key, self.key = key(), key()
        span = Span(now - DAY, now + 30 * DAY)
        self.root = make_root(name, self.root_key, x509.random_serial_number(), span)
        self.between = make_intermediate(
            name,
            self.key.public_key(),
            self.root,
            self.root_key,
            x509.random_serial_number(),
            span,
            permitted,
        )
        self.anchor = Anchor(self.root, (self.between,), permitted, name)

    def leaf(self, dns=(), ips=(), uris=(), uses=("client",), begins=None, ends=None, name="leaf"):
        """A key and its certificate."""
        made = key()
        span = Span(self.now - 300 if begins is None else begins, self.now + DAY if ends is None else ends)
        return made, make_leaf(
            name, made.public_key(), self.between, self.key, x509.random_serial_number(), span,
            names(dns, ips, uris), uses,
        )  # fmt: skip

    def bent(self, sans=(), *, eku=None, issuer=None, issuer_key=None, ca=None, more=()):
        """A certificate outside the profile: any names, any uses, any extensions."""
        made = key()
        above = x509.load_der_x509_certificate(issuer or self.between)
        signer = issuer_key or self.key
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bent")]))
            .issuer_name(above.subject)
            .public_key(made.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(dt.datetime.fromtimestamp(self.now - 60, dt.UTC))
            .not_valid_after(dt.datetime.fromtimestamp(self.now + DAY, dt.UTC))
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
            )
            .add_extension(x509.BasicConstraints(ca=ca is not None, path_length=ca), critical=True)
        )
        if ca is not None:
            usage = dict.fromkeys(
                ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
                 "encipher_only", "decipher_only"), False,
            )  # fmt: skip
            builder = builder.add_extension(
                x509.KeyUsage(**usage, key_cert_sign=True, crl_sign=True), critical=True
            ).add_extension(x509.SubjectKeyIdentifier.from_public_key(made.public_key()), critical=False)
        if sans:
            builder = builder.add_extension(x509.SubjectAlternativeName(list(sans)), critical=False)
        if eku is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage(list(eku)), critical=False)
        for extension, critical in more:
            builder = builder.add_extension(extension, critical=critical)
        return made, builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
