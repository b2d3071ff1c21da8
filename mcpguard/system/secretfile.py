"""What is the secret in a file: one that age has encrypted, one that our vault has, or one in plain text?

Rule 1: a file or an identity that others may read or write is refused, encrypted or not.
Rule 2: plain text is read only where the reference says `?plain`, and ciphertext never is taken for it.

Not here: the key of sealed files (`vault`).

Source: age-encryption.org/v1; age itself is pyrage, of the extra `vault`, imported when a file of age is opened.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any, Final

from mcpguard import limits
from mcpguard.credentials.secretref import SecretRef
from mcpguard.errors import SecretError
from mcpguard.system.vault import Vault

_AGE: Final = (b"age-encryption.org/v1", b"-----BEGIN AGE ENCRYPTED FILE-----")
_SSH: Final = b"-----BEGIN OPENSSH PRIVATE KEY-----"
_OVERHEAD: Final = 64 * 1024


def from_file(ref: SecretRef, vault: Vault) -> bytes:
    """The secret in the file of a `file://` reference, one line end at its end removed.

    Raises:
        SecretError: The file cannot be read, may be read by others, or cannot be opened.
    """
    data = _read(Path(ref.name))
    if ref.way == "plain":
        if data.startswith(_AGE):
            raise SecretError(
                f"{ref.name} is encrypted, and the reference says that it is plain",
                hint="end it in ?identity=/PATH",
            )
        return trimmed(data)
    if ref.way == "sealed":
        return trimmed(vault.unseal(data))
    if not data.startswith(_AGE):
        raise SecretError(f"{ref.name} was not encrypted by age", hint="age -e -r RECIPIENT")
    return trimmed(_opened(data, ref))


def trimmed(data: bytes) -> bytes:
    """Without the one line end that editors and programs put behind everything."""
    return data.removesuffix(b"\n").removesuffix(b"\r")


def _opened(data: bytes, ref: SecretRef) -> bytes:
    try:
        import pyrage  # type: ignore[import-untyped]  # noqa: PLC0415 (an optional extra)
    except ImportError as error:
        raise SecretError(
            "files of age need the library pyrage", hint="pip install 'mcpguard[vault]'"
        ) from error
    identities = _identities(pyrage, Path(ref.identity))
    try:
        opened: bytes = pyrage.decrypt(data, identities)
    except Exception as error:  # the library's errors have no common class
        raise SecretError(
            f"{ref.identity} does not open {ref.name}",
            hint="encrypt it to that identity: age -e -r RECIPIENT",
        ) from error
    return opened


def _identities(pyrage: Any, path: Path) -> list[Any]:
    """The identities of a file: of age, one a line, or an SSH key without a passphrase."""
    data = _read(path)
    try:
        if data.startswith(_SSH):
            return [pyrage.ssh.Identity.from_buffer(data)]
        lines = [line.strip() for line in data.decode().splitlines()]
        found = [pyrage.x25519.Identity.from_str(line) for line in lines if line and not line.startswith("#")]
    except Exception:  # noqa: BLE001 (as above; it may quote the identity)
        raise SecretError(
            f"{path} holds no identity of age, or one with a passphrase", hint="age-keygen -o FILE"
        ) from None
    if not found:
        raise SecretError(f"{path} holds no identity of age", hint="age-keygen -o FILE")
    return found


def _read(path: Path) -> bytes:
    """A regular file of this user or of root that nobody else may read, not through a link at its end."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise SecretError(
            f"{path} cannot be read: {(error.strerror or str(error)).lower()}",
            hint="name a file of your own, not a link",
        ) from error
    try:
        _check(path, os.fstat(descriptor))
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(limits.SECRET_BYTES + _OVERHEAD + 1)
    finally:
        os.close(descriptor)
    if len(data) > limits.SECRET_BYTES + _OVERHEAD:
        raise SecretError(f"{path} is too large to be a secret", hint="name another file")
    return data


def _check(path: Path, facts: os.stat_result) -> None:
    if not stat.S_ISREG(facts.st_mode):
        raise SecretError(f"{path} is not a regular file", hint="name a file of your own")
    if facts.st_uid not in (0, os.geteuid()):
        raise SecretError(f"{path} belongs to uid {facts.st_uid}", hint="use files of your own")
    if facts.st_mode & 0o077:
        mode = f"{stat.S_IMODE(facts.st_mode):04o}"
        raise SecretError(f"others may read {path} (mode {mode})", hint=f"chmod 600 {path}")
