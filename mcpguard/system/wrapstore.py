"""What was put before which servers of which configuration files, and the bytes that were there before?

One list, and a copy of each file as it was before its first change, in the state directory, for the owner alone. The
list is written before the file is: after a crash in between it names an entry that is not wrapped, which is looked at
and left alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from mcpguard.errors import DaemonError, PeerError
from mcpguard.hosts.wrapping import Wrapped
from mcpguard.system.files import private_directory, replace_file
from mcpguard.system.memoryfile import MemoryFile

_NAME: Final = "wrapped.json"
_BACKUPS: Final = "backups"


class FileRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was done to one file.

    Attributes:
        path: The file, links followed.
        at: When it was last changed by mcpguard, RFC 3339 in UTC.
        before: SHA-256 of its bytes before the first change; a copy has this name.
        after: SHA-256 of its bytes after the last change.
        entries: What was done to which entries.
    """

    path: str
    at: str
    before: str
    after: str
    entries: tuple[Wrapped, ...]


class _List(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    v: int
    files: dict[str, FileRecord]


class WrapStore:
    """The record of one user, in `directory`, which need not exist before the first change."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._file = MemoryFile(
            directory, _NAME, "what mcpguard has put into configurations", "look at it, then remove it: rm"
        )

    def load(self) -> dict[str, FileRecord]:
        """What was done, by file.

        Raises:
            DaemonError: The list cannot be relied on.
        """
        memory = self._file.load()
        if not memory:
            return {}
        try:
            return msgspec.convert(memory, _List).files
        except msgspec.ValidationError as error:
            raise self._file.unusable("it is damaged") from error

    def changing(self, target: Path, old: bytes, new: bytes, entries: tuple[Wrapped, ...], at: str) -> None:
        """Note a change that is about to be made; with no entries left the file is forgotten, its copy stays.

        Args:
            target: The file, links followed.
            old: Its bytes now.
            new: Its bytes then.
            entries: All that is wrapped in it then.
            at: The time, RFC 3339 in UTC.

        Raises:
            DaemonError: It cannot be noted, so the change must not be made.
        """
        with self._alone():
            files = self.load()
            known = files.pop(str(target), None)
            before = known.before if known else self._keep(old)
            if entries:
                files[str(target)] = FileRecord(str(target), at, before, _digest(new), entries)
            self._file.save(msgspec.to_builtins(_List(1, files)))

    def backup(self, record: FileRecord) -> Path:
        """Where the copy of a file is, as it was before its first change."""
        return self._directory / _BACKUPS / record.before

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """No other command changes the list meanwhile."""
        try:
            folder = private_directory(self._directory)
            directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (OSError, PeerError) as error:
            raise _not_kept(error) from error
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)
            yield
        finally:
            os.close(directory)

    def _keep(self, data: bytes) -> str:
        """Keep a copy; its digest."""
        name = _digest(data)
        try:
            folder = private_directory(self._directory / _BACKUPS)
            directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                replace_file(directory, name, data)
            finally:
                os.close(directory)
        except (OSError, PeerError) as error:
            raise _not_kept(error) from error
        return name


def _not_kept(error: OSError | PeerError) -> DaemonError:
    reason = error.message if isinstance(error, PeerError) else (error.strerror or str(error)).lower()
    return DaemonError(f"no copy of the file can be kept: {reason}", hint="nothing was written")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
