"""May the service of a machine, which serves everybody, run this program? Who else could change it, who can reach it?

Rule: of the program, its interpreter and its modules, and of every folder above them, root is the owner, nobody else
may write, and everybody may read; none is where a hardened service sees nothing (homes, temporary folders).
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import mcpguard

_HIDDEN: Final = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108 (refused, not used)


def fault(program: str, *, owner: int = 0) -> str:
    """Why not, as a sentence; empty if it may. `owner`: whose it must be."""
    for path in (Path(program), Path(sys.executable), Path(mcpguard.__file__).parent):
        for place in dict.fromkeys(_places(path)):
            if why := _fault_of(place, owner):
                return f"{place} {why}"
    return ""


def _places(path: Path) -> Iterator[Path]:
    """A file and what is above it, by every name on the way through links."""
    seen: set[Path] = set()
    while path not in seen:
        seen.add(path)
        yield path
        yield from path.parents
        if path.is_symlink():
            path = Path(os.path.normpath(path.parent / path.readlink()))
    resolved = path.resolve()
    yield resolved
    yield from resolved.parents


def _fault_of(place: Path, owner: int) -> str:
    if str(place) in _HIDDEN:
        return "is where the service sees nothing"
    info = place.lstat()
    if info.st_uid not in {owner, 0}:
        return f"belongs to uid {info.st_uid}, who could put another program there"
    if stat.S_ISLNK(info.st_mode):
        return ""
    if info.st_mode & 0o022:
        return "can be written to by others"
    wanted = 0o005 if stat.S_ISDIR(info.st_mode) else 0o004
    return "" if info.st_mode & wanted == wanted else "cannot be read by others"
