"""The first sealing key, handed over once: whoever verifies keeps it, and the log's own machine forgets it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from mcpguard.errors import JournalError
from mcpguard.system.journalseal import FIRST_KEY, TAKEN_KEY
from mcpguard.system.ownfile import open_own


def hand_over(directory: Path, receive: Callable[[str], object]) -> None:
    """Give the key to `receive`, then overwrite and delete it; a key that was not received stays.

    The text has two lines: the first key and the public checkpoint key. Two callers cannot both get it.

    Not here: copies that the file system, the disk or a backup may have made of the old bytes.

    Raises:
        JournalError: It is not there, or not a file of ours.
        OSError: It cannot be read or overwritten; and whatever `receive` raises.
    """
    try:
        place = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError as error:
        raise JournalError(f"no audit log at {directory}", hint="nothing has been recorded yet") from error
    try:
        try:
            os.rename(FIRST_KEY, TAKEN_KEY, src_dir_fd=place, dst_dir_fd=place)
        except FileNotFoundError as error:
            if (directory / TAKEN_KEY).exists():
                raise JournalError(
                    f"the first key of {directory} was being handed over by a command that did not end",
                    hint=f"rename {TAKEN_KEY} to {FIRST_KEY} if nobody has it, delete it if somebody has",
                ) from error
            raise JournalError(
                f"the first key of {directory} is not there: it was handed over, or the log has no seals yet",
                hint="it is shown once; to seal with a new one, move the log away and begin another",
            ) from error
        try:
            _give(directory, place, receive)
        except BaseException:
            os.rename(TAKEN_KEY, FIRST_KEY, src_dir_fd=place, dst_dir_fd=place)
            raise
        os.unlink(TAKEN_KEY, dir_fd=place)
        os.fsync(place)
    finally:
        os.close(place)


def _give(directory: Path, place: int, receive: Callable[[str], object]) -> None:
    with os.fdopen(open_own(place, directory, TAKEN_KEY, os.O_RDWR), "r+b", buffering=0) as file:
        data = file.read()
        receive(data.decode())
        file.seek(0)
        file.write(b"\0" * len(data))
        os.fsync(file.fileno())
