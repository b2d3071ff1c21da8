"""What sinks have in common: secrets are read strictly, certificates are checked."""

import errno
import ssl
from pathlib import Path

import pytest

from mcpguard.system.delivery import SinkError, bearer, reason, tls


@pytest.mark.parametrize("content", [b"", b"\n", b"two words", b"t\xc3\xb6ken", b"a\x00b", b"a\r\nX-Evil: 1"])
def test_what_is_no_token_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(SinkError, match="no token"):
        bearer(str(path))


def test_a_token_is_private(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("s3cret\n")
    path.chmod(0o644)
    with pytest.raises(SinkError, match="read by others"):
        bearer(str(path))
    path.chmod(0o600)
    assert bearer(str(path)) == "s3cret"
    with pytest.raises(SinkError, match="cannot be read"):
        bearer(str(tmp_path / "none"))


def test_certificates_and_names_are_checked(tmp_path: Path) -> None:
    context = tls("")
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    (tmp_path / "ca.pem").write_text("none")
    for path in (tmp_path / "ca.pem", tmp_path / "missing.pem"):
        with pytest.raises(SinkError, match="cannot be read"):
            tls(str(path))


def test_reasons_are_few_words() -> None:
    assert reason(ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")) == "connection refused"
    assert reason(TimeoutError()) == "it does not answer in time"
    assert reason(ConnectionResetError()) == "connectionreseterror"
