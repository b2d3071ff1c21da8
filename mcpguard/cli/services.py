"""`mcpguard daemon install`, `uninstall`, `status`: the daemon as a service of systemd or launchd.

Exit codes: 0 done, or it is installed and listens; 1 the manager refused; 3 it is not installed, or does not listen;
5 the program is not fit for everybody's service; 6 a file is somebody else's, nothing was written.

Decided:
    *A daemon that was started on demand is ended before the manager listens*, if it has nothing to do, because both
    would serve the same path; rejected: ending one that has servers, which its hosts would lose.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

import click
import msgspec

from mcpguard import __version__
from mcpguard.cli import client
from mcpguard.cli.main import NOT_RUNNING
from mcpguard.cli.terminal import errors_told, print_json, say, tell
from mcpguard.errors import DaemonError, GuardError, PeerError
from mcpguard.system import commonplace, paths, servicemanager, unitfiles
from mcpguard.system.files import private_directory
from mcpguard.system.program import stable_program
from mcpguard.system.rundir import home
from mcpguard.system.unitfiles import Filling, Scope, Standing, Unit

_AWAY: Final = {
    Scope.USER: "no user manager of systemd answers",
    Scope.SYSTEM: "systemd does not answer",
    Scope.AGENT: "launchd does not answer",
}
_system = click.option(
    "--system", is_flag=True, help="For everybody on this machine, under a user of its own."
)
_root = click.option(
    "--root",
    type=click.Path(file_okay=False),
    metavar="DIR",
    help="For an image below DIR: no manager is asked.",
)
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


class Service(msgspec.Struct, frozen=True):
    """A service as it is to be: whose, where its files are, and their text."""

    scope: Scope
    directory: Path
    units: list[Unit]
    asked: bool

    def standing(self) -> dict[str, Standing]:
        """What stands where its files belong."""
        return {unit.name: unitfiles.standing(self.directory, unit) for unit in self.units}


@click.command()
@_system
@_root
@click.option("--dry-run", is_flag=True, help="Show what would be written and asked, and do nothing.")
@_json
def install(system: bool, root: str | None, dry_run: bool, as_json: bool) -> None:
    """Have the system's service manager listen, and start the daemon when a host connects.

    Writes units to ~/.config/systemd/user, with --system to /etc/systemd/system; on macOS an agent to
    ~/Library/LaunchAgents. Done again, it replaces what an earlier version wrote, and nothing else.
    """
    with errors_told(as_json=as_json):
        service = _service(system=system, root=root, program=stable_program())
        unitfiles.refuse_others(service.directory, service.units)
        before = service.standing()
        commands = servicemanager.to_install(service.scope, service.directory)
        answers = service.asked and servicemanager.answering(service.scope)
        if not dry_run:
            _require_fit(service)
            if answers:
                _end_others(service.scope)
            _write(service, before)
            if answers:
                servicemanager.run(commands)
        _told_of_install(service, before, commands, answers=answers, dry_run=dry_run, as_json=as_json)


@click.command()
@_system
@_root
@click.option("--dry-run", is_flag=True, help="Show what would be removed and asked, and do nothing.")
@_json
def uninstall(system: bool, root: str | None, dry_run: bool, as_json: bool) -> None:
    """Take away what `install` has written, and nothing else; servers of the service end.

    Policy, audit log and every other file stay.
    """
    with errors_told(as_json=as_json):
        service = _service(system=system, root=root)
        unitfiles.refuse_others(service.directory, service.units)
        there = [unit for unit in service.units if service.standing()[unit.name] is not Standing.MISSING]
        first, last = servicemanager.to_remove(service.scope)
        answers = service.asked and servicemanager.answering(service.scope)
        gone = [service.directory / unit.name for unit in there]
        if there and not dry_run:
            if answers:
                servicemanager.run(first)
            gone = unitfiles.remove(service.directory, there)
            if answers:
                servicemanager.run(last)
        commands = servicemanager.shown([*first, *last] if there else [])
        if as_json:
            print_json({"ok": True, "removed": list(map(str, gone)), "commands": commands, "asked": answers})
            return
        verb = "would be removed" if dry_run else "removed"
        say(*(f"{verb:<9}  {path}" for path in gone))
        if not gone:
            tell("nothing is installed here")
        _told_of_commands(service, commands, answers=answers, dry_run=dry_run)


@click.command()
@_system
@_root
@_json
def status(system: bool, root: str | None, as_json: bool) -> None:
    """Is the service installed, by which version, and does it listen? Exits 3 if it does not."""
    with errors_told(as_json=as_json):
        service = _service(system=system, root=root)
        found = service.standing()
        answers = service.asked and servicemanager.answering(service.scope)
        states = servicemanager.states(service.scope) if answers else {}
        versions = {
            name: unitfiles.written_by(unitfiles.found(service.directory / name) or b"") for name in found
        }
        installed = all(how in (Standing.CURRENT, Standing.OLDER) for how in found.values())
        listens = answers and all(
            states[name] == "active" for name in servicemanager.listening(service.scope)
        )
        if as_json:
            files = {
                str(service.directory / name): {"state": how.name.lower(), "version": versions[name]}
                for name, how in found.items()
            }
            print_json(
                {"ok": True, "installed": installed, "listens": listens, "files": files, "manager": states}
            )
        else:
            say(*_lines(service, found, versions, states, answers=answers))
    if not (installed and (listens or not service.asked)):
        sys.exit(NOT_RUNNING)


# --- what and where ----------------------------------------------------------------------------------------


def _service(*, system: bool, root: str | None, program: str = "") -> Service:
    """The service that is meant. Without a program, as it would be for the one that is installed, if one is."""
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


# --- doing it ----------------------------------------------------------------------------------------------


def _require_fit(service: Service) -> None:
    """Refuse what would not work, or would let others run what they like as everybody's service."""
    if service.scope is not Scope.SYSTEM or not service.asked:
        return
    if os.geteuid() != 0:
        raise PeerError(
            "only root installs a service for everybody", hint="sudo mcpguard daemon install --system"
        )
    if why := commonplace.fault(stable_program()):
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
    if scope is Scope.SYSTEM or not paths.admin_socket().exists():
        return
    states = servicemanager.states(scope)
    if any(states[name] == "active" for name in servicemanager.listening(scope)):
        return
    try:
        connections = client.request({"verb": "status"})["connections"]
    except DaemonError:
        return  # none runs
    if connections:
        raise DaemonError(
            f"{len(connections)} servers run on a daemon that was started on demand, and would be lost",
            hint="close their hosts, or: mcpguard daemon stop; then install again",
        )
    client.request({"verb": "stop"})


