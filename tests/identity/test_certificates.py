"""The profile of our certificates, as openssl reads it; and what is read of any."""

import base64
import hashlib
import subprocess

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from mcpguard import limits
from mcpguard.errors import TrustError
from mcpguard.identity import certificates
from mcpguard.identity.certificates import make_request, pem, read, read_pem, read_request
from tests.identity.x509made import DAY, NOW, Maker, key


def openssl(*words, given=b""):
    return subprocess.run(["openssl", *map(str, words)], input=given, capture_output=True, check=False)


@pytest.fixture(scope="module")
def ours():
    return Maker()


def text(der):
    return openssl("x509", "-inform", "DER", "-noout", "-text", given=der).stdout.decode()


def test_openssl_reads_the_profile(ours):
    assert "CA:TRUE, pathlen:1" in text(ours.root)
    between = text(ours.between)
    for words in (
        "CA:TRUE, pathlen:0", "X509v3 Name Constraints: critical", "DNS:localhost", "IP:127.0.0.0/255.0.0.0",
        "IP:0:0:0:0:0:0:0:0/0:0:0:0:0:0:0:0", "TLS Web Server Authentication, TLS Web Client Authentication",
    ):  # fmt: skip
        assert words in between, words
    _, leaf = ours.leaf(["localhost"], ["127.0.0.1"], ["mcpguard://example/a"], uses=("server",))
    shown = text(leaf)
    for words in (
        "CA:FALSE", "URI:mcpguard://example/a, DNS:localhost, IP Address:127.0.0.1", "Digital Signature",
        "TLS Web Server Authentication",
    ):  # fmt: skip
        assert words in shown, words
    assert "Client Authentication" not in shown


def test_what_is_read_is_what_openssl_says(ours):
    _, leaf = ours.leaf(["localhost"], uris=["mcpguard://example/a"], uses=("client", "server"))
    found = read(leaf)
    printed = openssl(
        "x509", "-inform", "DER", "-noout", "-fingerprint", "-sha256", given=leaf
    ).stdout.decode()
    assert printed.partition("=")[2].strip().replace(":", "").lower() == found.fingerprint
    serial = openssl("x509", "-inform", "DER", "-noout", "-serial", given=leaf).stdout.decode()
    assert int(serial.partition("=")[2], 16) == int(found.serial, 16)
    public = openssl("x509", "-inform", "DER", "-noout", "-pubkey", given=leaf).stdout
    spki = openssl("pkey", "-pubin", "-outform", "DER", given=public).stdout
    assert found.pin == "sha256//" + base64.b64encode(hashlib.sha256(spki).digest()).decode()
    assert (found.uses, found.authority) == (("server", "client"), False)
    assert found.names.all == ("mcpguard://example/a", "localhost")
    assert (found.begins, found.ends) == (NOW - 300, NOW + DAY)
    assert found.renewal == NOW + DAY * limits.RENEWED_AT


def test_a_leaf_ends_with_its_issuer(ours):
    _, leaf = ours.leaf(["localhost"], ends=NOW + 400 * DAY)
    assert read(leaf).ends == read(ours.between).ends


def test_names_that_stand_for_nobody_are_left_out(ours):
    _, leaf = ours.bent([
        x509.DNSName("*.example"), x509.DNSName("UPPER.example"), x509.DNSName("good.example"),
        x509.UniformResourceIdentifier("https://example/"), x509.RFC822Name("a@example"),
    ])  # fmt: skip
    assert read(leaf).names.all == ("good.example",)
    _, leaf = ours.bent([x509.UniformResourceIdentifier(f"spiffe://example/{n}") for n in "ab"])
    assert read(leaf).names.all == ()
    _, leaf = ours.bent([x509.DNSName(f"h{n}.example") for n in range(500)])
    assert len(read(leaf).names.all) <= limits.CERTIFICATE_NAMES
    _, leaf = ours.bent()
    assert (read(leaf).names.all, read(leaf).uses) == ((), ())


@pytest.mark.parametrize("data", [b"", b"\x30\x03\x02\x01\x01", b"nothing", b"\x30" * 100_000])
def test_what_is_no_certificate(data):
    with pytest.raises(TrustError, match="not a certificate"):
        read(data)


def test_pem_files(ours):
    chain = pem([ours.between, ours.root])
    assert read_pem(chain) == (ours.between, ours.root)
    assert read_pem(b"text before\n" + chain) == (ours.between, ours.root)
    assert read_pem(ours.root) == (ours.root,)
    secret = ours.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for data, why in [
        (chain + secret, "private key beside"),
        (b"-----BEGIN CERTIFICATE-----\nxx\n-----END CERTIFICATE-----\n", "no certificate that can be read"),
        (pem([ours.root] * 17), "holds 17 certificates"),
        (b"hello", "not a certificate"),
    ]:
        with pytest.raises(TrustError, match=why):
            read_pem(data)


def test_a_request_of_openssl_and_ours(tmp_path):
    made = openssl(
        "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", tmp_path / "k",
        "-subj", "/CN=anybody",
    )  # fmt: skip
    assert isinstance(read_request(made.stdout).curve, ec.SECP256R1)
    mine = key()
    request = make_request("alice", mine)
    assert read_request(request) == mine.public_key()
    said = openssl("req", "-noout", "-verify", given=request)
    assert (said.returncode, b"verify OK" in said.stderr) == (0, True)


def test_requests_that_are_refused():
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    der = serialization.Encoding.DER
    large = builder.sign(rsa.generate_private_key(65537, 2048), hashes.SHA256()).public_bytes(der)
    other = builder.sign(ec.generate_private_key(ec.SECP384R1()), hashes.SHA256()).public_bytes(der)
    good = builder.sign(key(), hashes.SHA256()).public_bytes(der)
    at = good.index(b"\x0c\x01a")  # the common name, in what is signed
    forged = good[: at + 2] + b"b" + good[at + 3 :]
    for data, why in [
        (b"", "not a signing request"), (b"-----BEGIN", "not a signing request"), (large, "not on P-256"),
        (other, "not on P-256"), (forged, "not signed by its own key"),
    ]:  # fmt: skip
        with pytest.raises(TrustError, match=why):
            read_request(data)


def test_certificates_of_others_are_read():
    leaf = trustme.CA().issue_cert("localhost", "127.0.0.1", "*.wild.example")
    found = read(read_pem(leaf.cert_chain_pems[0].bytes())[0])
    assert found.names.all == ("localhost", "127.0.0.1")
    assert found.fingerprint == certificates.fingerprint(found.der)
