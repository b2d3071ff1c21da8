"""Which API keys are there? Their digests, scopes and bindings, in one file of ours alone, replaced as a whole.

Rule: a file that is damaged, or open to others, is an error and never an empty list, and no key counts meanwhile.

Not here: what is shown to whom, and records (`daemon.apikeys`).
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

import msgspec

from mcpguard.credentials import apikey
from mcpguard.credentials.apikey import ApiKey
from mcpguard.errors import DaemonError, PeerError
from mcpguard.system.files import open_entry, private_directory, replace_file

FILE: Final = "apikeys.json"
KEYS: Final = 1024
"""Keys that are kept, revoked ones included."""
BYTES: Final = 8 * 1024 * 1024
_VERSION: Final = 1


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    v: int
    keys: tuple[ApiKey, ...]


_decoder: Final = msgspec.json.Decoder(_Document)


class ApiKeyStore:
    """The file in `directory`, which need not exist before the first `save`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._path = directory / FILE

    def load(self) -> tuple[ApiKey, ...]:
        """The keys; none if there is no file.

        Raises:
            DaemonError: The file cannot be relied on.
        """
        data = self._read()
        if data is None:
            return ()
        try:
            found = _decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise self._unusable("it is damaged") from error
        if found.v != _VERSION:
            raise self._unusable(f"it is of version {found.v}")
        keys = found.keys
        ids, names = {key.id for key in keys}, {key.name for key in keys if not key.revoked}
        if len(ids) != len(keys) or len(names) != sum(not key.revoked for key in keys) or len(keys) > KEYS:
            raise self._unusable("it names a key twice, or too many")
        for key in keys:
            if what := apikey.flaw(key):
                raise self._unusable(f"the key {key.id[:20]!a} is not right: {what}")
        return keys

    def save(self, keys: tuple[ApiKey, ...]) -> None:
        """Put other keys in their place, on the disk.

        Raises:
            DaemonError: They cannot be written; the file is as it was.
        """
        try:
            private_directory(self._directory)
            directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                replace_file(directory, FILE, msgspec.json.encode(_Document(_VERSION, keys)))
            finally:
                os.close(directory)
        except PeerError as error:
            raise DaemonError(error.message, hint=error.hint) from error
        except OSError as error:
            raise DaemonError(f"cannot write {self._path}: {error.strerror}") from error

    def _read(self) -> bytes | None:
        try:
            directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unusable(f"{error.strerror}") from error
        try:
            descriptor = open_entry(directory, FILE)
            if descriptor is None:
                return None
            with open(descriptor, "rb") as file:  # noqa: PTH123 (a descriptor, not a path)
                info = os.fstat(descriptor)
                if not stat.S_ISREG(info.st_mode) or info.st_uid != os.geteuid() or info.st_mode & 0o077:
                    raise self._unusable("it is not a file of this user alone (0600)")
                data = file.read(BYTES + 1)
        except OSError as error:
            raise self._unusable(f"{error.strerror}") from error
        finally:
            os.close(directory)
        if len(data) > BYTES:
            raise self._unusable("it is too long")
        return data

    def _unusable(self, why: str) -> DaemonError:
        return DaemonError(
            f"no API key counts, because {self._path} cannot be relied on: {why}",
            hint="restore it, or remove it and make keys anew with mcpguard apikey create",
        )
