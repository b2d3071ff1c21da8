"""Which hosts has this user enrolled?

Two files in one directory, owner only: `enrolled.json` and `enrolled.json.previous`, the list before the last change;
for a moment also `.new`.

Rule 1: a list that cannot be relied on is an error that says how to restore it, never an empty list. Denials may
name a host, and they would be escaped.
Rule 2: no list at all is an empty one, but only if there was none before: the previous list would still be there.
Rule 3: after a crash the old list or the new one is there, whole.

Order: one process writes, the daemon.
"""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from mcpguard import limits
from mcpguard.errors import PeerError, TrustError
from mcpguard.identity.enrolment import Enrolled, decode, encode
from mcpguard.system.files import intruder, open_entry, private_directory, repair, replace_file

_LIST: Final = "enrolled.json"
_PREVIOUS: Final = "enrolled.json.previous"


class HostsFile:
    """The list in `directory`, which need not exist before the first `save`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def load(self) -> tuple[Enrolled, ...]:
        """The enrolled hosts, by name.

        Raises:
            TrustError: The list is damaged or gone, cannot be read, or others may write to it.
        """
        try:
            directory = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise self._unusable("read", error) from error
        try:
            self._refuse_strangers(os.fstat(directory), self.directory)
            return self._listed(directory)
        except OSError as error:
            raise self._unusable("read", error) from error
        finally:
            os.close(directory)

    def save(self, hosts: Iterable[Enrolled]) -> None:
        """Put another list in the place of the one that is there, and keep that.

        Raises:
            TrustError: The list that is there is damaged, the new one is too long, or the disk refuses. Nothing has
                changed.
        """
        data = encode(hosts)
        decode(data)
        old = self.load()
        try:
            private_directory(self.directory)
            directory = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                replace_file(
                    directory, _PREVIOUS, encode(old)
                )  # also an empty one: it says that there was a list
                replace_file(directory, _LIST, data)
            finally:
                os.close(directory)
        except OSError as error:
            raise self._unusable("written", error) from error
        except PeerError as error:
            raise TrustError(error.message, hint=error.hint) from error

    def _listed(self, directory: int) -> tuple[Enrolled, ...]:
        """Order: the directory is ours."""
        data = self._read(directory, _LIST)
        if data is None:
            if self._has_previous(directory):
                raise self._damaged("it is gone, and there was one before", directory)
            return ()
        try:
            return decode(data)
        except TrustError as error:
            raise self._damaged(error.message, directory) from error

    def _read(self, directory: int, name: str) -> bytes | None:
        descriptor = open_entry(directory, name)
        if descriptor is None:
            return None
        with open(descriptor, "rb") as file:  # noqa: PTH123 (a descriptor, not a path)
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode):
                raise self._damaged("it is not a regular file", directory)
            self._refuse_strangers(facts, self.directory / name)
            return file.read(limits.ENROLLED_BYTES + 1)

    def _refuse_strangers(self, facts: os.stat_result, place: Path) -> None:
        if who := intruder(facts):
            raise TrustError(f"{place} {who}", hint=f"read it, then: {repair(place, facts)}")

    def _has_previous(self, directory: int) -> bool:
        try:
            os.stat(_PREVIOUS, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def _damaged(self, what: str, directory: int) -> TrustError:
        place, previous = (shlex.quote(str(self.directory / name)) for name in (_LIST, _PREVIOUS))
        again = f"remove it and enrol the hosts again: rm {place}"
        if self._has_previous(directory):
            again = f"restore the list before the last change: cp {previous} {place}"
        return TrustError(
            f"the enrolled hosts in {self.directory / _LIST} cannot be relied on: {what}", hint=again
        )

    def _unusable(self, verb: str, error: OSError) -> TrustError:
        reason = (error.strerror or str(error)).lower()
        return TrustError(
            f"the enrolled hosts in {self.directory} cannot be {verb}: {reason}",
            hint="see: mcpguard daemon logs",
        )
