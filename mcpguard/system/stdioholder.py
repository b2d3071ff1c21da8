"""Which process holds the far ends of the stdin and stdout that a shim passed?

The ends of a socketpair remember who made it. A pipe remembers nobody: every process is asked what it has open, and
all that could write to our stdin, or read our stdout, must be one process. The shim's own copies and the daemon's do
not count.

Source: unix(7) SO_PEERCRED; Linux 6.5 SO_PEERPIDFD; proc_pid_fd(5).

Not here: whether the holder is the shim's parent (`system.hostprocess`). Not seen: copies that are under way in a
message, registered with io_uring, open in a thread that shares no descriptors with its process, or in a process of
another user that we may not look into. A process that has passed its end of a socketpair on is still named as its
maker.
"""

from __future__ import annotations

import os
import stat
from typing import Final

import msgspec

from mcpguard.errors import PeerError
from mcpguard.system.kernel import Kernel, Place, place
from mcpguard.system.pidinfo import ForeignError, foreign
from mcpguard.system.processes import Process

DESCRIPTORS: Final = 32_768
"""Open files of all processes that are looked at for a pipe, at about 2 microseconds each. Who has more open leaves
it unknown who holds the pipe."""
_NOBODY: Final = 65534


class Held:
    """Who holds the far ends. The holder of this closes it.

    Attributes:
        kind: `socket`, `pipe` or `other`: what stdin is.
        stdin: Who writes to it; None if nobody was found.
        stdout: Who reads from it; the same object if it is the same process.
        alone: Whether nobody else holds either end.
        doubts: Sentences: what could not be told.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.stdin: Process | None = None
        self.stdout: Process | None = None
        self.alone = True
        self.doubts: list[str] = []

    @property
    def both(self) -> bool:
        """Whether one process, and nobody else, holds both far ends."""
        return self.alone and self.stdin is not None and self.stdin is self.stdout

    def close(self) -> None:
        """Let go of the processes."""
        for process in (self.stdin, self.stdout):
            if process is not None:
                process.close()
        self.stdin = self.stdout = None


class _End(msgspec.Struct):
    """A pipe's end that was passed, and who holds the other one."""

    name: str
    link: str
    where: Place
    bit: int
    verb: str
    found: list[Process]


def find(kernel: Kernel, stdin: int, stdout: int, shim: Process, parent: Process | None) -> Held:
    """Who holds the far ends of two descriptors that were passed.

    Args:
        kernel: Whom to ask.
        stdin: What the shim reads from.
        stdout: What the shim writes to.
        shim: Who passed them.
        parent: Its parent, who is asked first.

    Raises:
        ForeignError: A holder lives in a namespace that ours does not contain.
    """
    held = Held(_kind(kernel, stdin))
    ends: list[_End] = []
    try:
        for name, fd in (("stdin", stdin), ("stdout", stdout)):
            kind = _kind(kernel, fd)
            if kind == "socket":
                _keep(held, name, _maker(kernel, fd, name, shim, held))
            elif kind == "pipe":
                ends.append(_end(kernel, fd, name))
        if ends:
            _search(kernel, ends, shim, parent, held)
    except BaseException:
        held.close()
        for process in [process for end in ends for process in end.found]:
            process.close()
        raise
    return held


def _kind(kernel: Kernel, fd: int) -> str:
    mode = kernel.fstat(fd).st_mode
    return "socket" if stat.S_ISSOCK(mode) else "pipe" if stat.S_ISFIFO(mode) else "other"


def _keep(held: Held, name: str, process: Process | None) -> None:
    """Note a holder; one process is one object, whichever ends it holds."""
    if process is None:
        return
    if name == "stdin":
        held.stdin = process
    elif process.same(held.stdin):
        process.close()
        held.stdout = held.stdin
    else:
        held.stdout = process


# --- sockets --------------------------------------------------------------------------------------------


