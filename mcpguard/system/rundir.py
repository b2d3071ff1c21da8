"""Where the sockets are: the one rule, for the daemon and for the shim.

`MCPGUARD_RUNTIME_DIR`, if it is an absolute path; else `/run/user/UID/mcpguard` where the system has made
`/run/user/UID` for us; else `~/.local/state/mcpguard/run`. XDG_RUNTIME_DIR is not asked, because hosts drop it
and both sides must agree.

A daemon for everybody is at `SYSTEM`, whoever asks; there, and only there, it may be of another user than the caller.

Imports the interpreter's own C modules only: the shim needs it at every start.
"""

import posix
import pwd
import sys

MAX_SOCKET_PATH = 103 if sys.platform == "darwin" else 107
"""Bytes of a Unix socket's path, without the final NUL (unix(7))."""


SYSTEM = "/run/mcpguard"
"""Where the daemon of the machine is."""
SYSTEM_USER = "mcpguard"
"""As whom it runs."""


def listeners(directory: str) -> "tuple[int, ...]":
    """The users whose daemon may listen in a directory: ourselves; at `SYSTEM`, its own user, and root.

    Empty if somebody else could have put a socket there.
    """
    if directory != SYSTEM:
        return (posix.getuid(),)
    try:
        ours = pwd.getpwnam(SYSTEM_USER).pw_uid
    except KeyError:  # nobody is called so: then only root's
        ours = 0
    known = (0, ours)
    try:
        info = posix.lstat(directory)
    except OSError:
        return known  # nobody is there
    safe = info.st_mode & 0o170022 == 0o040000 and info.st_uid in known
    return known if safe else ()


def runtime_directory() -> str:
    """The directory of the sockets; it need not exist yet."""
    named = posix.environ.get(b"MCPGUARD_RUNTIME_DIR")
    if named and named.startswith(b"/"):
        return named.decode("utf-8", "surrogateescape")
    system = f"/run/user/{posix.getuid()}"
    try:
        if posix.stat(system).st_uid == posix.getuid():
            return system + "/mcpguard"
    except OSError:
        pass  # not every system has it: the next place is as good
    return home() + "/.local/state/mcpguard/run"


def home() -> str:
    """HOME if it is set to an absolute path, else what the user database says; empty, so the root, for nobody."""
    named = posix.environ.get(b"HOME", b"")
    if named.startswith(b"/"):
        return named.decode("utf-8", "surrogateescape")
    try:
        return pwd.getpwuid(posix.getuid()).pw_dir
    except KeyError:  # a user without an entry: nothing can be made there, and the error names the place
        return ""
