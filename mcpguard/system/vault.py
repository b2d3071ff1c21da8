"""Which secrets does this user keep with us, and what are they?

One file, `vault.json`, in a directory of the owner alone: a head in clear (how the key is kept; names, times and
bindings of secrets, no value) and all values, sealed together with ChaCha20-Poly1305 (RFC 8439), which authenticates
the head, too. Each change writes a whole new file, fsync and rename (`files.replace_file`): at every moment, kill -9
and power failure included, the old vault or the new one is there.

Rule 1: no value is on disk in clear, nor in a sentence or a `repr`.
Rule 2: names and times can be listed while it is locked; they are believed for nothing else until it is open.
Rule 3: a damaged vault is an error, never an empty one: a new one would be made over it.

Cost: one of 100 secrets takes 0.7 ms, from the file on; a change 2 ms and two syncs (2-core virtual machine, busy).

Not here: where the key comes from (`vaultkey`), who may have what (`daemon.secrets`).

Decided:
    *One seal for all values*, because one that was put back from an older copy, or left out, is then noticed;
    rejected: one each, which any mixture of old and new would pass. An older file as a whole is not noticed.
    *A nonce of 96 random bits for each write*: one key is safe for 2**32 of them, which is a change a second for a
    century.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from mcpguard import limits
from mcpguard.credentials.secretref import is_name, is_own_name
from mcpguard.errors import PeerError, SecretError
from mcpguard.system.files import intruder, open_entry, private_directory, replace_file

VERSION: Final = 1
KEY_BYTES: Final = 32
UNLOCK: Final = "mcpguard secret unlock"
_NAME: Final = "vault.json"
_NONCE_BYTES: Final = 12
_SEALED_FILE: Final = b"mcpguard-sealed-1\n"


class Binding(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A server without a manifest that a secret is kept for.

    Attributes:
        server: Its name.
        argv: SHA-256 of its command and arguments, each ended by NUL.
        variable: The variable that has the secret.
        passed: Names of the other variables that it may have, besides the ordinary ones.
        constants: Others that it has to have, and the SHA-256 of the value of each, which may be a secret, too.
        path: The `PATH` that it runs with.
        home: Likewise its `HOME`.
        file: The configuration that it was imported from, and is undone in; empty if it was in none.
        entry: Where in that file: names from the top.
        undo: Name in the vault of what was written there in the place of the secret, before.
    """

    server: str
    argv: str
    variable: str
    passed: tuple[str, ...] = ()
    constants: dict[str, str] = {}
    path: str = ""
    home: str = ""
    file: str = ""
    entry: tuple[str, ...] = ()
    undo: str = ""


class Facts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is known of a secret without its value. Times are Unix seconds.

    Attributes:
        created: When it was first kept.
        changed: When its value was last changed.
        expires: From when on it is no more given to anybody; 0.0 for never.
        bindings: Servers without a manifest that it is kept for.
    """

    created: float
    changed: float
    expires: float = 0.0
    bindings: tuple[Binding, ...] = ()


class KeyHow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the key of a vault is kept; made and read by `vaultkey`.

    Attributes:
        way: `keyring`, `credential` or `passphrase`.
        salt: For a derivation, base64.
        cost: scrypt `n`, for a passphrase.
        wrapped: The key, sealed under what was derived, base64; empty in a keyring, which has the key itself.
    """

    way: str
    salt: str = ""
    cost: int = 0
    wrapped: str = ""


class _Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    ident: str
    key: KeyHow
    secrets: dict[str, Facts] = {}


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    head: msgspec.Raw
    nonce: str
    sealed: str


