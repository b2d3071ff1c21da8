"""What is the secret that a reference names, wherever it is?

Blocks: files, a keyring over D-Bus, programs; for a thread.

Rule: an empty secret is none, and one that is shorter than `limits.SECRET_LEAST` could not be kept out of logs.
"""

from __future__ import annotations

import os

from mcpguard import limits
from mcpguard.credentials.secretref import SecretRef
from mcpguard.errors import SecretError, TrustError
from mcpguard.system.keyfiles import desktop_keyring, keyring_errors_told
from mcpguard.system.secretcommand import from_command
from mcpguard.system.secretfile import from_file, trimmed
from mcpguard.system.vault import Vault
from mcpguard.system.vaultkey import credentials_directory


def resolve(ref: SecretRef, vault: Vault) -> bytes:
    """The value.

    Not here: whether it has expired, and who may have it.

    Raises:
        SecretError: It cannot be had, is empty, too short, too long, or holds a NUL where a variable is to have it.
    """
    return usable(_found(ref, vault), ref.told, variable=not ref.as_file)


def usable(value: bytes, told: str, *, variable: bool = True) -> bytes:
    """The same value.

    Raises:
        SecretError: Nobody should be given it.
    """
    if not value.strip():
        raise SecretError(f"the secret {told} is empty", hint="give it a value")
    if len(value) < limits.SECRET_LEAST:
        raise SecretError(
            f"the secret {told} has fewer than {limits.SECRET_LEAST} bytes, and could not be kept out of logs",
            hint="make a longer one",
        )
    if len(value) > limits.SECRET_BYTES:
        raise SecretError(f"the secret {told} has more than {limits.SECRET_BYTES} bytes")
    if variable and b"\0" in value:
        raise SecretError(
            f"the secret {told} holds a NUL, which no variable can", hint="end its reference in #file"
        )
    return value


def _found(ref: SecretRef, vault: Vault) -> bytes:
    match ref.scheme:
        case "vault":
            return vault.get(ref.name)
        case "keyring":
            return _from_keyring(ref)
        case "file":
            return from_file(ref, vault)
        case "env":
            return _from_environment(ref)
        case "cmd":
            return from_command(ref)
        case _:
            return _from_credentials(ref)


def _from_keyring(ref: SecretRef) -> bytes:
    try:
        with keyring_errors_told():
            value = desktop_keyring().get_password(ref.service, ref.name)
    except TrustError as error:
        raise SecretError(error.message, hint="unlock the keyring of the desktop, then try again") from error
    if value is None:
        raise SecretError(f"the keyring has no {ref.told}", hint=f"keyring set {ref.service} {ref.name}")
    return value.encode("utf-8", "surrogatepass")


def _from_environment(ref: SecretRef) -> bytes:
    """A variable of the daemon, as it was started."""
    value = os.environb.get(ref.name.encode())
    if value is None:
        raise SecretError(
            f"the daemon was started without the variable {ref.name}",
            hint="set it in the unit of the daemon (EnvironmentFile=), or use another kind of reference",
        )
    return value


def _from_credentials(ref: SecretRef) -> bytes:
    directory = credentials_directory()
    if directory is None:
        raise SecretError(
            "the daemon was not given any credentials by a unit",
            hint=f"LoadCredentialEncrypted={ref.name} in its unit; see docs/secrets.md",
        )
    try:
        return trimmed((directory / ref.name).read_bytes()[: limits.SECRET_BYTES + 1])
    except OSError as error:
        raise SecretError(
            f"the credential {ref.name} of the daemon's unit cannot be read: {(error.strerror or '').lower()}",
            hint=f"LoadCredentialEncrypted={ref.name} in its unit",
        ) from error
