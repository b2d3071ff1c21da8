"""Reading and replacing a configuration file of another program, without harming it.

Rule 1: what is replaced is what was read: just before, the file is read again, and if another byte is there nothing
is written.
Rule 2: the file that a link leads to is replaced, and the link stays; mode, group and extended attributes stay.
Rule 3: at every moment the old bytes or the new ones are there, whole.

Between the last look and the rename another program may still write; no interface of the system closes that gap. What
it wrote is then lost, and is in no backup.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path

import msgspec

from mcpguard import limits
from mcpguard.errors import ConfigError

_NOTHING = "nothing was written"


class Found(msgspec.Struct, frozen=True):
    """A file that was read.

    Attributes:
        path: As it was asked for.
        target: Where links led.
        data: Its bytes.
    """

    path: Path
    target: Path
    data: bytes


def read(path: Path) -> Found | None:
    """A configuration file; None if there is none.

    Raises:
        ConfigError: It is no plain file, is too large, or cannot be read.
    """
    try:
        target = path.resolve(strict=True)
        descriptor = os.open(target, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        if path.is_symlink():
            raise _refused(path, "a link that leads nowhere") from None
        return None
    except NotADirectoryError:
        return None
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle, before Python 3.13
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "links lead in a circle"
        raise _refused(path, reason.lower()) from error
    try:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode):
            raise _refused(path, "a folder" if stat.S_ISDIR(info.st_mode) else "not a plain file")
        if info.st_size > limits.CONFIG_BYTES:
            raise _refused(path, f"larger than {limits.CONFIG_BYTES} bytes")
        with open(descriptor, "rb", closefd=False) as file:
            return Found(path, target, file.read(limits.CONFIG_BYTES + 1))
    finally:
        os.close(descriptor)


def unwritable(found: Found) -> str:
    """Why a file may not be replaced, as the end of a sentence; empty if it may."""
    try:
        info = found.target.stat()
    except OSError as error:
        return f"it cannot be looked at any more: {(error.strerror or str(error)).lower()}"
    if info.st_uid != os.geteuid():
        return f"it belongs to another user (uid {info.st_uid})"
    if not stat.S_IMODE(info.st_mode) & 0o200 or not os.access(found.target, os.W_OK):
        return "it is read-only"
    if info.st_nlink > 1:
        return f"it has {info.st_nlink} names (hard links), of which only one would change"
    if not os.access(found.target.parent, os.W_OK):
        return "its folder is read-only"
    return ""


def replace(found: Found, data: bytes) -> None:
    """Put other bytes in the place of those that were read.

    Raises:
        ConfigError: It may not be replaced, or somebody has changed it since; nothing was written.
    """
    if why := unwritable(found):
        raise _refused(found.path, why)
    new = found.target.with_name(f".{found.target.name}.{secrets.token_hex(4)}.mcpguard-new")
    try:
        _write(found.target, new, data)
        now = read(found.path)
        if now is None or now.target != found.target or now.data != found.data:
            raise _refused(found.path, "another program has changed it meanwhile", "try again")
        new.replace(found.target)
    except OSError as error:
        raise _refused(found.path, (error.strerror or str(error)).lower()) from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            new.unlink()
    _sync(found.target.parent)


def _write(old: Path, new: Path, data: bytes) -> None:
    """A file beside the old one that is like it in all but its bytes."""
    info = old.stat()
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:  # noqa: PTH123 (a descriptor, not a path)
        file.write(data)
        if info.st_gid != os.fstat(file.fileno()).st_gid:
            os.fchown(file.fileno(), -1, info.st_gid)
        os.fchmod(file.fileno(), stat.S_IMODE(info.st_mode))
        _attributes(old, file.fileno())
        file.flush()
        os.fsync(file.fileno())


def _attributes(old: Path, new: int) -> None:
    """Extended attributes, access lists included; where there are none, as on macOS, Python has no such function."""
    if not hasattr(os, "listxattr"):
        return
    for name in os.listxattr(old):
        with contextlib.suppress(OSError):  # those of the system, such as labels, are set by the system
            os.setxattr(new, name, os.getxattr(old, name))


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refused(path: Path, why: str, hint: str = "") -> ConfigError:
    return ConfigError(why, file=str(path), hint=f"{_NOTHING}; {hint}" if hint else _NOTHING)
