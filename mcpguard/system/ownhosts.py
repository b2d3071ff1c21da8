"""Which agent hosts does this user have that nobody else knows of?

One file, `hosts.toml` in the configuration folder of mcpguard:

    [[host]]
    name    = "my-agent"                 # as policy calls it
    title   = "My Agent"                 # as people do; left out: the name
    file    = "~/.my-agent/servers.json"
    format  = "json"                     # json | jsonc | toml | yaml
    servers = ["mcpServers"]             # the path to the object or list of servers; "*" is every member
    restart = true                       # whether it has to be started again to see a change
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import platformdirs

from mcpguard.errors import ConfigError
from mcpguard.hosts.catalogue import Mark
from mcpguard.hosts.entries import Dialect
from mcpguard.hosts.places import Place, Scope, of_hosts
from mcpguard.system import configfile

_FILE: Final = "hosts.toml"


class _Host(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    file: str
    format: Dialect = Dialect.JSON
    servers: tuple[str, ...] = ("mcpServers",)
    title: str = ""
    restart: bool = True


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    host: tuple[_Host, ...] = ()


def config_dir() -> Path:
    """Where a person writes what mcpguard should know."""
    return platformdirs.user_config_path("mcpguard", appauthor=False)


def own_places(folder: Path | None = None) -> list[Place]:
    """The files of hosts that the user has written down; none if nothing was.

    Raises:
        ConfigError: What was written down is wrong.
    """
    path = (folder or config_dir()) / _FILE
    found = configfile.read(path)
    if found is None:
        return []
    try:
        written = msgspec.convert(tomllib.loads(found.data.decode()), _File)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise ConfigError(str(error).lower(), file=str(path)) from error
    for host in written.host:
        if not host.file.startswith(("~/", "/")):
            raise ConfigError(f"the file of {host.name!a} has to begin with ~/ or /", file=str(path))
    return [
        Place(
            host.name,
            host.title or host.name,
            host.file,
            host.file,
            "",
            host.format,
            (host.servers,),
            mark=Mark.RECALLED,
            restart=host.restart,
        )
        for host in written.host
    ]


def places(names: tuple[str, ...] = (), scope: Scope = Scope.USER) -> Iterator[Place]:
    """The files of these hosts, or of all: those that are known, and those of the user.

    Raises:
        ConfigError: What the user has written down is wrong.
    """
    yield from of_hosts(names, scope)
    if scope is Scope.USER:
        yield from (place for place in own_places() if not names or place.host in names)


def titles() -> dict[str, str]:
    """What people call each host, by name.

    Raises:
        ConfigError: What the user has written down is wrong.
    """
    return {place.host: place.title for scope in Scope for place in places(scope=scope)}
