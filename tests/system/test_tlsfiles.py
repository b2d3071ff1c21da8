import ssl
from pathlib import Path

import msgspec
import pytest
import trustme

from mcpguard.errors import ConfigError, PeerError
from mcpguard.system.servefile import Listen
from mcpguard.system.tlsfiles import TlsFiles
from tests.lifecycle.peers import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def listen(authority: Authority, **more: str) -> Listen:
    made = Listen(
        "a", host="localhost", port=1, auth=("cert",), certificate=str(authority.certificate), key=str(authority.key),
        client_ca=str(authority.ca_file),
    )  # fmt: skip
    return msgspec.structs.replace(made, **more)


def test_only_tls_1_3_and_only_with_a_certificate(authority: Authority) -> None:
    context = TlsFiles(listen(authority)).context()
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3
    assert context.verify_mode is ssl.CERT_REQUIRED
    open_ = TlsFiles(listen(authority, client_ca="")).context()
    assert open_.verify_mode is ssl.CERT_NONE


def test_another_file_is_another_stamp(authority: Authority) -> None:
    files = TlsFiles(listen(authority))
    before = files.stamp()
    assert files.stamp() == before
    authority.server()
    assert files.stamp() != before
    authority.ca_file.unlink()
    assert files.stamp() != before


@pytest.mark.parametrize("name", ["certificate", "key", "client_ca"])
def test_a_file_that_is_missing_or_holds_something_else(
    authority: Authority, tmp_path: Path, name: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        TlsFiles(listen(authority, **{name: str(tmp_path / "none")})).context()
    assert "no such file" in caught.value.sentence()
    other = tmp_path / "other"
    other.write_text("not PEM")
    other.chmod(0o600)
    with pytest.raises(ConfigError) as caught:
        TlsFiles(listen(authority, **{name: str(other)})).context()
    assert caught.value.sentence().count("\n") == 0
    assert str(tmp_path) in caught.value.sentence()


def test_a_key_of_another_certificate(authority: Authority, tmp_path: Path) -> None:
    other = tmp_path / "other.key"
    trustme.CA().issue_cert("x").private_key_pem.write_to_path(str(other))
    other.chmod(0o600)
    with pytest.raises(ConfigError, match="does not fit"):
        TlsFiles(listen(authority, key=str(other))).context()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_may_read(authority: Authority, mode: int) -> None:
    authority.key.chmod(mode)
    with pytest.raises(ConfigError, match="others may read this private key"):
        TlsFiles(listen(authority)).context()


def test_files_know_whom_a_certificate_names_and_of_no_revocation(authority: Authority) -> None:
    files = TlsFiles(listen(authority))
    der = ssl.PEM_cert_to_DER_cert(authority.ca.issue_cert("build-agent").cert_chain_pems[0].bytes().decode())
    assert files.identify(der).principals == {"cert:build-agent"}
    assert files.refused(der) == ""
    with pytest.raises(PeerError):
        files.identify(b"nonsense")
