"""Private directories and files: made for the owner alone, or refused."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from mcpguard.errors import PeerError

_OTHERS_WRITE = 0o022


def private_directory(path: Path) -> Path:
    """Create a directory for the owner alone (0700), parents included, or check one that exists.

    A directory that is ours and too open is closed to others; that loses nothing.

    Raises:
        PeerError: It, or a directory above it, could be replaced by somebody else.
    """
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700, parents=True)
    info = path.lstat()
    if not stat.S_ISDIR(info.st_mode):
        raise PeerError(f"{path} is not a directory", hint="remove it, or choose another place")
    if info.st_uid != os.geteuid():
        raise PeerError(
            f"{path} belongs to another user (uid {info.st_uid})", hint="remove it, or choose another place"
        )
    if stat.S_IMODE(info.st_mode) & 0o077:
        path.chmod(0o700)
    _check_above(path)
    return path


def _check_above(path: Path) -> None:
    for parent in dict.fromkeys((*path.absolute().parents, *path.resolve().parents)):
        info = parent.lstat()
        if info.st_uid not in (0, os.geteuid()):
            raise PeerError(
                f"{parent} belongs to another user (uid {info.st_uid})", hint="choose another place"
            )
        if stat.S_ISLNK(info.st_mode):
            continue  # its owner was looked at; where it leads is among the others
        if info.st_mode & _OTHERS_WRITE and not info.st_mode & stat.S_ISVTX and not _user_private(info):
            raise PeerError(f"{parent} is writable by others", hint=f"chmod go-w {parent}")


def _user_private(info: os.stat_result) -> bool:
    """Group-writable for a group that carries our own id alone, as umask 002 systems make home directories."""
    return not info.st_mode & 0o002 and info.st_gid == os.getegid() == os.geteuid()


def private_socket_path(path: Path) -> None:
    """Remove a socket that a dead daemon left behind; the caller holds the lock that says that it is dead.

    Raises:
        PeerError: Something else is in its place.
    """
    try:
        info = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(info.st_mode) or info.st_uid != os.geteuid():
        raise PeerError(f"{path} is not a socket of ours", hint="remove it, then try again")
    path.unlink()
