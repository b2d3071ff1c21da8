"""Where are the certificate registry and the private keys that belong to it?

Files in one directory, owner only: `registry.json`; `NAME.key` for each private key that is kept, sealed or not
(`sealedkey`); `used.json`, when each certificate was last seen.

Rule 1. `registry.json` commits. Keys are on the disk before it speaks of them; a key that it does not speak of is
left from a crash, and is removed at the next change.
Rule 2. What cannot be read is an error that says how to go on, never an empty registry.
Rule 3. One writer at a time, by a lock on the directory.

Not here: what may be written (`identity.certregistry`), who may ask for it (`daemon.certdesk`).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from mcpguard import limits
from mcpguard.errors import PeerError, TrustError
from mcpguard.identity.certificates import fingerprint
from mcpguard.identity.certregistry import Registry
from mcpguard.system import sealedkey
from mcpguard.system.files import intruder, open_entry, private_directory, repair, replace_file
from mcpguard.system.keyfiles import SCRYPT_COST

_REGISTRY: Final = "registry.json"
_USED: Final = "used.json"
_SUFFIX: Final = ".key"
_MOST_BYTES: Final = 64 * limits.MIB
ROOT: Final = "root"
"""Name of the root's key."""
LOCK: Final = "lock"
"""Name of the key that seals the others."""
_COPY: Final = "restore the directory from a copy"


