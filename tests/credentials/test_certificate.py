import datetime as dt
import ipaddress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mcpguard.credentials.certificate import authenticated, fingerprint
from mcpguard.errors import PeerError

KEY = ec.generate_private_key(ec.SECP256R1())
NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "common")])
BEGIN = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def made(*names: x509.GeneralName) -> bytes:
    builder = (
        x509.CertificateBuilder()
        .subject_name(NAME).issuer_name(NAME).public_key(KEY.public_key()).serial_number(255)
        .not_valid_before(BEGIN).not_valid_after(BEGIN + dt.timedelta(days=1))
    )  # fmt: skip
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def test_every_name_is_a_principal() -> None:
    der = made(
        x509.DNSName("build-agent"), x509.RFC822Name("boss@guard.example"), x509.IPAddress(ipaddress.ip_address("192.0.2.1")),
        x509.UniformResourceIdentifier("https://guard.example/agent"),
    )  # fmt: skip
    found = authenticated(der)
    assert found.principals == {
        "cert:build-agent", "cert:boss@guard.example", "cert:192.0.2.1", "cert:https://guard.example/agent",
    }  # fmt: skip
    assert found.expires == (BEGIN + dt.timedelta(days=1)).timestamp()
    assert found.evidence == {"certificate": fingerprint(der), "serial": "ff"}


def test_a_spiffe_id_is_itself() -> None:
    found = authenticated(made(x509.UniformResourceIdentifier("spiffe://guard.example/ns/ci")))
    assert found.principals == {"spiffe://guard.example/ns/ci"}
    assert found.instance == "spiffe://guard.example/ns/ci"


@pytest.mark.parametrize(
    "names",
    [
        (), (x509.DNSName("*.guard.example"),), (x509.DNSName("a b"),), (x509.DirectoryName(NAME),),
        (x509.UniformResourceIdentifier("spiffe://guard.example"),), (x509.UniformResourceIdentifier("spiffe://Guard/x"),),
        (x509.UniformResourceIdentifier("spiffe://a/x"), x509.UniformResourceIdentifier("spiffe://a/y")),
        (x509.UniformResourceIdentifier("spiffe://a/x?y"),), (x509.UniformResourceIdentifier("spiffe://a/x y"),),
    ],
)  # fmt: skip
def test_who_names_nobody_or_two_is_refused(names: tuple[x509.GeneralName, ...]) -> None:
    with pytest.raises(PeerError):
        authenticated(made(*names))


def test_the_common_name_does_not_count() -> None:
    assert "cert:common" not in authenticated(made(x509.DNSName("x"))).principals


def test_a_renewed_certificate_is_the_same_credential() -> None:
    names = (x509.DNSName("b"), x509.DNSName("a"))
    assert (
        authenticated(made(*names)).instance
        == authenticated(made(*reversed(names))).instance
        == "cert:a cert:b"
    )
    many = tuple(x509.DNSName(f"host-{number}.guard.example") for number in range(50))
    assert len(authenticated(made(*many)).instance) < 80


def test_what_is_no_certificate() -> None:
    with pytest.raises(PeerError, match="cannot be read"):
        authenticated(b"nonsense")
