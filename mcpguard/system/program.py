"""Where is mcpguard, for others to start it?

Rule: the path is absolute, and stays where it is when mcpguard is upgraded, if there is such a path: hosts that a
desktop starts have no PATH to speak of.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from mcpguard.errors import GuardError
from mcpguard.hosts.wrapping import PROGRAM


def stable_program() -> str:
    """The path that a configuration may name: of those that lead to this program, the one that people know.

    Raises:
        GuardError: It is not installed as a program.
    """
    ours = Path(sys.executable).parent / PROGRAM
    known = [
        Path.home() / ".local/bin" / PROGRAM,
        Path("/usr/local/bin") / PROGRAM,
        Path("/usr/bin") / PROGRAM,
    ]
    if (found := shutil.which(PROGRAM)) is not None:
        known.append(Path(os.path.abspath(found)))  # noqa: PTH100 (links stay: they are what is stable)
    for path in known:
        if _is_executable(path) and path.resolve() == ours.resolve():
            return str(path)
    if _is_executable(ours):
        return str(ours)
    raise GuardError(
        "mcpguard is not installed as a program", hint="pipx install mcpguard, or uv tool install mcpguard"
    )


def _is_executable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)