class Vault:
    """The vault in `directory`, which need not exist before `create`.

    For several threads and processes: everything reads the file anew, and changes it under a lock.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._key: bytes | None = None

    def __repr__(self) -> str:
        return f"<vault in {self.directory}>"

    # --- the whole -----------------------------------------------------------------------------------------

    @property
    def exists(self) -> bool:
        """Whether there is one.

        Raises:
            SecretError: It cannot be told.
        """
        return self._read() is not None

    @property
    def locked(self) -> bool:
        """Whether its key is not known here."""
        return self._key is None

    def how(self) -> tuple[str, KeyHow]:
        """Its id, and how its key is kept.

        Raises:
            SecretError: There is none, or it is damaged.
        """
        head = self._there()[0]
        return head.ident, head.key

    def create(self, ident: str, how: KeyHow, key: bytes) -> None:
        """Make a vault, empty and open.

        Raises:
            SecretError: There is one, or it cannot be written.
        """
        with self._alone() as directory:
            if self._read() is not None:
                raise SecretError(f"there is a vault already, in {self.directory}", hint=UNLOCK)
            self._write(directory, _Head(VERSION, ident, how), {}, key)
        self._key = key

    def open(self, key: bytes) -> None:
        """Open it with its key, which is kept in memory until `lock`.

        Raises:
            SecretError: It is another key, or the file was changed by somebody else.
        """
        self._values(key)
        self._key = key

    def lock(self) -> None:
        """Forget the key."""
        self._key = None

    # --- secrets -------------------------------------------------------------------------------------------

    def facts(self) -> dict[str, Facts]:
        """All names, those that mcpguard keeps for itself included; empty where there is no vault.

        Raises:
            SecretError: It is damaged.
        """
        found = self._read()
        return {} if found is None else dict(found[0].secrets)

    def proven(self) -> dict[str, Facts]:
        """All names, as the key vouches for them.

        Raises:
            SecretError: The vault is locked or damaged.
        """
        return dict(self._opened()[0].secrets)

    def get(self, name: str) -> bytes:
        """The value of a secret. Not here: whether it has expired (`entry`).

        Raises:
            SecretError: There is none, or the vault is locked or damaged.
        """
        return self.entry(name)[1]

    def entry(self, name: str) -> tuple[Facts, bytes]:
        """What is known of a secret, and its value, from one look at the file.

        Raises:
            SecretError: There is none, or the vault is locked or damaged.
        """
        head, values = self._opened()
        if name not in head.secrets or name not in values:
            raise SecretError(f"there is no secret {name!a}", hint=f"mcpguard secret set {name}")
        return head.secrets[name], values[name]

    def put(
        self, name: str, value: bytes, expires: float = 0.0, *, now: float, new: bool | None = None
    ) -> None:
        """Keep a value under a name; bindings of one that was there stay.

        Args:
            name: Of people (`is_name`), or with a `/` for what mcpguard keeps for itself.
            value: 1 to `limits.SECRET_BYTES` bytes.
            expires: Unix seconds; 0.0 for never.
            now: Unix seconds.
            new: Refuse a name that is there (True), or that is not (False).

        Raises:
            SecretError: As said, or it is locked, full, damaged, or cannot be written.
        """
        if not (is_name(name) or is_own_name(name)):
            raise SecretError(
                "a secret has a name of 1 to 64 letters, digits, and _ . -", hint="choose another one"
            )
        if not 0 < len(value) <= limits.SECRET_BYTES:
            raise SecretError(f"a secret has 1 to {limits.SECRET_BYTES} bytes", hint="nothing was kept")
        with self._changing() as (secrets_, values):
            before = secrets_.get(name)
            if new is True and before is not None:
                raise SecretError(
                    f"there is a secret {name!a} already",
                    hint=f"to give it another value: mcpguard secret rotate {name}",
                )
            if new is False and before is None:
                raise SecretError(f"there is no secret {name!a}", hint=f"mcpguard secret set {name}")
            if before is None and len(secrets_) >= limits.SECRETS:
                raise SecretError(
                    f"the vault holds {len(secrets_)} secrets, no more fit", hint="mcpguard secret rm"
                )
            secrets_[name] = (
                Facts(now, now, expires)
                if before is None
                else msgspec.structs.replace(before, changed=now, expires=expires)
            )
            values[name] = value

    def bind(self, name: str, bindings: tuple[Binding, ...]) -> None:
        """Say which servers without a manifest a secret is kept for, instead of those before.

        Raises:
            SecretError: There is none, there are too many, or as for `put`.
        """
        if len(bindings) > limits.BINDINGS:
            raise SecretError(
                f"a secret is kept for at most {limits.BINDINGS} servers", hint="make another one"
            )
        with self._changing() as (secrets_, _):
            if name not in secrets_:
                raise SecretError(f"there is no secret {name!a}", hint=f"mcpguard secret set {name}")
            secrets_[name] = msgspec.structs.replace(secrets_[name], bindings=bindings)

    def delete(self, name: str) -> None:
        """Forget a secret.

        Raises:
            SecretError: There is none, or as for `put`.
        """
        with self._changing() as (secrets_, values):
            if name not in secrets_:
                raise SecretError(f"there is no secret {name!a}", hint="mcpguard secret list")
            del secrets_[name]
            values.pop(name, None)

    # --- files of others -----------------------------------------------------------------------------------

    def seal(self, data: bytes) -> bytes:
        """Bytes that only this vault opens, for a file outside of it.

        Raises:
            SecretError: It is locked.
        """
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _SEALED_FILE + nonce + ChaCha20Poly1305(self._need_key()).encrypt(nonce, data, _SEALED_FILE)

    def unseal(self, data: bytes) -> bytes:
        """What `seal` was given.

        Raises:
            SecretError: It is locked, or they are no such bytes.
        """
        key = self._need_key()
        if not data.startswith(_SEALED_FILE):
            raise SecretError("the file was not sealed by mcpguard", hint="mcpguard secret seal FILE")
        nonce, rest = data[len(_SEALED_FILE) :][:_NONCE_BYTES], data[len(_SEALED_FILE) + _NONCE_BYTES :]
        try:
            return ChaCha20Poly1305(key).decrypt(nonce, rest, _SEALED_FILE)
        except (InvalidTag, ValueError) as error:
            raise SecretError(
                "the vault does not open the file: it was sealed by another one, or changed",
                hint="seal it again: mcpguard secret seal FILE",
            ) from error

    # --- the file ------------------------------------------------------------------------------------------

    def _need_key(self) -> bytes:
        if self._key is None:
            raise SecretError("the vault is locked", hint=f"open it at a terminal of yours: {UNLOCK}")
        return self._key

    def _opened(self) -> tuple[_Head, dict[str, bytes]]:
        self._there()
        return self._values(self._need_key())

    @contextlib.contextmanager
    def _changing(self) -> Iterator[tuple[dict[str, Facts], dict[str, bytes]]]:
        """Names and values, which are written when the block ends without an error."""
        with self._alone() as directory:
            head, values = self._opened()
            facts = dict(head.secrets)
            yield facts, values
            self._write(directory, msgspec.structs.replace(head, secrets=facts), values, self._need_key())

    @contextlib.contextmanager
    def _alone(self) -> Iterator[int]:
        """The open directory, in which nobody else changes the vault meanwhile."""
        try:
            folder = private_directory(self.directory)
            directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise self._unusable((error.strerror or str(error)).lower()) from error
        except PeerError as error:
            raise SecretError(error.message, hint=error.hint) from error
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)
            yield directory
        except OSError as error:
            raise self._unusable((error.strerror or str(error)).lower()) from error
        finally:
            os.close(directory)

    def _write(self, directory: int, head: _Head, values: dict[str, bytes], key: bytes) -> None:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        clear = msgspec.json.encode(head)
        sealed = ChaCha20Poly1305(key).encrypt(nonce, msgspec.msgpack.encode(values), clear)
        data = msgspec.json.encode(_File(msgspec.Raw(clear), _text(nonce), _text(sealed)))
        if len(data) > limits.VAULT_BYTES:
            raise SecretError("the vault is full", hint="mcpguard secret rm")
        replace_file(directory, _NAME, data)

    def _there(self) -> tuple[_Head, _File]:
        found = self._read()
        if found is None:
            raise SecretError("there is no vault yet", hint="mcpguard secret set NAME makes it")
        return found

    def _values(self, key: bytes) -> tuple[_Head, dict[str, bytes]]:
        head, file = self._there()
        try:
            nonce, sealed = (base64.b64decode(part, validate=True) for part in (file.nonce, file.sealed))
            plain = ChaCha20Poly1305(key).decrypt(nonce, sealed, bytes(file.head))
            return head, msgspec.msgpack.decode(plain, type=dict[str, bytes])
        except (InvalidTag, ValueError) as error:
            raise self._unusable("its key does not open it: it was changed, or belongs elsewhere") from error

    def _read(self) -> tuple[_Head, _File] | None:
        try:
            directory = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unusable((error.strerror or str(error)).lower()) from error
        try:
            descriptor = open_entry(directory, _NAME)
            if descriptor is None:
                return None
            with open(descriptor, "rb") as file:  # noqa: PTH123 (a descriptor, not a path)
                facts = os.fstat(descriptor)
                if not stat.S_ISREG(facts.st_mode):
                    raise self._unusable("it is not a regular file")
                if who := intruder(facts):
                    raise self._unusable(f"it {who}")
                data = file.read(limits.VAULT_BYTES + 1)
        except OSError as error:
            raise self._unusable((error.strerror or str(error)).lower()) from error
        finally:
            os.close(directory)
        return self._parsed(data)

    def _parsed(self, data: bytes) -> tuple[_Head, _File]:
        try:
            file = msgspec.json.decode(data, type=_File)
            head = msgspec.json.decode(file.head, type=_Head)
        except (ValueError, RecursionError) as error:
            raise self._unusable("it is damaged") from error
        if head.version != VERSION or len(data) > limits.VAULT_BYTES:
            raise self._unusable("it is of another version, or too large")
        return head, file

    def _unusable(self, why: str) -> SecretError:
        return SecretError(
            f"the vault, {self.directory / _NAME}, cannot be used: {why}",
            hint="put a copy of yours in its place; nothing is given without it",
        )


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
