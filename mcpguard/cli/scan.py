"""`mcpguard scan`: every server in every host of this user, and what to look at.

Reads configurations and nothing else: nothing is started, nothing is asked of a network.

Exit codes: 0 shown; 2 usage; 6 a configuration cannot be read.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import click

from mcpguard.cli import client
from mcpguard.cli.main import CONFIG
from mcpguard.cli.terminal import errors_told, print_json, say
from mcpguard.errors import GuardError
from mcpguard.hosts.inventory import Remark, Server, remarks, without_secrets
from mcpguard.hosts.places import Scope
from mcpguard.model import JsonObject, how_many
from mcpguard.system.hostfiles import HostFile, installed, present
from mcpguard.system.ownhosts import places

_WIDTH: Final = 60


@click.command()
@click.option("--project", default=".", metavar="DIR", help="The folder whose own files are looked at, too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def scan(project: str, *, as_json: bool) -> None:
    """List every server in every host, behind mcpguard or not, and what to look at.

    Nothing is started or changed.
    """
    with errors_told(as_json=as_json):
        files = here(Path(project).resolve())
        every = [server for file in files for server in file.servers]
        found = remarks(every)
        pinned = _pinned()
    if as_json:
        print_json(_told(files, found, pinned))
    else:
        for line in lines(files, found, pinned):
            say(line)
    if any(file.fault for file in files):
        sys.exit(CONFIG)


def here(project: Path) -> list[HostFile]:
    """The configurations of the user, and those of a folder."""
    files = [*present(places()), *present(places(scope=Scope.PROJECT), project)]
    first: dict[Path, HostFile] = {}
    for file in files:
        first.setdefault(file.path, file)  # in the home itself, files of the user are not those of a folder
    return list(first.values())


def lines(files: list[HostFile], found: list[Remark], pinned: dict[str, str]) -> list[str]:
    """The inventory for a person."""
    shown = []
    for file in files:
        shown.append(f"{file.place.title}  {file.path}{f':{file.line}' if file.line else ''}")
        if file.fault:
            shown.append(f"  cannot be read: {file.fault}")
        elif not file.servers:
            shown.append("  no servers")
        shown += [f"  {server_in_a_line(server, pinned)}" for server in file.servers]
    if not files:
        return [
            "no host of this user has a configuration with servers",
            f"looked for: {', '.join(_titles())}",
        ]
    if found:
        shown += ["", "to look at:"]
        shown += [f"  {remark.file}:{remark.line}: {remark.server}: {remark.words}" for remark in found]
    every = [server for file in files for server in file.servers if server.entry.starts]
    wrapped = sum(server.wrapped for server in every)
    shown += ["", f"{how_many(len(every), 'server')} started by hosts, {wrapped} of them behind mcpguard"]
    left = any(server.entry.editable and not server.wrapped for server in every)
    return [*shown, "next: mcpguard init"] if left else shown


def server_in_a_line(server: Server, pinned: dict[str, str]) -> str:
    """A server, whether mcpguard is before it, and what it starts."""
    entry = server.entry
    if not entry.starts:
        what = f"remote, {without_secrets(entry.url, ())}" if entry.url else entry.form.value
        return f"-         {entry.name:<20}  {what}"[:_WIDTH]
    state = "guarded" if server.wrapped else "open"
    words = without_secrets(" ".join(server.argv), [entry]) or "as registered"
    level = pinned.get(entry.name, "-") if server.wrapped else "-"
    off = "" if entry.enabled else "  (switched off)"
    return f"{state:<8}  {entry.name:<20}  {level:<4}  {words if len(words) <= _WIDTH else words[:_WIDTH] + '…'}{off}"


def _titles() -> list[str]:
    return sorted({place.title for place in places()})


def _pinned() -> dict[str, str]:
    """Levels of the registered servers, by name; nothing if no daemon tells, which is not started for this."""
    try:
        known = client.request({"verb": "servers"})["servers"]
    except GuardError:
        return {}
    return {str(one["name"]): str(one["pin"]) for one in known}


def _told(files: list[HostFile], found: list[Remark], pinned: dict[str, str]) -> JsonObject:
    return {
        "ok": not any(file.fault for file in files),
        "files": [file_told(file, pinned) for file in files],
        "remarks": [
            {"kind": one.kind, "file": one.file, "line": one.line, "server": one.server, "words": one.words}
            for one in found
        ],
    }


def file_told(file: HostFile, pinned: dict[str, str]) -> JsonObject:
    """A configuration and its servers for a script."""
    return {
        "host": file.place.host,
        "title": file.place.title,
        "file": str(file.path),
        "scope": file.place.scope.value,
        "installed": installed(file.place),
        "fault": file.fault,
        "line": file.line,
        "servers": [
            {
                "name": server.entry.name,
                "line": server.entry.line,
                "form": server.entry.form.value,
                "argv": [without_secrets(word, [server.entry]) for word in server.argv],
                "url": without_secrets(server.entry.url, ()),
                "enabled": server.entry.enabled,
                "wrapped": server.wrapped,
                "pin": pinned.get(server.entry.name, "") if server.wrapped else "",
            }
            for server in file.servers
        ],
    }
