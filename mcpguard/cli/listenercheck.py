"""Are the listeners open that `serve.toml` names, and is `auth.toml` valid? A check of `mcpguard doctor`.

Not checked here: whether anybody can reach a listener, and whether issuers and plug-ins answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from mcpguard.cli import client
from mcpguard.cli.checked import Finding, bad, note, ok
from mcpguard.errors import ConfigError, DaemonError
from mcpguard.system import paths
from mcpguard.system.authfile import AuthFile
from mcpguard.system.servefile import ServeFile

_RELOAD: Final = "mcpguard serve --reload"


def listeners() -> Iterator[Finding]:
    """What is wrong with files is said whether a daemon runs or not; which listeners are open, the daemon says."""
    try:
        AuthFile(paths.auth_dir()).load()
    except ConfigError as error:
        yield bad(
            "auth", f"no peer of a listener is let in: {error.sentence()}", "mend the file: it is read again"
        )
    try:
        wanted = [each.name for each in ServeFile(paths.serve_dir()).load()]
    except ConfigError as error:
        yield bad(
            "listeners", f"they stay as they were: {error.sentence()}", f"mend the file, then: {_RELOAD}"
        )
        return
    try:
        known = client.request({"verb": "listeners"})["listeners"]
    except DaemonError:
        if wanted:
            yield note(
                "listeners", f"{', '.join(wanted)}: not open, for no daemon runs", "mcpguard daemon install"
            )
        return
    for each in known:
        if each["trouble"]:
            yield bad("listeners", f"{each['name']}: {each['trouble']}", f"mend it, then: {_RELOAD}")
    for name in wanted:
        if name not in {each["name"] for each in known}:
            yield note("listeners", f"{name} stands in serve.toml and is not open", _RELOAD)
    if fine := [each["name"] for each in known if not each["trouble"]]:
        yield ok("listeners", f"open: {', '.join(fine)}")
