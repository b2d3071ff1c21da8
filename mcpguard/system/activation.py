"""Which listening sockets did a service manager hand over?

systemd (sd_listen_fds(3)) passes them from descriptor 3 on, and says so in LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES;
launchd (launch_activate_socket(3)) gives them to the job that asks by name. They stay open in the manager: whoever
connects while no daemon runs starts one, and no connection is refused in between.

Rule: what was handed over is a listening Unix stream socket at the place where shims look for it, or nothing starts.

Not here: launchd itself, which was never run; what decides is tested with a layer that answers as the manual says.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import stat
import sys
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Final

from mcpguard.errors import DaemonError

NAMES: Final = ("run", "admin")
_FIRST: Final = 3
_SO_ACCEPTCONN: Final = getattr(socket, "SO_ACCEPTCONN", 30)
_VARIABLES: Final = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID")


def handed_over(
    directory: Path,
    environ: MutableMapping[str, str] | None = None,
    launchd: Callable[[str], list[int]] | None = None,
) -> dict[str, socket.socket]:
    """The sockets by name, non-blocking and close-on-exec; empty if nobody handed any over.

    The variables are taken away, so that no child takes them for its own. The caller owns the sockets.

    Args:
        directory: Where `run.sock` and `admin.sock` have to be.
        environ: The environment; the process's own if None.
        launchd: Gives the descriptors that a job asks for by name; that of macOS if None, and there only.

    Raises:
        DaemonError: What was handed over is something else than the two sockets of a daemon.
    """
    environ = os.environ if environ is None else environ
    taken = {name: environ.pop(name, "") for name in _VARIABLES}
    if launchd is None and sys.platform == "darwin":
        launchd = launch_activate_socket
    found = _of_launchd(launchd) if launchd is not None else _of_systemd(taken)
    if not found:
        return {}
    if sorted(name for name, _ in found) != sorted(NAMES):
        raise _wrong(f"sockets called {', '.join(sorted(name for name, _ in found))}"[:200])
    return {name: _socket(name, number, directory / f"{name}.sock") for name, number in found}


def _of_systemd(taken: dict[str, str]) -> list[tuple[str, int]]:
    if taken["LISTEN_PID"] != str(os.getpid()):
        return []
    count, names = taken["LISTEN_FDS"], taken["LISTEN_FDNAMES"].split(":")
    if count == "0":
        return []
    if count != str(len(names)):
        raise _wrong(f"{count[:20] or 'no number of'} sockets with {len(names)} names")
    return [(name, _FIRST + place) for place, name in enumerate(names)]


def _of_launchd(activate: Callable[[str], list[int]]) -> list[tuple[str, int]]:
    return [(name, number) for name in NAMES for number in activate(name)]


def _socket(name: str, number: int, place: Path) -> socket.socket:
    try:
        if not stat.S_ISSOCK(os.fstat(number).st_mode):
            raise _wrong(f"{name}, which is no socket")
        found = socket.socket(fileno=number)
    except OSError as error:
        raise _wrong(f"{name}: {(error.strerror or str(error)).lower()}") from error
    try:
        _require_listening(name, found, place)
    except DaemonError:
        found.detach()  # nothing of ours: it stays as it is
        raise
    found.setblocking(False)
    found.set_inheritable(False)
    return found


def _require_listening(name: str, found: socket.socket, place: Path) -> None:
    if found.family != socket.AF_UNIX or found.type != socket.SOCK_STREAM:
        raise _wrong(f"{name}, which is no Unix stream socket")
    if not found.getsockopt(socket.SOL_SOCKET, _SO_ACCEPTCONN):
        raise _wrong(f"{name}, which does not listen")
    where = found.getsockname()
    if not isinstance(where, str) or os.path.realpath(where) != os.path.realpath(place):
        raise _wrong(f"{name} at {where!a}, where nobody looks for it instead of {place}")


def launch_activate_socket(name: str) -> list[int]:
    """The descriptors of one socket of a launchd job; none if this is no job, or its list does not name it."""
    library = ctypes.CDLL("/usr/lib/libSystem.B.dylib")
    numbers = ctypes.POINTER(ctypes.c_int)()
    count = ctypes.c_size_t()
    failed = library.launch_activate_socket(name.encode(), ctypes.byref(numbers), ctypes.byref(count))
    if failed in (errno.ENOENT, errno.ESRCH):
        return []
    if failed:
        raise _wrong(f"{name}: {os.strerror(failed).lower()}")
    found = numbers[: count.value]
    library.free(numbers)
    return found


def _wrong(what: str) -> DaemonError:
    return DaemonError(
        f"the service manager handed over {what}; a daemon needs run and admin",
        hint="mcpguard daemon install writes units that do",
    )
