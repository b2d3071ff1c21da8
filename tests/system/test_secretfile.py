"""Secrets in files: real age files, files of our own vault, plain ones; and those that are refused."""

import os
from pathlib import Path

import pyrage
import pytest
from cryptography.hazmat.primitives import serialization as ser
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mcpguard import limits
from mcpguard.credentials.secretref import parse_ref
from mcpguard.errors import SecretError
from mcpguard.system.secretfile import from_file, trimmed
from mcpguard.system.vault import KeyHow, Vault

VALUE = b"value-of-a-file"


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    made = Vault(tmp_path / "vault")
    made.create("id", KeyHow("keyring"), bytes(32))
    return made


def private(path: Path, data: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


def read(text: str, vault: Vault) -> bytes:
    return from_file(parse_ref(text), vault)


def test_plain_text_is_read_where_it_is_said(tmp_path: Path, vault: Vault) -> None:
    path = private(tmp_path / "x", VALUE + b"\n")
    assert read(f"file://{path}?plain", vault) == VALUE
    private(path, VALUE + b"\r\n\n")
    assert read(f"file://{path}?plain", vault) == VALUE + b"\r\n"
    assert trimmed(b"a\r\n") == b"a"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, vault: Vault, mode: int) -> None:
    path = private(tmp_path / "x", VALUE, mode)
    with pytest.raises(SecretError, match="others may read"):
        read(f"file://{path}?plain", vault)


@pytest.mark.skipif(os.geteuid() != 0, reason="another uid's file needs root")
def test_a_file_of_somebody_else_is_refused(tmp_path: Path, vault: Vault) -> None:
    path = private(tmp_path / "x", VALUE)
    os.chown(path, 12345, 12345)
    with pytest.raises(SecretError, match="belongs to uid 12345"):
        read(f"file://{path}?plain", vault)


def test_links_pipes_folders_and_what_is_not_there_are_refused(tmp_path: Path, vault: Vault) -> None:
    target = private(tmp_path / "x", VALUE)
    (tmp_path / "link").symlink_to(target)
    os.mkfifo(tmp_path / "pipe", 0o600)
    private(tmp_path / "big", bytes(limits.SECRET_BYTES * 2 + 1))
    for name, words in (
        ("link", "cannot be read"), ("pipe", "not a regular file"), ("vault", "not a regular file"),
        ("nothing", "cannot be read"), ("big", "too large"),
    ):  # fmt: skip
        with pytest.raises(SecretError, match=words):
            read(f"file://{tmp_path / name}?plain", vault)


def test_age_files_are_opened_with_their_identity(tmp_path: Path, vault: Vault) -> None:
    mine, other = pyrage.x25519.Identity.generate(), pyrage.x25519.Identity.generate()
    key = private(tmp_path / "key", f"# a comment\n\n{mine}\n".encode())
    aged = private(tmp_path / "aged", pyrage.encrypt(VALUE, [mine.to_public()]))
    armored = private(tmp_path / "armored", pyrage.encrypt(VALUE, [mine.to_public()], armored=True))
    foreign = private(tmp_path / "foreign", pyrage.encrypt(VALUE, [other.to_public()]))
    assert read(f"file://{aged}?identity={key}", vault) == VALUE
    assert read(f"file://{armored}?identity={key}", vault) == VALUE
    with pytest.raises(SecretError, match="does not open"):
        read(f"file://{foreign}?identity={key}", vault)
    with pytest.raises(SecretError, match="was not encrypted by age"):
        read(f"file://{private(tmp_path / 'x', VALUE)}?identity={key}", vault)
    with pytest.raises(SecretError, match="is encrypted, and the reference says that it is plain"):
        read(f"file://{aged}?plain", vault)
    key.chmod(0o644)
    with pytest.raises(SecretError, match="others may read"):
        read(f"file://{aged}?identity={key}", vault)
    key.chmod(0o600)
    for wrong in (b"", b"# nothing\n", b"AGE-SECRET-KEY-1SWORDFISH\n", b"\xff"):
        key.write_bytes(wrong)
        with pytest.raises(SecretError, match="no identity of age") as caught:
            read(f"file://{aged}?identity={key}", vault)
        assert "SWORDFISH" not in repr(caught.value.__cause__) + str(caught.value)


def test_a_key_of_ssh_is_an_identity(tmp_path: Path, vault: Vault) -> None:
    made = Ed25519PrivateKey.generate()
    key = private(
        tmp_path / "ssh", made.private_bytes(ser.Encoding.PEM, ser.PrivateFormat.OpenSSH, ser.NoEncryption())
    )
    line = made.public_key().public_bytes(ser.Encoding.OpenSSH, ser.PublicFormat.OpenSSH).decode()
    aged = private(tmp_path / "aged", pyrage.encrypt(VALUE, [pyrage.ssh.Recipient.from_str(line)]))
    assert read(f"file://{aged}?identity={key}", vault) == VALUE


def test_sealed_files_are_opened_by_their_vault(tmp_path: Path, vault: Vault) -> None:
    path = private(tmp_path / "sealed", vault.seal(VALUE))
    assert read(f"file://{path}?sealed", vault) == VALUE
    vault.lock()
    with pytest.raises(SecretError, match="is locked"):
        read(f"file://{path}?sealed", vault)
