"""Opens a web page for a person who has said yes to it.

Rule 1: only https, or http to this machine; the URL is parsed and checked here, whoever made it.
Rule 2: no shell, ever: the URL is one argument of a program that is named by its absolute path, and it begins with
`http`, so that no program takes it for an option (CVE-2025-6514 handed one to a shell).
Rule 3: the program gets no descriptors of ours, and nobody waits for it.

Not here: the yes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from mcpguard import limits
from mcpguard.credentials import oauthurls
from mcpguard.errors import ConfigError, GuardError

_PLACES: Final = "/usr/local/bin:/usr/bin:/bin"
_LAUNCHERS: Final = ("xdg-open", "gio", "wslview", "sensible-browser")
_DISPLAYS: Final = ("DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME")
_MACOS: Final = "/usr/bin/open"


class BrowserError(GuardError):
    """The page cannot be opened, or must not be."""


def require_url(url: str) -> str:
    """The URL, if it may be opened.

    The endpoint in it must be acceptable (`oauthurls`); its query is ours, percent-encoded.

    Raises:
        BrowserError: It may not.
    """
    endpoint, _, query = url.partition("?")
    if fault := oauthurls.refused(endpoint, plain=True):
        raise BrowserError(f"this page is not opened: {fault}")
    if len(url) > limits.OAUTH_REDIRECT_CHARS or (query and oauthurls.odd(query)):
        raise BrowserError(
            "this page is not opened: its query is too long, or has characters that are not encoded"
        )
    return url


def launcher(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The command that opens pages here, less the URL; empty if there is none, or no display.

    Raises:
        ConfigError: `MCPGUARD_BROWSER` names no program of that absolute path.
    """
    named = environment.get("MCPGUARD_BROWSER", "")
    if named:
        if not named.startswith("/") or not _runs(named):
            raise ConfigError(
                f"{named!a} is no program", file="MCPGUARD_BROWSER", hint="give its absolute path"
            )
        return (named,)
    if sys.platform == "darwin":
        return (_MACOS,) if _runs(_MACOS) else ()
    if not any(environment.get(name) for name in _DISPLAYS):
        return ()
    for name in _LAUNCHERS:
        if path := shutil.which(name, path=_PLACES):
            return (path, "open") if name == "gio" else (path,)
    return ()


def open_page(url: str, environment: Mapping[str, str]) -> bool:
    """Open a page; whether there is a browser to do it.

    Raises:
        BrowserError: The URL may not be opened, or the program does not start.
        ConfigError: As for `launcher`.
    """
    require_url(url)
    command = launcher(environment)
    if not command:
        return False
    try:
        process = subprocess.Popen(  # noqa: S603 (an absolute path and a checked URL, no shell)
            [*command, url],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            close_fds=True,
        )
    except OSError as error:
        raise BrowserError(f"{command[0]} does not start: {error.strerror}") from error
    process.returncode = 0  # it outlives us, and is nobody's child to wait for
    return True


def _runs(path: str) -> bool:
    return Path(path).is_file() and os.access(path, os.X_OK)
