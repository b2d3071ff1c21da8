"""One secret from each place, and what is never taken for one."""

from pathlib import Path

import keyring
import pytest

from mcpguard import limits
from mcpguard.credentials.secretref import parse_ref
from mcpguard.errors import SecretError
from mcpguard.system.secretplaces import resolve, usable
from mcpguard.system.vault import KeyHow, Vault
from tests.system.test_vaultkey import MemoryKeyring


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    made = Vault(tmp_path / "vault")
    made.create("id", KeyHow("keyring"), bytes(32))
    made.put("a", b"value-in-vault", now=0.0)
    return made


def test_every_place_gives_its_value(vault: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = keyring.get_keyring()
    ring = MemoryKeyring()
    ring.set_password("my app", "me", "value-in-keyring")
    keyring.set_keyring(ring)
    (tmp_path / "cred").write_text("value-of-unit\n")
    (tmp_path / "plain").write_text("value-in-file")
    (tmp_path / "plain").chmod(0o600)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("A_SECRET", "value-in-env")
    try:
        for text, value in {
            "vault://a": b"value-in-vault", "keyring://my%20app/me": b"value-in-keyring",
            f"file://{tmp_path}/plain?plain": b"value-in-file", "env://A_SECRET": b"value-in-env",
            "cmd://printf value-printed": b"value-printed", "systemd-cred://cred": b"value-of-unit",
        }.items():  # fmt: skip
            assert resolve(parse_ref(text), vault) == value
        with pytest.raises(SecretError, match="the keyring has no keyring://my app/you"):
            resolve(parse_ref("keyring://my%20app/you"), vault)
        ring.locked = True
        with pytest.raises(SecretError, match="the keyring refused"):
            resolve(parse_ref("keyring://my%20app/me"), vault)
        with pytest.raises(SecretError, match="credential nothing of the daemon's unit cannot be read"):
            resolve(parse_ref("systemd-cred://nothing"), vault)
    finally:
        keyring.set_keyring(before)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"", "is empty"), (b"  \t\n      ", "is empty"), (b"1234567", "fewer than 8 bytes"),
        (bytes(limits.SECRET_BYTES + 1).replace(b"\0", b"x"), "more than"), (b"12345678\0", "holds a NUL"),
    ],
)  # fmt: skip
def test_what_is_no_secret_is_refused(value: bytes, words: str) -> None:
    with pytest.raises(SecretError, match=words):
        usable(value, "vault://a")


def test_a_file_may_hold_what_a_variable_cannot() -> None:
    assert usable(b"12345678\0", "vault://a", variable=False) == b"12345678\0"