def _write(service: Service, before: dict[str, Standing]) -> None:
    if service.scope is Scope.AGENT and service.asked:
        private_directory(paths.runtime_dir())  # launchd makes no folders
    for unit in service.units:
        if before[unit.name] is not Standing.CURRENT:
            unitfiles.write(service.directory, unit)


# --- saying it ---------------------------------------------------------------------------------------------


def _told_of_install(
    service: Service,
    before: dict[str, Standing],
    commands: list[servicemanager.Command],
    *,
    answers: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    words = servicemanager.shown(commands)
    written = [service.directory / name for name, how in before.items() if how is not Standing.CURRENT]
    if as_json:
        files = {str(service.directory / unit.name): unit.data.decode() for unit in service.units}
        told = {"written": list(map(str, written)), "files": files, "commands": words, "asked": answers}
        print_json({"ok": True, "dry_run": dry_run, **told})
        return
    for unit in service.units:
        same = before[unit.name] is Standing.CURRENT
        verb = "as it is" if same else "would be written" if dry_run else "written"
        say(f"{verb:<9}  {service.directory / unit.name}")
        if dry_run and not same:
            say(*(f"    {line}" for line in unit.data.decode().splitlines()))
    _told_of_commands(service, words, answers=answers, dry_run=dry_run)
    if answers and Standing.OLDER in before.values() and not dry_run:
        restart = servicemanager.shown([servicemanager.to_restart(service.scope)])[0]
        tell(f"a daemon that runs goes on as it is; to have it start anew: {restart}")


def _told_of_commands(service: Service, commands: list[str], *, answers: bool, dry_run: bool) -> None:
    if not commands:
        return
    if answers and not dry_run:
        say(*(f"{'done':<9}  {command}" for command in commands))
        return
    if not answers:
        tell("nobody was asked (--root)" if not service.asked else f"{_AWAY[service.scope]}; where one does:")
    say(*(f"{'to do':<9}  {command}" for command in commands))


def _lines(
    service: Service,
    found: dict[str, Standing],
    versions: dict[str, str],
    states: dict[str, str],
    *,
    answers: bool,
) -> list[str]:
    lines = []
    for name, how in found.items():
        words = how.value if how is not Standing.CURRENT else "as this version writes it"
        if how is Standing.OLDER:
            words = (
                f"of mcpguard {versions[name]}, and not as this one ({__version__}) writes it: install again"
            )
        lines.append(f"{service.directory / name}  {words}")
    lines += [f"{name}  {state}" for name, state in states.items()]
    if service.asked and not answers:
        lines.append(_AWAY[service.scope])
    return lines