class Change:
    """One change of the registry, while the directory is locked.

    Attributes:
        registry: The registry as it is.
    """

    def __init__(self, store: CertStore, directory: int, registry: Registry) -> None:
        self.registry = registry
        self._store = store
        self._directory = directory

    def key(self, name: str) -> bytes:
        """A private key, PKCS 8 DER, which needs no passphrase.

        Raises:
            TrustError: It is not here, or is locked.
        """
        return self._store.opened(self._directory, name)

    def has_key(self, name: str) -> bool:
        """Whether a key is here."""
        return self._store.has_key(name)

    def keep(self, name: str, content: bytes) -> None:
        """Write a key file, whole and on the disk."""
        replace_file(self._directory, name + _SUFFIX, content)

    def drop(self, name: str) -> None:
        """Remove a key file."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name + _SUFFIX, dir_fd=self._directory)
        os.fsync(self._directory)

    def commit(self, registry: Registry) -> None:
        """Put a registry in force, and remove the keys that nothing speaks of."""
        replace_file(self._directory, _REGISTRY, msgspec.json.encode(registry))
        self.registry = registry
        wanted = {name + _SUFFIX for name in self._store.key_names(registry)}
        for name in os.listdir(self._directory):  # noqa: PTH208 (a descriptor, not a path)
            if name.endswith(_SUFFIX) and name not in wanted:
                os.unlink(name, dir_fd=self._directory)


class CertStore:
    """The registry in `directory`, which need not exist before the first change.

    Args:
        directory: Where the files are.
        cost: scrypt `n` of new files.
    """

    def __init__(self, directory: Path, *, cost: int = SCRYPT_COST) -> None:
        self.directory = directory
        self.cost = cost
        self._sealing = b""

    @property
    def used(self) -> bool:
        """Whether there is a registry at all."""
        return (self.directory / _REGISTRY).exists()

    def load(self) -> Registry:
        """The registry.

        Raises:
            TrustError: It cannot be read, or others may write to it.
        """
        try:
            with self._locked(fcntl.LOCK_SH) as directory:
                return self._registry(directory)
        except FileNotFoundError:
            return Registry()
        except OSError as error:
            raise self._unusable("read", error) from error

    @contextlib.contextmanager
    def changing(self) -> Iterator[Change]:
        """The registry, locked against everybody else.

        Raises:
            TrustError: It cannot be read or written, or others may write to it.
        """
        try:
            private_directory(self.directory)
            with self._locked(fcntl.LOCK_EX) as directory:
                yield Change(self, directory, self._registry(directory))
        except OSError as error:
            raise self._unusable("written", error) from error
        except PeerError as error:
            raise TrustError(error.message, hint=error.hint) from error

    # --- keys -----------------------------------------------------------------------------------------------

    @staticmethod
    def key_names(registry: Registry) -> set[str]:
        """Names of the keys that a registry may speak of."""
        names = {fingerprint(each.der) for each in registry.entries if each.kept}
        if registry.authority is not None:
            names |= {ROOT, LOCK, *(fingerprint(each) for each in registry.authority.between)}
        return names

    def has_key(self, name: str) -> bool:
        """Whether a key is here."""
        return (self.directory / (name + _SUFFIX)).exists()

    def key(self, name: str, passphrase: str = "") -> bytes:
        """A private key, PKCS 8 DER.

        Raises:
            TrustError: It is not here, is locked, or does not open.
        """
        try:
            with self._locked(fcntl.LOCK_SH) as directory:
                content = self._key_file(directory, name)
        except OSError as error:
            raise self._unusable("read", error) from error
        return sealedkey.opened(content, name, passphrase=passphrase, sealing=self._sealing)

    def opened(self, directory: int, name: str) -> bytes:
        """Likewise one that needs no passphrase, with the directory locked already."""
        return sealedkey.opened(self._key_file(directory, name), name, sealing=self._sealing)

    def _key_file(self, directory: int, name: str) -> bytes:
        content = self._read(directory, name + _SUFFIX)
        if content is None:
            raise TrustError(
                f"the private key of {name[:80]!a} is not here", hint="it was exported, or never was"
            )
        return content

    def sealed(self, key: bytes, name: str, *, locked: bool) -> bytes:
        """The file of a key that is used without anybody: as it is, or sealed where the authority is locked.

        Raises:
            TrustError: It is locked now.
        """
        if not locked:
            return sealedkey.in_clear(key, name)
        if not self._sealing:
            raise TrustError("the keys of the certificates are locked", hint="mcpguard ca unlock")
        return sealedkey.under_key(key, name, self._sealing)

    def use(self, sealing: bytes) -> None:
        """Know the key that seals the others."""
        self._sealing = sealing

    def unlock(self, passphrase: str) -> None:
        """Know that key by its passphrase. Slow.

        Raises:
            TrustError: There is none, or the passphrase is wrong.
        """
        if not self.has_key(LOCK):
            raise TrustError("the keys of the certificates are not locked", hint="mcpguard ca list")
        self.use(self.key(LOCK, passphrase))

    # --- when what was used ---------------------------------------------------------------------------------

    def last_used(self) -> dict[str, float]:
        """When each certificate was last seen, Unix seconds by fingerprint; what cannot be read counts as nothing."""
        try:
            with self._locked(fcntl.LOCK_SH) as directory:
                return msgspec.json.decode(self._read(directory, _USED) or b"{}", type=dict[str, float])
        except (OSError, ValueError):
            return {}

    def note_used(self, used: Mapping[str, float]) -> None:
        """Write down when certificates were last seen.

        Raises:
            TrustError: It cannot be written.
        """
        try:
            with self._locked(fcntl.LOCK_EX) as directory:
                replace_file(directory, _USED, msgspec.json.encode(used))
        except OSError as error:
            raise self._unusable("written", error) from error

    # --- files ----------------------------------------------------------------------------------------------

    def _registry(self, directory: int) -> Registry:
        content = self._read(directory, _REGISTRY)
        if content is None:
            return Registry()
        try:
            found = msgspec.json.decode(content, type=Registry)
        except (ValueError, RecursionError) as error:
            raise TrustError(f"{self.directory / _REGISTRY} is damaged ({error})", hint=_COPY) from error
        if found.version != 1:
            raise TrustError(
                f"{self.directory / _REGISTRY} is of version {found.version}",
                hint="it was made by another mcpguard",
            )
        return found

    def _read(self, directory: int, name: str) -> bytes | None:
        descriptor = open_entry(directory, name)
        if descriptor is None:
            return None
        with open(descriptor, "rb") as file:  # noqa: PTH123 (a descriptor, not a path)
            info = os.fstat(descriptor)
            place = self.directory / name
            if who := intruder(info):
                raise TrustError(f"{place} {who}", hint=repair(place, info))
            if info.st_mode & 0o077:
                raise TrustError(f"others may read {place}", hint=f"chmod 600 {place}")
            return file.read(_MOST_BYTES)

    @contextlib.contextmanager
    def _locked(self, how: int) -> Iterator[int]:
        directory = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            info = os.fstat(directory)
            if who := intruder(info):
                raise TrustError(f"{self.directory} {who}", hint=repair(self.directory, info))
            fcntl.flock(directory, how)
            yield directory
        finally:
            os.close(directory)

    def _unusable(self, verb: str, error: OSError) -> TrustError:
        reason = (error.strerror or str(error)).lower()
        return TrustError(
            f"the certificates in {self.directory} cannot be {verb}: {reason}",
            hint="see who owns them: ls -l",
        )
