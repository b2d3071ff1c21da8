"""How is npm or pip run so that it installs what it is told, and no more?

Never through a shell, in a session of its own, with a time limit, without stdin, and with an environment of a few
names: where the user's registry and certificates are, and nothing else. A program whose arguments and environment
are ours can still be told much by the user's own `.npmrc` and `pip.conf`; the arguments given here come last, and
what was installed is looked at afterwards.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from mcpguard import limits
from mcpguard.errors import TrustError

Progress = Callable[[str], None]
"""Called with one line of npm or pip, or with what is being done."""

_KEPT: Final = (
    "HOME", "PATH", "LANG", "LC_ALL", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_CONFIG_DIRS",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS",
    "npm_config_registry", "NPM_CONFIG_REGISTRY", "npm_config_userconfig", "NPM_CONFIG_USERCONFIG",
    "npm_config_cache", "NPM_CONFIG_CACHE", "npm_config_cafile", "NPM_CONFIG_CAFILE",
    "PIP_INDEX_URL", "PIP_CERT", "PIP_CLIENT_CERT", "PIP_CONFIG_FILE", "PIP_CACHE_DIR", "PIP_TRUSTED_HOST",
    "PIP_FIND_LINKS", "PIP_NO_INDEX", "PIP_DEFAULT_TIMEOUT",
)  # fmt: skip


def find_program(name: str, hint: str) -> str:
    """The absolute path of a program on the user's PATH.

    Raises:
        TrustError: There is none; `hint` says what to do.
    """
    found = shutil.which(name)
    if found is None:
        raise TrustError(f"{name} is not on PATH", hint=hint)
    return os.path.abspath(found)  # noqa: PTH100 (links are resolved by who needs that)


def environment() -> dict[str, str]:
    """What npm and pip may know of the user's environment."""
    return {name: os.environ[name] for name in _KEPT if name in os.environ}


def quiet(line: str) -> None:
    """Show nothing of a command that is asked where something is."""


def run(argv: Sequence[str], directory: Path, progress: Progress, *, seconds: float = 0.0) -> str:
    """Run one command in `directory` and return what it printed, both streams in one.

    Every line goes to `progress` as it comes. What it left running in its process group is killed.

    Raises:
        TrustError: It failed or took longer than `seconds` (0: `limits.INSTALL_SECONDS`); the message has its
            last lines, in one.
    """
    limit = seconds or limits.INSTALL_SECONDS
    lines: list[str] = []
    last: deque[str] = deque(maxlen=limits.INSTALLER_LINES)
    name = " ".join([Path(argv[0]).name, *(word for word in argv[1:5] if word.isalpha())])
    try:
        process = subprocess.Popen(  # noqa: S603 (a list, no shell)
            argv,
            cwd=directory,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="backslashreplace",
            start_new_session=True,
        )
    except OSError as error:
        raise TrustError(f"{argv[0]} does not start: {(error.strerror or str(error)).lower()}") from error
    late = threading.Event()

    def expire() -> None:
        late.set()
        _kill(process.pid)

    timer = threading.Timer(limit, expire)
    timer.start()
    try:
        with process:
            for line in process.stdout or ():
                text = line.rstrip("\n")
                if text:
                    lines.append(text)
                    last.append(text)
                    progress(text)
    finally:
        timer.cancel()
        _kill(process.pid)
    if late.is_set():
        raise TrustError(f"{name} took longer than {limit:.0f} seconds", hint="try again")
    if process.returncode:
        said = " | ".join(last) or f"exit status {process.returncode}, no output"
        raise TrustError(f"{name} failed: {said}", hint="nothing was installed")
    return "\n".join(lines)


def _kill(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
