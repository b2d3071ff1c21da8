"""Which listening sockets did a service manager hand over?

systemd (sd_listen_fds(3)) passes them from descriptor 3 on, and says so in LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES;
launchd (launch_activate_socket(3)) gives them to the job that asks by name. They stay open in the manager: whoever
connects while no daemon runs starts one, and no connection is refused in between.

Rule: what was handed over is a listening Unix stream socket of ours with a name that we know, or nothing starts.
"""

from __future__ import annotations

import ctypes
import os
import socket
import stat
import sys
from collections.abc import MutableMapping
from typing import Final

from mcpguard.errors import DaemonError

NAMES: Final = ("run", "admin")
_FIRST: Final = 3
_MOST: Final = 16
_SO_ACCEPTCONN: Final = getattr(socket, "SO_ACCEPTCONN", 30)
_VARIABLES: Final = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID")


def handed_over(environ: MutableMapping[str, str] | None = None) -> dict[str, socket.socket]:
    """The sockets by name, non-blocking and close-on-exec; empty if nobody handed any over.

    The variables are taken away, so that no child takes them for its own. The caller owns the sockets.

    Raises:
        DaemonError: What was handed over is something else than the two sockets of a daemon.
    """
    environ = os.environ if environ is None else environ
    taken = {name: environ.pop(name, "") for name in _VARIABLES}
    if sys.platform == "darwin":
        return _of_launchd()
    if taken["LISTEN_PID"] != str(os.getpid()) or not taken["LISTEN_FDS"].isdigit():
        return {}
    count, names = int(taken["LISTEN_FDS"]), taken["LISTEN_FDNAMES"].split(":")
    if count == 0:
        return {}
    if not count <= _MOST or len(names) != count:
        raise _wrong(f"{count} sockets with {len(names)} names")
    return _named(dict(zip(names, range(_FIRST, _FIRST + count), strict=True)), count)


def _named(found: dict[str, int], count: int) -> dict[str, socket.socket]:
    if set(found) != set(NAMES) or count != len(NAMES):
        raise _wrong(f"sockets called {', '.join(sorted(found))}")
    return {name: _socket(name, number) for name, number in found.items()}


def _socket(name: str, number: int) -> socket.socket:
    try:
        if not stat.S_ISSOCK(os.fstat(number).st_mode):
            raise _wrong(f"{name} is no socket")
        found = socket.socket(fileno=number)
    except OSError as error:
        raise _wrong(f"{name}: {(error.strerror or str(error)).lower()}") from error
    if found.family != socket.AF_UNIX or found.type != socket.SOCK_STREAM:
        raise _wrong(f"{name} is no Unix stream socket")
    if not found.getsockopt(socket.SOL_SOCKET, _SO_ACCEPTCONN):
        raise _wrong(f"{name} does not listen")
    found.setblocking(False)
    found.set_inheritable(False)
    return found


def _of_launchd() -> dict[str, socket.socket]:
    """Sockets of a launchd job; none if this process is no job of it, or its property list names none."""
    library = ctypes.CDLL("/usr/lib/libSystem.dylib", use_errno=True)
    found: dict[str, int] = {}
    count = 0
    for name in NAMES:
        numbers = ctypes.POINTER(ctypes.c_int)()
        many = ctypes.c_size_t()
        if library.launch_activate_socket(name.encode(), ctypes.byref(numbers), ctypes.byref(many)) != 0:
            continue
        count += many.value
        if many.value:
            found[name] = numbers[0]
        library.free(numbers)
    return _named(found, count) if found else {}


def _wrong(what: str) -> DaemonError:
    return DaemonError(
        f"the service manager handed over {what}, and a daemon needs run and admin",
        hint="mcpguard daemon install writes units that do",
    )
