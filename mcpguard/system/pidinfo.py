"""Who is behind a pidfd: its id, its parent, its user, in one call and without a right to look into it.

Source: Linux 6.13 PIDFD_GET_INFO.
"""

from __future__ import annotations

import errno
import struct
from typing import Final

import msgspec

from mcpguard.errors import PeerError
from mcpguard.system.kernel import Kernel

_LAYOUT: Final = struct.Struct("QQ11Ii")
_NEEDED: Final = 0x1 | 0x2
_MISSING: Final = (errno.ENOTTY, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


class PidInfo(msgspec.Struct, frozen=True):
    """A process as the kernel knows it.

    Attributes:
        pid: Process id.
        ppid: Its parent's; 0 if that is in no namespace of ours.
        uid: Effective user id.
        gid: Effective group id.
    """

    pid: int
    ppid: int
    uid: int
    gid: int


class ForeignError(PeerError):
    """A process lives in a namespace of its own, such as a sandbox or a container."""


def foreign() -> ForeignError:
    """A process that our namespaces do not contain."""
    return ForeignError(
        "the caller lives in another namespace", hint="run it outside the sandbox or container"
    )


def gone() -> PeerError:
    """A process that has ended."""
    return PeerError("the caller is gone")


def parse_info(answer: bytes) -> PidInfo:
    """The answer to PIDFD_GET_INFO, of any length from 64 bytes on.

    Raises:
        PeerError: It says nothing about a living process. A reaped one may answer without an error, with every
            number 0: whoever does not look at the mask sees root.
    """
    mask, _, pid, _, ppid, _, _, uid, gid, *_ = _LAYOUT.unpack_from(answer)
    if mask & _NEEDED != _NEEDED or pid == 0:
        raise gone()
    return PidInfo(pid, ppid, uid, gid)


def process_info(kernel: Kernel, pidfd: int) -> PidInfo | None:
    """Who is behind a pidfd; None if this kernel has no such call.

    Raises:
        ForeignError: The process lives in a namespace that ours does not contain.
        PeerError: It is gone, or the kernel does not say.
    """
    try:
        answer = kernel.pidfd_info(pidfd)
    except OSError as error:
        if error.errno == errno.EREMOTE:
            raise foreign() from error
        if error.errno == errno.ESRCH:
            raise gone() from error
        if error.errno in _MISSING:
            return None
        raise PeerError("the kernel does not say who the caller is") from error
    return parse_info(answer)


def instance(kernel: Kernel, pidfd: int) -> int:
    """A number that no other process of this boot has; 0 if the kernel gives none (before Linux 6.9)."""
    return kernel.fstat(pidfd).st_ino if kernel.numbered(pidfd) else 0


def same_process(kernel: Kernel, one: int, two: int) -> bool:
    """Whether two pidfds are of one process; where the kernel does not number them, whether both name one id."""
    first, second = kernel.fstat(one), kernel.fstat(two)
    if kernel.numbered(one):
        return (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino)
    here = named(kernel, one)
    return here > 0 and here == named(kernel, two)


def named(kernel: Kernel, pidfd: int) -> int:
    """The process id of a pidfd by /proc/self/fdinfo: 0 in a foreign namespace, -1 if gone or not told."""
    try:
        text = kernel.content(f"/proc/self/fdinfo/{pidfd}", 4096)
    except OSError:
        return -1
    for line in text.splitlines():
        if line.startswith(b"Pid:"):
            return int(line[4:])
    return -1
