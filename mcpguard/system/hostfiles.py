"""Which configuration files of agent hosts does this user have, and what do they start?"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from mcpguard.errors import ConfigError
from mcpguard.hosts.inventory import Server
from mcpguard.hosts.places import Place, Scope, path_of
from mcpguard.hosts.wrapping import File
from mcpguard.system import configfile
from mcpguard.system.configfile import Found


class HostFile(msgspec.Struct, frozen=True):
    """A configuration file that is there.

    Attributes:
        place: What it is.
        path: Where it is.
        found: What was read; None if it could not be.
        servers: What it starts.
        fault: Why it could not be read, or is not what its host reads; empty if all is well.
        line: Where that is, from 1; 0 if it is about the whole file.
    """

    place: Place
    path: Path
    found: Found | None = None
    servers: tuple[Server, ...] = ()
    fault: str = ""
    line: int = 0

    def file(self) -> File:
        """The same for those who edit it; only of one that was read."""
        data = self.found.data if self.found else b""
        return File(data, str(self.path), self.place.dialect, self.place.paths)


def present(places: Iterable[Place], folder: Path | None = None) -> Iterator[HostFile]:
    """The files of these places that are there; those of projects in `folder`."""
    for place in places:
        for path in _paths(place, folder):
            read = look(place, path)
            if read is not None:
                yield read


def place_of(path: Path, places: Iterable[Place]) -> Place | None:
    """Which of these places a file is, by where it is."""
    for place in places:
        text, pattern = path_of(place, sys.platform, str(Path.home()), os.environ)
        parts = len(Path(text, pattern).parts)
        folder = (
            path.parents[parts - 1] if place.scope is Scope.PROJECT and parts <= len(path.parents) else None
        )
        if path in _paths(place, folder):
            return place
    return None


def look(place: Place, path: Path) -> HostFile | None:
    """One file; None if it is not there."""
    try:
        found = configfile.read(path)
    except ConfigError as error:
        return HostFile(place, path, fault=error.message)
    if found is None:
        return None
    try:
        entries = File(found.data, str(path), place.dialect, place.paths).entries()
    except ConfigError as error:
        return HostFile(place, path, found, fault=error.message, line=error.line)
    return HostFile(place, path, found, tuple(Server(place, str(path), entry) for entry in entries))


def installed(place: Place) -> bool:
    """Whether the program of a host is on PATH; a host that is none, or was started from a menu, need not be."""
    return bool(place.program) and shutil.which(place.program) is not None


def _paths(place: Place, folder: Path | None) -> Iterator[Path]:
    text, pattern = path_of(place, sys.platform, str(Path.home()), os.environ)
    if not text or (place.scope is Scope.PROJECT and folder is None):
        return
    path = folder / text if folder is not None and place.scope is Scope.PROJECT else Path(text)
    if pattern:
        yield from sorted(path.glob(pattern))
    else:
        yield path
