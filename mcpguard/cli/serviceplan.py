"""What installing or removing the daemon as a service would do, before anybody is asked; and doing it.

Rule: what is shown is what is done: a change holds the files as they stand and the commands.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

import msgspec

from mcpguard import __version__
from mcpguard.cli import client
from mcpguard.errors import DaemonError, GuardError, PeerError
from mcpguard.model import how_many
from mcpguard.system import paths, servicemanager, serviceprogram, unitfiles
from mcpguard.system.files import private_directory
from mcpguard.system.program import stable_program
from mcpguard.system.rundir import home
from mcpguard.system.servicemanager import Command
from mcpguard.system.unitfiles import Filling, Scope, Standing, Unit

AWAY: Final = {
    Scope.USER: "no user manager of systemd answers",
    Scope.SYSTEM: "systemd does not answer",
    Scope.AGENT: "launchd does not answer",
}


class Service(msgspec.Struct, frozen=True):
    """A service as it is to be.

    Attributes:
        scope: Whose it is.
        directory: Where its files are.
        units: Their text.
        asked: Whether a manager is asked; none is for the image of another machine.
    """

    scope: Scope
    directory: Path
    units: list[Unit]
    asked: bool

    def standing(self) -> dict[str, Standing]:
        """What stands where its files belong."""
        return {unit.name: unitfiles.standing(self.directory, unit) for unit in self.units}

    def answering(self) -> bool:
        """Whether there is a manager that reads these files."""
        return self.asked and servicemanager.answering(self.scope, self.directory)


class Installing(msgspec.Struct, frozen=True):
    """What installing would do.

    Attributes:
        service: The service.
        before: What stands where its files belong.
        commands: What makes the manager listen.
        answers: Whether there is one.
        listens: Whether it does so already, and will after the next start of the machine.
    """

    service: Service
    before: dict[str, Standing]
    commands: list[Command]
    answers: bool
    listens: bool

    @property
    def written(self) -> list[Path]:
        """The files that would be written."""
        directory = self.service.directory
        return [directory / name for name, how in self.before.items() if how is not Standing.CURRENT]

    @property
    def needed(self) -> bool:
        """Whether it would change anything."""
        return bool(self.written) or not self.listens


def planned(*, system: bool = False, root: str | None = None, program: str = "") -> Service:
    """The service that is meant. Without a program, as it would be for the one that is installed, if one is.

    Raises:
        GuardError: There is no such service on this system.
        ConfigError: A path has characters that a unit cannot carry.
    """
    scope = _scope(system=system)
    filling = Filling(
        version=__version__,
        program=program or _program(),
        runtime=_runtime(scope),
        environment={} if system else _environment(),
        systemd=servicemanager.systemd_version() or Filling("", "").systemd,
        log=f"{home()}/Library/Logs/mcpguard.log",
    )
    directory = _directory(scope)
    if root is not None:
        directory = Path(os.path.abspath(root)) / directory.relative_to("/")  # noqa: PTH100 (links stay)
    return Service(scope, directory, unitfiles.units(scope, filling), root is None)


def installing(service: Service) -> Installing:
    """What installing a service would do.

    Raises:
        ConfigError: A file is somebody else's, or was changed.
    """
    unitfiles.refuse_others(service.directory, service.units)
    answers = service.answering()
    commands = servicemanager.to_install(service.scope, service.directory)
    listens = answers and servicemanager.listens(service.scope) and servicemanager.enabled(service.scope)
    return Installing(service, service.standing(), commands, answers, listens)


def install(change: Installing) -> None:
    """Write the files, and have the manager listen where there is one.

    Raises:
        PeerError: The program is not fit for everybody's service, or only root may install that.
        DaemonError: A daemon that was started on demand has servers, which would be lost.
        GuardError: The manager refused.
    """
    service = change.service
    _require_fit(service)
    if change.answers:
        _end_others(service.scope)
    if service.scope is Scope.AGENT and service.asked:
        private_directory(paths.runtime_dir())  # launchd makes no folders
    for unit in service.units:
        if change.before[unit.name] is not Standing.CURRENT:
            unitfiles.write(service.directory, unit)
    if change.answers:
        servicemanager.run(change.commands)


def remove(service: Service, there: list[Unit], *, answers: bool) -> list[Path]:
    """Have the manager let go, and remove the files; which were there.

    Order: `unitfiles.refuse_others` was asked before.

    Raises:
        GuardError: The manager refused.
    """
    first, last = servicemanager.to_remove(service.scope)
    if answers:
        servicemanager.run(first)
    gone = unitfiles.remove(service.directory, there)
    if answers:
        servicemanager.run(last)
    return gone


def _scope(*, system: bool) -> Scope:
    if sys.platform == "darwin":
        if system:
            raise GuardError(
                "on macOS the service of a machine is not installed by this version",
                hint="its property list is in launchd/, see README.md",
            )
        return Scope.AGENT
    return Scope.SYSTEM if system else Scope.USER


def _program() -> str:
    try:
        return stable_program()
    except GuardError:
        return "mcpguard"


def _runtime(scope: Scope) -> str:
    """Directory of the sockets; systemd's own word for it where that is the same."""
    ours = str(paths.runtime_dir())
    return "%t/mcpguard" if scope is Scope.USER and ours == f"/run/user/{os.getuid()}/mcpguard" else ours


def _environment() -> dict[str, str]:
    """Where this user has put things: the daemon of a service would not know."""
    names = ("MCPGUARD_RUNTIME_DIR", "MCPGUARD_STATE_DIR")
    return {name: os.environ[name] for name in names if os.environ.get(name, "").startswith("/")}


def _directory(scope: Scope) -> Path:
    if scope is Scope.SYSTEM:
        return Path("/etc")
    if scope is Scope.AGENT:
        return Path(home()) / "Library/LaunchAgents"
    config = os.environ.get("XDG_CONFIG_HOME", "")
    return Path(config if config.startswith("/") else f"{home()}/.config") / "systemd/user"


def _require_fit(service: Service) -> None:
    """Refuse what would not work, or would let others run what they like as everybody's service."""
    if service.scope is not Scope.SYSTEM or not service.asked:
        return
    if os.geteuid() != 0:
        raise PeerError(
            "only root installs a service for everybody", hint="sudo mcpguard daemon install --system"
        )
    if why := serviceprogram.fault(stable_program()):
        raise PeerError(
            f"this mcpguard cannot serve everybody: {why}",
            hint="install it for everybody, as root: python3 -m venv /opt/mcpguard && /opt/mcpguard/bin/pip "
            "install mcpguard && /opt/mcpguard/bin/mcpguard daemon install --system",
        )


def _end_others(scope: Scope) -> None:
    """End a daemon on demand that has nothing to do: the manager's sockets take the place of its own.

    Raises:
        DaemonError: It has servers.
    """
    if scope is Scope.SYSTEM or not paths.admin_socket().exists() or servicemanager.listens(scope):
        return
    try:
        connections = client.request({"verb": "status"})["connections"]
    except DaemonError:
        return  # none runs
    if connections:
        raise DaemonError(
            f"a daemon started on demand has {how_many(len(connections), 'connection')}, which would be lost",
            hint="close their hosts, or: mcpguard daemon stop; then install again",
        )
    client.request({"verb": "stop"})
