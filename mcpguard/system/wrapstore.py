"""What was put before which servers of which configuration files, and the bytes that were there before?

One list, and a copy of each file as it was before its first change, in the state directory, for the owner alone. The
list is written before the file is: after a crash in between it names an entry that is not wrapped, which is looked at
and left alone. Who changes a file holds the list for so long (`alone`).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Final

import msgspec

from mcpguard import limits
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


class Copy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A copy that was kept of a file.

    Attributes:
        path: The file, links followed.
        at: When it was taken, RFC 3339 in UTC.
        sha256: Digest of its bytes, and its name.
    """

    path: str
    at: str
    sha256: str


class _List(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    v: int
    files: dict[str, FileRecord]
    copies: tuple[Copy, ...] = ()


class WrapStore:
    """The record of one user, in `directory`, which need not exist before the first change."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._held = False
        self._file = MemoryFile(
            directory, _NAME, "what mcpguard has put into configurations", "look at it, then remove it: rm"
        )

    def load(self) -> dict[str, FileRecord]:
        """What was done, by file.

        Raises:
            DaemonError: The list cannot be relied on.
        """
        return self._load().files

    def copies(self) -> list[tuple[Copy, Path]]:
        """The copies that were kept of files as they were before mcpguard, oldest first, and where each is.

        Raises:
            DaemonError: The list cannot be relied on.
        """
        found = [(copy, self._directory / _BACKUPS / copy.sha256) for copy in self._load().copies]
        return [(copy, path) for copy, path in found if path.exists()]

    def _load(self) -> _List:
        memory = self._file.load()
        if not memory:
            return _List(1, {})
        try:
            return msgspec.convert(memory, _List)
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
        with self.alone():
            now = self._load()
            known = now.files.pop(str(target), None)
            copies = now.copies
            if known is None:
                copy = Copy(str(target), at, self._keep(old))
                copies = (
                    *(one for one in copies if (one.path, one.sha256) != (copy.path, copy.sha256)),
                    copy,
                )
            if entries:
                before = known.before if known else copies[-1].sha256
                now.files[str(target)] = FileRecord(str(target), at, before, _digest(new), entries)
            old_ones = [one for one in copies if one.path == str(target)][: -limits.CONFIG_COPIES]
            copies = tuple(one for one in copies if one not in old_ones)
            self._file.save(msgspec.to_builtins(_List(1, now.files, copies)))
            self._forget({one.sha256 for one in old_ones} - {one.sha256 for one in copies})

    def scrub(self, texts: dict[bytes, bytes]) -> int:
        """Put other texts in the place of some in every copy that was kept; how many copies have changed.

        For secrets that were moved out of a configuration: its copy from before must not go on having them.

        Raises:
            DaemonError: A copy cannot be written.
        """
        changed = 0
        with self.alone():
            now = self._load()
            renamed: dict[str, str] = {}
            for name in {copy.sha256 for copy in now.copies}:
                place = self._directory / _BACKUPS / name
                data = new = place.read_bytes() if place.exists() else b""
                for old, text in texts.items():
                    new = new.replace(old, text)
                if new != data:
                    renamed[name] = self._keep(new)
            if renamed:
                files = {
                    path: msgspec.structs.replace(one, before=renamed.get(one.before, one.before))
                    for path, one in now.files.items()
                }
                copies = tuple(
                    msgspec.structs.replace(copy, sha256=renamed.get(copy.sha256, copy.sha256))
                    for copy in now.copies
                )
                self._file.save(msgspec.to_builtins(_List(1, files, copies)))
                self._forget(renamed.keys() - {copy.sha256 for copy in copies})
                changed = len(renamed)
        return changed

    def put_back(self, target: Path, known: FileRecord | None) -> None:
        """Note that a change was not made: of the file is known again what was before, or nothing.

        Raises:
            DaemonError: It cannot be noted.
        """
        with self.alone():
            now = self._load()
            now.files.pop(str(target), None)
            if known is not None:
                now.files[str(target)] = known
            self._file.save(msgspec.to_builtins(now))

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """No other command changes the list, or a file that is in it, meanwhile. Within it, it is there already."""
        if self._held:
            yield
            return
        try:
            folder = private_directory(self._directory)
            directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (OSError, PeerError) as error:
            raise _not_kept(error) from error
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)
            self._held = True
            yield
        finally:
            self._held = False
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

    def _forget(self, names: AbstractSet[str]) -> None:
        """Remove copies that are in no list any more; one that cannot be removed is only in the way."""
        for name in names:
            with contextlib.suppress(OSError):
                (self._directory / _BACKUPS / name).unlink()


def _not_kept(error: OSError | PeerError) -> DaemonError:
    reason = error.message if isinstance(error, PeerError) else (error.strerror or str(error)).lower()
    return DaemonError(f"no copy of the file can be kept: {reason}", hint="nothing was written")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
