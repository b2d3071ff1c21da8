"""Which login session is a process in, and is somebody logged in from elsewhere?

The control group names the session. What runs below a user's service manager is in no session; it is taken to be in
the one that shows the user's display. The state of sessions is read from where systemd-logind keeps it.

Source: sd_pid_get_session(3), sd_uid_get_display(3), sd_session_is_remote(3); the files are those that libsystemd
reads.

Not here: whether the screen is locked, which only D-Bus tells (`daemon.loginwatch`).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

RUN: Final = Path("/run/systemd")
_SESSION: Final = re.compile(r"/session-([A-Za-z0-9]+)\.scope(?:/|$)")
_IDENT: Final = re.compile(r"[A-Za-z0-9]{1,64}")
_BYTES: Final = 64 * 1024


def session_of(cgroup: str, uid: int, run: Path = RUN) -> str:
    """The session of a process with this control group and user; empty if it is in none that is known."""
    if found := _SESSION.search(cgroup):
        return found[1]
    display = _members(run / "users" / str(uid)).get("DISPLAY", "")
    return display if _IDENT.fullmatch(display) else ""


def place_of(session: str, run: Path = RUN) -> str:
    """`local` or `remote`; empty if that is not known."""
    if not _IDENT.fullmatch(session):
        return ""
    return {"0": "local", "1": "remote"}.get(_members(run / "sessions" / session).get("REMOTE", ""), "")


def _members(path: Path) -> dict[str, str]:
    """`NAME=value` lines; none if the file cannot be read."""
    try:
        with path.open("rb") as file:
            text = file.read(_BYTES).decode("utf-8", "replace")
    except OSError:
        return {}
    pairs = (line.partition("=") for line in text.splitlines() if not line.startswith("#"))
    return {name: value.strip('"') for name, equals, value in pairs if equals}
