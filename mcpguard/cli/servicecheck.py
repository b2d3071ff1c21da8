"""Is the daemon a service, and as this mcpguard would have it? A check of `mcpguard doctor`.

A service that is not installed is fine: the first `mcpguard run` starts the daemon.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from typing import Final

from mcpguard import __version__
from mcpguard.cli import serviceplan
from mcpguard.cli.checked import Finding, bad, note, ok
from mcpguard.cli.serviceplan import AWAY, Installing
from mcpguard.errors import GuardError
from mcpguard.system import servicemanager, unitfiles
from mcpguard.system.program import stable_program
from mcpguard.system.unitfiles import Standing

_INSTALL: Final = "mcpguard daemon install"


def service() -> Iterator[Finding]:
    """Installed or not; if it is, whether it starts this program, listens, and will after the next start."""
    try:
        change = serviceplan.installing(serviceplan.planned(program=stable_program()))
    except GuardError as error:
        yield note("service", error.message, error.hint)
        return
    if all(how is Standing.MISSING for how in change.before.values()):
        yield ok("service", f"not installed, and need not be: {_without(change)}")
        return
    found = [*_files(change), *_manager(change)]
    yield from found or [ok("service", f"installed in {change.service.directory}, and its manager listens")]


def _without(change: Installing) -> str:
    more = f"; {_INSTALL} makes it one" if change.answers else f" ({AWAY[change.service.scope]})"
    return f"the first mcpguard run starts the daemon{more}"


def _files(change: Installing) -> Iterator[Finding]:
    """What is wrong with what stands there."""
    mend = functools.partial(serviceplan.install, change)
    directory = change.service.directory
    missing = [name for name, how in change.before.items() if how is Standing.MISSING]
    if missing:
        yield bad("service", f"{directory}: {', '.join(missing)} are missing", _INSTALL, mend)
    older = [name for name, how in change.before.items() if how is Standing.OLDER]
    if not older:
        return
    data = {name: unitfiles.found(directory / name) or b"" for name in older}
    program = next((path for path in map(unitfiles.program_of, data.values()) if path), "")
    versions = {unitfiles.written_by(text) for text in data.values()} - {__version__}
    if program and not os.access(program, os.X_OK):
        yield bad("service", f"it starts {program}, which is not there", _INSTALL, mend)
    elif versions:
        words = f"it was written by mcpguard {', '.join(sorted(versions))}, and this is {__version__}"
        yield bad("service", words, _INSTALL, mend)
    elif program and program != stable_program():
        yield note("service", f"it starts {program}, and this is {stable_program()}", _INSTALL)
    else:
        yield bad("service", f"{', '.join(older)} is not as it would be written now", _INSTALL, mend)


def _manager(change: Installing) -> Iterator[Finding]:
    """What is wrong with who should listen."""
    scope = change.service.scope
    mend = functools.partial(serviceplan.install, change)
    if not change.answers:
        away = f"it is installed, and {AWAY[scope]}: the first mcpguard run starts the daemon"
        yield note("service", away, "log in where one does, or: mcpguard daemon uninstall")
    elif not servicemanager.listens(scope):
        states = servicemanager.states(scope)
        words = ", ".join(f"{name} is {states[name]}" for name in servicemanager.listening(scope))
        yield bad("service", f"it does not listen: {words}", _INSTALL, mend)
    elif not servicemanager.enabled(scope):
        yield bad("service", "it listens now, and not after the next start", _INSTALL, mend)
