"""What is asked of a service manager, and how: commands of systemd and launchd, as words.

What is to be done is decided here without doing it (`to_install`, `to_remove`, `to_restart`), so that it can be shown
where no manager answers; `run` does it. A manager is looked up in PATH: a test puts another one there.

Not here: the files (`system.unitfiles`).
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from mcpguard.errors import GuardError
from mcpguard.system.unitfiles import Scope

Command: TypeAlias = tuple[str, ...]
_SECONDS: Final = 60.0
_ANSWER_SECONDS: Final = 5.0
"""For questions: a manager that does not answer soon is as good as none."""
_LABEL: Final = "io.github.mcpguard.agent"
_SOCKETS: Final = {
    Scope.USER: ("mcpguard.socket", "mcpguard-admin.socket"),
    Scope.SYSTEM: ("mcpguard-system.socket", "mcpguard-system-admin.socket"),
}
_SERVICES: Final = {Scope.USER: "mcpguard.service", Scope.SYSTEM: "mcpguard-system.service"}


def members(scope: Scope) -> tuple[str, ...]:
    """What the manager calls the parts of the service."""
    return (_LABEL,) if scope is Scope.AGENT else (*_SOCKETS[scope], _SERVICES[scope])


def listening(scope: Scope) -> tuple[str, ...]:
    """Those of them without which nobody can connect."""
    return (_LABEL,) if scope is Scope.AGENT else _SOCKETS[scope]


def to_install(scope: Scope, directory: Path) -> list[Command]:
    """What makes the manager listen, once the files are there."""
    if scope is Scope.AGENT:
        return [("launchctl", "bootstrap", f"gui/{os.getuid()}", str(directory / f"{_LABEL}.plist"))]
    before: list[Command] = []
    if scope is Scope.SYSTEM:
        before = [
            ("systemd-sysusers", "mcpguard.conf"),
            ("systemd-tmpfiles", "--create", "mcpguard.conf"),
        ]
    return [
        *before,
        (*_systemctl(scope), "daemon-reload"),
        (*_systemctl(scope), "enable", "--now", *_SOCKETS[scope]),
    ]


def to_remove(scope: Scope) -> tuple[list[Command], list[Command]]:
    """What makes the manager let go, before the files are removed, and after."""
    if scope is Scope.AGENT:
        return [("launchctl", "bootout", f"gui/{os.getuid()}/{_LABEL}")], []
    ends = (*_systemctl(scope), "disable", "--now", *_SOCKETS[scope], _SERVICES[scope])
    return [ends], [(*_systemctl(scope), "daemon-reload")]


def to_restart(scope: Scope) -> Command:
    """What ends a daemon of before, with its servers, so that the next one is of now."""
    if scope is Scope.AGENT:
        return ("launchctl", "kill", "SIGTERM", f"gui/{os.getuid()}/{_LABEL}")
    return (*_systemctl(scope), "try-restart", _SERVICES[scope])


def shown(commands: Sequence[Command]) -> list[str]:
    """Commands as a person types them."""
    return [shlex.join(command) for command in commands]


def run(commands: Sequence[Command]) -> None:
    """Carry commands out, one after the other.

    Raises:
        GuardError: One of them failed, and what it said; those after it were not tried.
    """
    for command in commands:
        code, said = _asked(command)
        if code != 0:
            words = said.strip().splitlines()
            raise GuardError(
                f"{shlex.join(command)} failed: {words[-1] if words else f'exit code {code}'}",
                hint="the files are as mcpguard daemon status shows them",
            )


def answering(scope: Scope, directory: Path) -> bool:
    """Whether there is a manager to carry commands out that reads units where we put them.

    With HOME set to another folder one may answer that never sees them, and would do to its own what is asked.
    """
    if scope is Scope.AGENT:
        return _asked(("launchctl", "print", f"gui/{os.getuid()}"), _ANSWER_SECONDS)[0] == 0
    show = (*_systemctl(scope), "show", "--value", "--property=Version")
    if _asked(show, _ANSWER_SECONDS)[0] != 0:
        return False
    return scope is Scope.SYSTEM or directory.resolve() in {path.resolve() for path in _read_by_user()}


def _read_by_user() -> Iterator[Path]:
    """Where the manager of a user looks for units; some versions tell only of folders that were there before it."""
    _, said = _asked((*_systemctl(Scope.USER), "show", "--value", "--property=UnitPath"), _ANSWER_SECONDS)
    yield from map(Path, said.split())
    _, said = _asked((*_systemctl(Scope.USER), "show-environment"), _ANSWER_SECONDS)
    with contextlib.suppress(ValueError):  # a quote that does not end
        known = dict(word.partition("=")[::2] for word in shlex.split(said))
        if home := known.get("HOME"):
            yield Path(known.get("XDG_CONFIG_HOME") or f"{home}/.config", "systemd/user")


def listens(scope: Scope) -> bool:
    """Whether a manager that answers listens for us."""
    found = states(scope)
    return all(found[name] == "active" for name in listening(scope))


def enabled(scope: Scope) -> bool:
    """Whether it will listen when it is started again; launchd does with what lies in its folder."""
    return scope is Scope.AGENT or all(
        _asked((*_systemctl(scope), "is-enabled", name), _ANSWER_SECONDS)[1].strip() == "enabled"
        for name in listening(scope)
    )


def systemd_version() -> int:
    """The version of the systemd that is installed; 0 if there is none."""
    code, said = _asked(("systemctl", "--version"), _ANSWER_SECONDS)
    version = re.match(r"systemd (\d+)", said)
    return int(version[1]) if code == 0 and version else 0


def states(scope: Scope) -> dict[str, str]:
    """How the manager calls the state of each member: `active`, `inactive`, `failed`, ..."""
    if scope is Scope.AGENT:
        there = _asked(("launchctl", "print", f"gui/{os.getuid()}/{_LABEL}"), _ANSWER_SECONDS)[0] == 0
        return {_LABEL: "active" if there else "inactive"}
    found = {}
    for name in members(scope):
        _, said = _asked((*_systemctl(scope), "is-active", name), _ANSWER_SECONDS)
        found[name] = said.strip().splitlines()[0] if said.strip() else "unknown"
    return found


def _systemctl(scope: Scope) -> Command:
    return ("systemctl", "--user") if scope is Scope.USER else ("systemctl",)


def _asked(command: Command, seconds: float = _SECONDS) -> tuple[int, str]:
    """Exit code and words of a command; 127 if there is no such command."""
    try:
        told = subprocess.run(  # noqa: S603 (words of ours, no shell)
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
            check=False,
            env={**os.environ, "LC_ALL": "C.UTF-8", "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": ""},
        )
    except FileNotFoundError:
        return 127, f"{command[0]}: command not found"
    except subprocess.TimeoutExpired:
        return 124, f"{command[0]}: no answer within {seconds:.0f} seconds"
    return told.returncode, told.stdout.decode("utf-8", "replace")
