"""The key of the vault: kept by a keyring that really keeps, opened by a credential or a passphrase, or not at all."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.backends.fail import Keyring as NoKeyring
from keyring.errors import PasswordDeleteError

from mcpguard import limits
from mcpguard.errors import SecretError
from mcpguard.system import vaultkey
from mcpguard.system.vault import KeyHow

COST = 2**14


class MemoryKeyring(KeyringBackend):
    """A keyring in memory, which can be locked."""

    priority = 5  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[tuple[str, str], str] = {}
        self.locked = False

    def set_password(self, service: str, username: str, password: str) -> None:
        self._open()
        self.kept[service, username] = password

    def get_password(self, service: str, username: str) -> str | None:
        self._open()
        return self.kept.get((service, username))

    def delete_password(self, service: str, username: str) -> None:
        if self.kept.pop((service, username), None) is None:
            raise PasswordDeleteError(username)

    def _open(self) -> None:
        if self.locked:
            raise RuntimeError("the keyring is locked")


@pytest.fixture
def ring() -> Iterator[MemoryKeyring]:
    before, made = keyring.get_keyring(), MemoryKeyring()
    keyring.set_keyring(made)
    yield made
    keyring.set_keyring(before)


@pytest.fixture
def no_ring() -> Iterator[None]:
    before = keyring.get_keyring()
    keyring.set_keyring(NoKeyring())
    yield
    keyring.set_keyring(before)


@pytest.fixture
def unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The credentials of a unit, one of them for the vault."""
    (tmp_path / vaultkey.CREDENTIAL).write_bytes(os.urandom(32))
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    return tmp_path


def test_a_keyring_has_the_key_itself(ring: MemoryKeyring) -> None:
    how, key = vaultkey.make("keyring", "id")
    assert (how, len(key)) == (KeyHow("keyring"), 32)
    assert vaultkey.find(how, "id") == key
    assert vaultkey.make("keyring", "other")[1] != key
    ring.locked = True
    with pytest.raises(SecretError, match="the keyring refused"):
        vaultkey.find(how, "id")
    ring.locked = False
    ring.kept.clear()
    with pytest.raises(SecretError, match="does not have the key"):
        vaultkey.find(how, "id")
    ring.kept["mcpguard vault", "id"] = "no base64"
    with pytest.raises(SecretError, match="does not have the key"):
        vaultkey.find(how, "id")


def test_a_keyring_that_forgets_is_not_trusted_with_a_key(
    ring: MemoryKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MemoryKeyring, "get_password", lambda *_: None)
    with pytest.raises(SecretError, match="does not give back"):
        vaultkey.make("keyring", "id")


def test_a_credential_of_the_unit_opens_it(no_ring: None, unit: Path) -> None:
    assert vaultkey.ways() == ["credential"]
    how, key = vaultkey.make("credential", "id")
    assert vaultkey.find(how, "id") == key
    assert key.hex() not in json.dumps([how.salt, how.wrapped])
    (unit / vaultkey.CREDENTIAL).write_bytes(os.urandom(32))
    with pytest.raises(SecretError, match="does not open the vault"):
        vaultkey.find(how, "id")
    (unit / vaultkey.CREDENTIAL).write_bytes(b"password")
    with pytest.raises(SecretError, match="16 random ones are needed"):
        vaultkey.find(how, "id")
    (unit / vaultkey.CREDENTIAL).unlink()
    with pytest.raises(SecretError, match="no credential mcpguard-vault-key"):
        vaultkey.find(how, "id")


def test_a_passphrase_opens_it_and_no_other_does(no_ring: None) -> None:
    how, key = vaultkey.make("passphrase", "id", "correct horse", COST)
    assert vaultkey.find(how, "id", "correct horse") == key
    with pytest.raises(SecretError, match="does not open the vault"):
        vaultkey.find(how, "id", "wrong")
    with pytest.raises(SecretError, match="the vault is locked"):
        vaultkey.find(how, "id")
    for wrong in ("", "x" * (limits.PASSPHRASE_BYTES + 1)):
        with pytest.raises(SecretError, match="needs a passphrase"):
            vaultkey.make("passphrase", "id", wrong, COST)


@pytest.mark.parametrize(
    "how",
    [
        KeyHow("passphrase", "c2FsdA==", 2**30, "eA=="), KeyHow("passphrase", "c2FsdA==", 1, "eA=="),
        KeyHow("passphrase", "§", COST, "eA=="), KeyHow("plain", "c2FsdA==", COST, "eA=="),
    ],
)  # fmt: skip
def test_a_head_that_asks_for_something_else_is_damaged(how: KeyHow) -> None:
    with pytest.raises(SecretError, match="head of the vault is damaged"):
        vaultkey.find(how, "id", "x")


def test_there_is_no_way_without_a_key(no_ring: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert vaultkey.ways() == []
    with pytest.raises(SecretError, match="no credential"):
        vaultkey.make("credential", "id")
    with pytest.raises(SecretError, match="keyring"):
        vaultkey.make("keyring", "id")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "relative")
    assert vaultkey.credentials_directory() is None


def test_the_keyring_comes_first(ring: MemoryKeyring, unit: Path) -> None:
    assert vaultkey.ways() == ["keyring", "credential"]
