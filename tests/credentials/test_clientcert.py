import datetime as dt
import time

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from mcpguard.credentials.clientcert import fingerprint, holder
from mcpguard.errors import PeerError


def made(*names: x509.GeneralName, common: str = "root") -> bytes:
    key, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.fromtimestamp(time.time(), dt.UTC)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)])
    builder = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - dt.timedelta(1)).not_valid_after(now + dt.timedelta(1))
    )  # fmt: skip
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def test_every_kind_of_name() -> None:
    shown = made(
        x509.DNSName("a.example"), x509.RFC822Name("a@example"),
        x509.UniformResourceIdentifier("spiffe://example/agent"), x509.UniformResourceIdentifier("https://x"),
    )  # fmt: skip
    found = holder(shown, time.time())
    assert found.principals == {
        "cert:a.example", "cert:a@example", "cert:spiffe://example/agent", "spiffe://example/agent", "cert:https://x",
    }  # fmt: skip
    assert found.instance == f"cert:{fingerprint(shown)}"
    assert holder(shown, time.time()) == found


@pytest.mark.parametrize(
    "shown", [b"", b"rubbish", made(), made(x509.DNSName("a\n")), made(*[x509.DNSName("a")] * 65)]
)
def test_who_names_nobody_is_refused_whatever_the_common_name_says(shown: bytes) -> None:
    with pytest.raises(PeerError, match="names"):
        holder(shown, time.time())


def test_it_is_over_when_it_says_so() -> None:
    leaf = trustme.CA().issue_cert("a.example").cert_chain_pems[0].bytes()
    read = x509.load_pem_x509_certificate(leaf)
    shown = read.public_bytes(Encoding.DER)
    for at in (read.not_valid_after_utc.timestamp(), read.not_valid_before_utc.timestamp() - 1):
        with pytest.raises(PeerError, match="not valid now"):
            holder(shown, at)
