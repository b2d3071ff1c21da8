"""`mcpguard daemon install`, `uninstall`, `status`: the daemon as a service of systemd or launchd.

Exit codes: 0 done, or it is installed and listens; 1 the manager refused; 3 it is not installed, or does not listen;
5 the program is not fit for everybody's service; 6 a file is somebody else's, nothing was written.

Decided:
    *A daemon that was started on demand is ended before the manager listens*, if it has nothing to do, because both
    would serve the same path; rejected: ending one that has servers, which its hosts would lose.
"""

from __future__ import annotations

import sys

import click

from mcpguard import __version__
from mcpguard.cli import serviceplan
from mcpguard.cli.main import NOT_RUNNING
from mcpguard.cli.serviceplan import AWAY, Installing, Service
from mcpguard.cli.terminal import errors_told, print_json, say, tell
from mcpguard.system import servicemanager, unitfiles
from mcpguard.system.program import stable_program
from mcpguard.system.unitfiles import Standing

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
        service = serviceplan.planned(system=system, root=root, program=stable_program())
        change = serviceplan.installing(service)
        if not dry_run:
            serviceplan.install(change)
        _told_of_install(change, dry_run=dry_run, as_json=as_json)


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
        service = serviceplan.planned(system=system, root=root)
        unitfiles.refuse_others(service.directory, service.units)
        there = [unit for unit in service.units if service.standing()[unit.name] is not Standing.MISSING]
        first, last = servicemanager.to_remove(service.scope)
        answers = service.answering()
        gone = [service.directory / unit.name for unit in there]
        if there and not dry_run:
            gone = serviceplan.remove(service, there, answers=answers)
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
        service = serviceplan.planned(system=system, root=root)
        found = service.standing()
        answers = service.answering()
        states = servicemanager.states(service.scope) if answers else {}
        versions = {
            name: unitfiles.written_by(unitfiles.found(service.directory / name) or b"") for name in found
        }
        installed = all(how in (Standing.CURRENT, Standing.OLDER) for how in found.values())
        listens = answers and servicemanager.listens(service.scope)
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


# --- saying it ---------------------------------------------------------------------------------------------


def _told_of_install(change: Installing, *, dry_run: bool, as_json: bool) -> None:
    service, before, answers = change.service, change.before, change.answers
    words = servicemanager.shown(change.commands)
    if as_json:
        files = {str(service.directory / unit.name): unit.data.decode() for unit in service.units}
        told = {
            "written": list(map(str, change.written)),
            "files": files,
            "commands": words,
            "asked": answers,
        }
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
        tell("nobody was asked (--root)" if not service.asked else f"{AWAY[service.scope]}; where one does:")
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
        lines.append(AWAY[service.scope])
    return lines
