"""What does a folder say about the agents that work in it?

A file of its own, `.mcpguard.toml`. Anybody who can write to the folder can write it, agents too: by itself it says
nothing that counts (`system.folderstore`).
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from mcpguard import limits
from mcpguard.errors import ConfigError
from mcpguard.system.files import open_entry

NAME: Final = ".mcpguard.toml"
_LEVELS: Final = 64


def read(folder: str) -> bytes | None:
    """The file of a folder, at most one byte more than a policy may have; None if it has none.

    Raises:
        ConfigError: The folder or the file cannot be read, or is something else.
    """
    place = f"{folder}/{NAME}"
    try:
        directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            descriptor = open_entry(directory, NAME)
        finally:
            os.close(directory)
        if descriptor is None:
            return None
        with open(descriptor, "rb") as file:  # noqa: PTH123 (a descriptor, not a path)
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ConfigError("expected a regular file", file=place)
            return file.read(limits.PROJECT_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot be read: {(error.strerror or str(error)).lower()}", file=place) from error


def folders_with_one(folder: str) -> list[str]:
    """This folder and those above it that have such a file, nearest first."""
    place = Path(folder)
    chain = (place, *place.parents)[:_LEVELS] if place.is_absolute() else ()
    return [str(each) for each in chain if os.path.lexists(each / NAME)]
