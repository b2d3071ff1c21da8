"""Where is the key of the vault, and who can have it?

Three ways, the first that there is when the vault is made: the keyring of the desktop has the key itself; a
credential of the daemon's unit (`CREDENTIAL`, which systemd-creds can seal to the machine) opens it; else a
passphrase does, which a person types at a terminal (`mcpguard secret unlock`).

Rule: there is no fourth way. Where none of them is to be had, nothing is kept.

Cost: a passphrase takes 0.4 s and 128 MiB (scrypt, n = 2**17, r = 8).

Source: RFC 7914 (scrypt), RFC 5869 (HKDF); systemd.exec(5), CREDENTIALS.

Decided: *a credential of less than 16 bytes is refused*, since HKDF makes nothing stronger of a password.
"""

from __future__ import annotations

import base64
import os
import secrets
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from mcpguard import limits
from mcpguard.errors import SecretError, TrustError
from mcpguard.system.keyfiles import SCRYPT_COST, Keyring, desktop_keyring, keyring_errors_told
from mcpguard.system.vault import KEY_BYTES, UNLOCK, KeyHow

KEYRING: Final = "keyring"
CREDENTIAL: Final = "mcpguard-vault-key"
"""The name of the credential of the daemon's unit that opens the vault."""
_SERVICE: Final = "mcpguard vault"
_COSTS: Final = (2**14, 2**20)
_LEAST: Final = 16
_SALT_BYTES: Final = 16
_NONCE: Final = bytes(12)
"""Each wrapping key is made with a fresh salt and used once."""


def credentials_directory() -> Path | None:
    """Where the credentials of the daemon's unit are; None if it has none."""
    named = os.environ.get("CREDENTIALS_DIRECTORY", "")
    return Path(named) if named.startswith("/") else None


def ways() -> list[str]:
    """The ways that need nobody at a terminal, best first, as far as they are to be had here."""
    found = []
    try:
        desktop_keyring()
    except TrustError:
        pass  # no keyring here: said by `doctor`, and by the question for a passphrase
    else:
        found.append(KEYRING)
    return [*found, *(["credential"] if _credential() is not None else [])]


def make(way: str, ident: str, passphrase: str = "", cost: int = SCRYPT_COST) -> tuple[KeyHow, bytes]:
    """A new key, kept in this way.

    Raises:
        SecretError: It cannot be.
    """
    key = secrets.token_bytes(KEY_BYTES)
    salt = secrets.token_bytes(_SALT_BYTES)
    if way == KEYRING:
        _into_keyring(ident, key)
        return KeyHow(way), key
    if way == "credential":
        return KeyHow(way, _text(salt), 0, _wrapped(_derived(salt), key)), key
    if not passphrase or len(passphrase.encode("utf-8", "surrogateescape")) > limits.PASSPHRASE_BYTES:
        raise SecretError(
            f"the vault needs a passphrase of 1 to {limits.PASSPHRASE_BYTES} bytes", hint=UNLOCK
        )
    return KeyHow("passphrase", _text(salt), cost, _wrapped(_stretched(passphrase, salt, cost), key)), key


def find(how: KeyHow, ident: str, passphrase: str = "") -> bytes:
    """The key of a vault.

    Raises:
        SecretError: It is not to be had in the way in which it is kept, and what a person can do.
    """
    if how.way == KEYRING:
        return _from_keyring(ident)
    try:
        salt, wrapped = (base64.b64decode(part, validate=True) for part in (how.salt, how.wrapped))
    except ValueError as error:
        raise _damaged() from error
    if how.way == "credential":
        return _unwrapped(_derived(salt), wrapped, f"the credential {CREDENTIAL} does not open the vault")
    if how.way != "passphrase" or not _COSTS[0] <= how.cost <= _COSTS[1]:
        raise _damaged()
    if not passphrase:
        raise SecretError("the vault is locked", hint=f"open it at a terminal of yours: {UNLOCK}")
    return _unwrapped(
        _stretched(passphrase, salt, how.cost), wrapped, "the passphrase does not open the vault"
    )


def _into_keyring(ident: str, key: bytes) -> None:
    keyring, kept = _keyring(), _text(key)
    try:
        with keyring_errors_told():
            keyring.set_password(_SERVICE, ident, kept)
            given = keyring.get_password(_SERVICE, ident)
    except TrustError as error:
        raise SecretError(error.message, hint=f"unlock the keyring, or use a passphrase: {UNLOCK}") from error
    if given != kept:
        raise SecretError(
            "the keyring does not give back what it was given", hint=f"use a passphrase: {UNLOCK}"
        )


def _from_keyring(ident: str) -> bytes:
    try:
        with keyring_errors_told():
            kept = _keyring().get_password(_SERVICE, ident)
    except TrustError as error:
        raise SecretError(error.message, hint="unlock the keyring of the desktop, then try again") from error
    try:
        key = base64.b64decode(kept or "", validate=True)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise SecretError(
            "the keyring does not have the key of the vault",
            hint="unlock the keyring that it was made with; without its key the vault stays closed",
        )
    return key


def _keyring() -> Keyring:
    try:
        return desktop_keyring()
    except TrustError as error:
        raise SecretError(error.message, hint="start the daemon where the keyring is") from error


def _credential() -> bytes | None:
    directory = credentials_directory()
    if directory is None:
        return None
    try:
        return (directory / CREDENTIAL).read_bytes()[: limits.SECRET_BYTES]
    except OSError:
        return None


def _derived(salt: bytes) -> bytes:
    given = _credential()
    if given is None:
        raise SecretError(
            f"the unit of the daemon has no credential {CREDENTIAL}",
            hint=f"LoadCredentialEncrypted={CREDENTIAL} in its unit; see docs/secrets.md",
        )
    if len(given) < _LEAST:
        raise SecretError(
            f"the credential {CREDENTIAL} has {len(given)} bytes, and {_LEAST} random ones are needed",
            hint="make it with: head -c 32 /dev/urandom | systemd-creds encrypt",
        )
    return HKDF(hashes.SHA256(), KEY_BYTES, salt, b"mcpguard vault").derive(given)


def _stretched(passphrase: str, salt: bytes, cost: int) -> bytes:
    scrypt = Scrypt(salt=salt, length=KEY_BYTES, n=cost, r=8, p=1)
    return scrypt.derive(passphrase.encode("utf-8", "surrogateescape"))


def _wrapped(under: bytes, key: bytes) -> str:
    return _text(ChaCha20Poly1305(under).encrypt(_NONCE, key, None))


def _unwrapped(under: bytes, wrapped: bytes, why: str) -> bytes:
    try:
        return ChaCha20Poly1305(under).decrypt(_NONCE, wrapped, None)
    except (InvalidTag, ValueError) as error:
        raise SecretError(why, hint="try again; if it is the right one, the vault was changed") from error


def _damaged() -> SecretError:
    return SecretError("the head of the vault is damaged", hint="put a copy of yours in its place")


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