def _maker(kernel: Kernel, fd: int, name: str, shim: Process, held: Held) -> Process | None:
    """Who made the socketpair that `fd` is an end of."""
    try:
        pid, uid, _ = kernel.peer_credentials(fd)
        pair = not any(kernel.names(fd))
    except OSError:
        held.doubts.append(f"the kernel does not say who made {name}")
        return None
    if pid <= 0 or uid == _NOBODY:
        raise foreign()
    if not pair:
        # Whoever connects to a host's listening socket could pass the connection as if the host had made it.
        held.doubts.append(f"{name} is a connection to a listening socket, not one end of a pair")
        return None
    if pid in (shim.pid, os.getpid()):
        held.doubts.append(f"{name} was made by {'the shim' if pid == shim.pid else 'the daemon'} itself")
        return None
    try:
        pidfd = kernel.peer_pidfd(fd)
    except OSError:
        try:
            pidfd = kernel.pidfd_open(pid)
        except OSError:
            held.doubts.append(f"the kernel gives no handle on the process that made {name}")
            return None
    return _checked(Process(kernel, pidfd, pid), f"made {name}", held)


def _checked(process: Process, deed: str, held: Held) -> Process | None:
    """A holder that is there, and is who it was said to be; else it is closed.

    Raises:
        ForeignError: It lives in a namespace that ours does not contain.
    """
    try:
        if process.alive() and process.look().pid == process.pid:
            return process
        doubt = f"the process that {deed} has ended"
    except ForeignError:
        process.close()
        raise
    except PeerError as error:
        doubt = f"of the process that {deed}: {error.message}"
    process.close()
    held.doubts.append(doubt)
    return None


# --- pipes ----------------------------------------------------------------------------------------------


def _end(kernel: Kernel, fd: int, name: str) -> _End:
    try:
        link = kernel.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        link = ""
    bit, verb = (stat.S_IWUSR, "write to") if name == "stdin" else (stat.S_IRUSR, "read")
    return _End(name, link, place(kernel.fstat(fd)), bit, verb, [])


def _search(kernel: Kernel, ends: list[_End], shim: Process, parent: Process | None, held: Held) -> None:
    try:
        numbers = [int(name) for name in kernel.listdir("/proc") if name.isdecimal()]
    except OSError:
        numbers = []
    first = [process.pid for process in (parent, held.stdin) if process is not None]
    room = DESCRIPTORS
    for pid in dict.fromkeys(first + numbers):
        if pid in (shim.pid, os.getpid()):
            continue
        room -= _ask(kernel, pid, ends, room)
        if room <= 0:
            held.alone = False
            held.doubts.append("so many files are open that not all could be looked at")
            break
    for end in ends:
        _settle(end, parent, held)


def _ask(kernel: Kernel, pid: int, ends: list[_End], room: int) -> int:
    """Look at what one process has open; how many files that were."""
    try:
        directory = kernel.open(f"/proc/{pid}/fd", os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return 0  # gone, a stranger's, or hidden
    try:
        names = kernel.listdir(directory)[: room + 1]
        for name in names:
            try:
                link = kernel.readlink(name, directory)
            except OSError:
                continue  # closed meanwhile
            for end in ends:
                if link == end.link and kernel.stat(name, directory, follow=False).st_mode & end.bit:
                    _note(kernel, pid, name, end)
    except OSError:
        return 0
    finally:
        os.close(directory)
    return len(names)


def _note(kernel: Kernel, pid: int, name: str, end: _End) -> None:
    """Hold the process and look once more: it may be another one with the same number."""
    if any(process.pid == pid for process in end.found):
        return
    process = Process.find(kernel, pid)
    if process is None:
        return
    try:
        holds = place(process.stat(f"fd/{name}")) == end.where
    except OSError:
        holds = False
    if holds and process.alive():
        end.found.append(process)
    else:
        process.close()


def _settle(end: _End, parent: Process | None, held: Held) -> None:
    """One holder is the holder. Of several, one is named for people, and nobody counts."""
    if not end.found:
        held.doubts.append(f"nobody was found who can {end.verb} {end.name}")
        return
    if len(end.found) > 1:
        held.alone = False
        held.doubts.append(f"{len(end.found)} processes can {end.verb} {end.name}")
        end.found.sort(key=lambda process: not process.same(parent))
    chosen, *others = end.found
    for process in others:
        process.close()
    if checked := _checked(chosen, f"can {end.verb} {end.name}", held):
        _keep(held, end.name, checked)
