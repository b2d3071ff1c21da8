"""Private directories and files: made for the owner alone, or refused."""

from __future__ import annotations

import contextlib
import os
import shlex
import stat
from pathlib import Path

from mcpguard.errors import PeerError

_OTHERS_WRITE = 0o022
_NEW = ".new"


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


def public_directory(path: Path) -> Path:
    """Create a directory that everybody may enter and the owner alone may write to (0755), or check one that exists.

    Raises:
        PeerError: Somebody else could replace what is in it, or it.
    """
    if not path.exists():
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        path.mkdir()
        path.chmod(0o755)
    info = path.lstat()
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.geteuid():
        raise PeerError(
            f"{path} is not a directory of uid {os.geteuid()}", hint=f"chown {os.geteuid()} {path}"
        )
    if info.st_mode & _OTHERS_WRITE:
        raise PeerError(f"{path} is writable by others", hint=f"chmod go-w {path}")
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


def open_entry(directory: int, name: str) -> int | None:
    """A file of an open directory, for reading: never through a link, and no pipe stalls us. None: there is none."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return os.open(name, flags, dir_fd=directory)
    except FileNotFoundError:
        return None


def intruder(info: os.stat_result) -> str:
    """Who besides us and root could have written this, as the end of a sentence; empty if nobody."""
    if info.st_uid not in (0, os.geteuid()):
        return f"belongs to uid {info.st_uid}"
    if info.st_mode & _OTHERS_WRITE:
        return f"is writable by others (mode {stat.S_IMODE(info.st_mode):04o})"
    return ""


def repair(place: Path, info: os.stat_result) -> str:
    """The command that makes a file ours alone, for a person who has looked at it."""
    command = "chmod go-w" if info.st_uid in (0, os.geteuid()) else f"chown {os.geteuid()}"
    return f"{command} {shlex.quote(str(place))}"


def replace_file(directory: int, name: str, data: bytes) -> None:
    """Replace one file of an open directory: the old bytes or the new ones, whatever happens; 0600, and on the disk.

    Order: the directory is locked, since what is being written has one name there.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(_NEW, flags, 0o600, dir_fd=directory)
    with open(descriptor, "wb") as file:  # noqa: PTH123 (a descriptor, not a path)
        os.fchmod(descriptor, 0o600)
        file.write(data)
        file.flush()
        os.fsync(descriptor)
    os.rename(_NEW, name, src_dir_fd=directory, dst_dir_fd=directory)
    os.fsync(directory)


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
