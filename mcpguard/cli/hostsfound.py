"""The hosts that are found on this machine by their configurations, for `mcpguard host list` and `show`.

They are found, and not trusted for that: a configuration says what a host would start, not who it is.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from mcpguard.cli.scan import file_told, server_in_a_line
from mcpguard.hosts.places import Place, path_of
from mcpguard.model import JsonObject
from mcpguard.system.hostfiles import HostFile, installed, present
from mcpguard.system.ownhosts import places


class FoundHost(msgspec.Struct, frozen=True):
    """A host of the list of known ones, or of the user's own.

    Attributes:
        name: As policy calls it.
        title: As people do.
        places: Where its configurations would be.
        files: Those that are there.
    """

    name: str
    title: str
    places: tuple[Place, ...]
    files: tuple[HostFile, ...]

    @property
    def here(self) -> bool:
        """Whether anything of it is on this machine."""
        return bool(self.files) or self.program != ""

    @property
    def program(self) -> str:
        """Its program, if that is on PATH."""
        return next((place.program for place in self.places if installed(place)), "")

    def told(self) -> JsonObject:
        """The same for a script."""
        return {
            "name": self.name,
            "title": self.title,
            "program": self.program,
            "files": [file_told(file, {}) for file in self.files],
        }


def found(names: tuple[str, ...] = ()) -> list[FoundHost]:
    """The hosts of these names, or all, in the order of the list.

    Raises:
        ConfigError: What the user has written down of hosts is wrong.
    """
    known: dict[str, list[Place]] = {}
    for place in places(names):
        known.setdefault(place.host, []).append(place)
    return [
        FoundHost(name, group[0].title, tuple(group), tuple(present(group))) for name, group in known.items()
    ]


def lines(hosts: list[FoundHost]) -> Iterator[str]:
    """One line for each configuration."""
    for host in hosts:
        for file in host.files:
            yield f"{host.name}  {file.path}  {_counted(file)}"
        if not host.files and host.program:
            yield f"{host.name}  no configuration with servers; {host.program} is on PATH"


def in_words(host: FoundHost) -> Iterator[str]:
    """Each configuration with its servers; where there is none, where it would be."""
    for file in host.files:
        yield f"file     {file.path}{f':{file.line}' if file.line else ''}: {_counted(file)}"
        yield from (f"  {server_in_a_line(server, {})}" for server in file.servers)
    if not host.files:
        where = [path_of(place, sys.platform, str(Path.home()), os.environ) for place in host.places]
        shown = [str(Path(path, pattern)) for path, pattern in where if path]
        yield f"file     none; looked for {', '.join(shown)}" if shown else "file     none on this system"


def _counted(file: HostFile) -> str:
    """What is in a configuration, in a few words."""
    if file.fault:
        return f"cannot be read: {file.fault}"
    started = [server for server in file.servers if server.entry.starts]
    guarded = sum(server.wrapped for server in started)
    words = f"{len(started)} server{'' if len(started) == 1 else 's'}, {guarded} guarded"
    remote = sum(bool(server.entry.url) for server in file.servers)
    return f"{words}, {remote} remote" if remote else words
