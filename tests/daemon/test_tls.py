"""Contexts of TLS and what they say; the handshakes themselves are in test_dialling."""

import ssl
import subprocess
from pathlib import Path

import pytest

from mcpguard.daemon import tls
from mcpguard.errors import TrustError
from mcpguard.identity.remote import Remote
from tests.fakes.remotes import Pki

URL = "https://a.test/"


def test_nothing_is_trusted_by_default() -> None:
    for remote in (Remote(URL), Remote(URL, pins=("sha256:" + "0" * 64,))):
        with pytest.raises(TrustError, match="nothing says"):
            tls.context(remote)


def test_context_is_strict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    made = tls.context(Remote(URL, ca=Pki(tmp_path).pem))
    assert made.minimum_version is ssl.TLSVersion.TLSv1_3
    assert made.verify_mode is ssl.CERT_REQUIRED
    assert made.check_hostname
    assert not made.hostname_checks_common_name
    assert not made.keylog_filename
    assert len(made.get_ca_certs()) == 1


def test_pin_is_that_of_openssl(tmp_path: Path) -> None:
    file = Pki(tmp_path).issue("leaf")
    text = file.read_text()
    pem = text[text.index("-----BEGIN CERT") : text.index("-----END CERT")] + "-----END CERTIFICATE-----\n"
    script = (
        f"openssl x509 -in {file} -pubkey -noout | openssl pkey -pubin -outform der | openssl dgst -sha256 -r"
    )
    said = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
    assert tls.spki(ssl.PEM_cert_to_DER_cert(pem)) == f"sha256:{said.split()[0]}"


def test_certificate_that_is_none_is_not_pinned() -> None:
    tls.require_pinned(b"", ())
    for shown in (None, b"", b"text"):
        with pytest.raises(tls.PinError, match="its key is none"):
            tls.require_pinned(shown, ("sha256:" + "0" * 64,))


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("TLSV1_ALERT_PROTOCOL_VERSION", "does not speak TLS 1.3"),
        ("WRONG_VERSION_NUMBER", "does not speak TLS at this port"),
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "wants a certificate of ours"),
        ("TLSV1_ALERT_UNKNOWN_CA", "does not accept our certificate"),
        ("SOMETHING_ELSE", "TLS fails (something_else)"),
    ],
)
def test_reason_becomes_a_sentence(reason: str, words: str) -> None:
    error = ssl.SSLError(1, reason)
    error.reason = reason
    assert words in tls.sentence(error)[0]
