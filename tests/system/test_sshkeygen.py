"""OpenSSH itself signs; what comes back is verified by OpenSSH and by us."""

import base64
import os
import shutil
import subprocess

import pytest

from mcpguard.errors import TrustError
from mcpguard.identity.sshsig import NAMESPACE, verify_sshsig
from mcpguard.system import sshkeygen

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs OpenSSH")


def made(tmp_path, kind="ed25519", name="key"):
    path = tmp_path / name
    subprocess.run(
        ["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "", "-f", str(path)], check=True, timeout=60
    )
    return path


def test_ssh_keygen_signs_and_we_verify(tmp_path):
    key = made(tmp_path)
    message = bytes(range(256)) * 100
    armour = sshkeygen.sign(key, message, NAMESPACE)
    line = key.with_suffix(".pub").read_text()
    assert verify_sshsig(armour, message).wire().hex() in bytes_of(line).hex()
    with pytest.raises(TrustError):
        verify_sshsig(armour, message + b"x")
    with pytest.raises(TrustError):
        verify_sshsig(sshkeygen.sign(key, message, "file"), message)


def bytes_of(line):
    return base64.b64decode(line.split()[1])


@pytest.mark.parametrize("name", ["a b", "-f", "$(touch pwned)", "x;y", "k\u00e9y"])
def test_a_path_is_a_path_and_nothing_else(tmp_path, name):
    key = made(tmp_path, name="plain").rename(tmp_path / name)
    assert sshkeygen.sign(key, b"m", NAMESPACE).startswith(b"-----BEGIN SSH SIGNATURE-----")
    assert not (tmp_path / "pwned").exists()


def test_a_key_in_an_agent_is_named_by_its_public_half(tmp_path, monkeypatch):
    key = made(tmp_path)
    agent = subprocess.Popen(
        ["ssh-agent", "-D", "-a", str(tmp_path / "agent")], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert agent.stdout
        agent.stdout.readline()
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
        subprocess.run(["ssh-add", "-q", str(key)], check=True, timeout=20, stderr=subprocess.DEVNULL)
        key.unlink()
        assert verify_sshsig(sshkeygen.sign(key.with_suffix(".pub"), b"m", NAMESPACE), b"m")
    finally:
        agent.terminate()
        agent.wait()
        agent.stdout.close()


def test_no_key_no_signature(tmp_path, capfd):
    with pytest.raises(TrustError, match="there is no SSH key"):
        sshkeygen.sign(tmp_path / "absent", b"m", NAMESPACE)
    text = tmp_path / "text"
    text.write_text("not a key")
    with pytest.raises(TrustError, match=r"ssh-keygen did not sign with .* \(exit code"):
        sshkeygen.sign(text, b"m", NAMESPACE)
    assert "text" in capfd.readouterr().err


def test_without_openssh(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", os.fspath(tmp_path))
    with pytest.raises(TrustError, match="ssh-keygen is not installed"):
        sshkeygen.sign(tmp_path, b"m", NAMESPACE)
