"""Files of the audit log: below an open directory, through no link, and this user's alone."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from mcpguard.errors import JournalError

_SAFE = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def open_own(directory: int, place: Path, name: str, flags: int) -> int:
    """Open a file that is a regular file of ours alone; `place` is the directory's path, for the sentence.

    Owner: the caller closes the descriptor.

    Raises:
        JournalError: It is something else, somebody else's, or open to others.
        OSError: As `os.open`.
    """
    fd = os.open(name, flags | _SAFE, 0o600, dir_fd=directory)
    info = os.fstat(fd)
    if not stat.S_ISREG(info.st_mode) or info.st_uid != os.geteuid() or info.st_mode & 0o077:
        os.close(fd)
        raise JournalError(
            f"{place / name} is not a file of this user alone", hint="check its owner and mode (0600)"
        )
    return fd


def read_own(directory: int, place: Path, name: str) -> bytes:
    """Everything in a file of ours.

    Raises:
        JournalError: As `open_own`.
        OSError: It is not there, or cannot be read.
    """
    with os.fdopen(open_own(directory, place, name, os.O_RDONLY), "rb") as file:
        return file.read()


def write_own(directory: int, place: Path, name: str, content: bytes, flag: int) -> None:
    """Write a file of ours to stable storage; `flag` is `O_EXCL` or `O_TRUNC`.

    Raises:
        JournalError: As `open_own`.
        OSError: It is not written.
    """
    fd = open_own(directory, place, name, os.O_WRONLY | os.O_CREAT | flag)
    with os.fdopen(fd, "wb", buffering=0) as file:
        if file.write(content) != len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(fd)
    os.fsync(directory)


def replace_own(directory: int, place: Path, name: str, content: bytes) -> None:
    """Put a file of ours in the place of another: it appears whole or not at all.

    Raises:
        JournalError: As `open_own`.
        OSError: It is not written.
    """
    fresh = f"{name}.new"
    write_own(directory, place, fresh, content, os.O_TRUNC)
    os.rename(fresh, name, src_dir_fd=directory, dst_dir_fd=directory)
    os.fsync(directory)
