"""What must a daemon remember of the one before?

One file in the state directory, owner only, small and replaced as a whole: labels that hosts have seen, what budgets
were used up, which questions to people were open; another is for how people show presence.

Rule: what is damaged is an error, never an empty memory: labels would be forgotten.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

import msgspec

from mcpguard import limits
from mcpguard.errors import DaemonError, PeerError
from mcpguard.model import JsonObject
from mcpguard.system.files import intruder, open_entry, private_directory, replace_file

_NAME: Final = "memory.json"
_ABOUT: Final = "what hosts have seen"
_REMEDY: Final = "end all agent hosts, then remove it: rm"


class MemoryFile:
    """A memory in `directory`, which need not exist before the first `save`.

    Args:
        directory: Where it is.
        name: Its file.
        about: What it holds, in words.
        remedy: What to do if it is damaged; the path of the file follows.
    """

    def __init__(
        self, directory: Path, name: str = _NAME, about: str = _ABOUT, remedy: str = _REMEDY
    ) -> None:
        self.directory = directory
        self._name = name
        self._about = about
        self._remedy = remedy

    def load(self) -> JsonObject:
        """What was remembered last; empty if nothing was.

        Raises:
            DaemonError: It is damaged, others may write to it, or it cannot be read.
        """
        try:
            directory = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise self.unusable((error.strerror or str(error)).lower()) from error
        try:
            return self._read(directory)
        except OSError as error:
            raise self.unusable((error.strerror or str(error)).lower()) from error
        finally:
            os.close(directory)

    def save(self, memory: JsonObject) -> None:
        """Put another memory in the place of the one that is there.

        Raises:
            DaemonError: The disk refuses, or the directory is not ours alone. Nothing has changed.
        """
        try:
            private_directory(self.directory)
            directory = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                replace_file(directory, self._name, msgspec.json.encode(memory) + b"\n")
            finally:
                os.close(directory)
        except OSError as error:
            raise self.unusable((error.strerror or str(error)).lower()) from error
        except PeerError as error:
            raise DaemonError(error.message, hint=error.hint) from error

    def unusable(self, why: str) -> DaemonError:
        """The error that says why it cannot be relied on, and what to do."""
        place = self.directory / self._name
        return DaemonError(
            f"{self._about}, in {place}, cannot be relied on: {why}", hint=f"{self._remedy} {place}"
        )

    def _read(self, directory: int) -> JsonObject:
        descriptor = open_entry(directory, self._name)
        if descriptor is None:
            return {}
        with open(descriptor, "rb") as file:  # noqa: PTH123 (a descriptor, not a path)
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode):
                raise self.unusable("it is not a regular file")
            if who := intruder(facts):
                raise self.unusable(f"it {who}")
            data = file.read(limits.MEMORY_BYTES + 1)
        try:
            memory = msgspec.json.decode(data) if len(data) <= limits.MEMORY_BYTES else None
        except ValueError as error:
            raise self.unusable("it is damaged") from error
        if not isinstance(memory, dict):
            raise self.unusable("it is damaged")
        return memory
