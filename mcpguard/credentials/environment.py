"""The environment of a server: the host's, less what belongs to the host or to mcpguard alone.

With a manifest it is an allow list: `MINIMUM`, what the manifest passes on by name, and what it sets.

Decided:
    *A block list without a manifest*, because such a server must find what it found without mcpguard; policy says
    whether it may run at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

BLOCKED: Final = frozenset({
    # control channels of agent hosts: whoever holds them drives the host
    b"CLAUDE_CODE_MESSAGING_SOCKET",
    b"CLAUDE_CODE_MESSAGING_TOKEN",
    b"CLAUDE_CODE_SSE_PORT",
    b"VSCODE_IPC_HOOK_CLI",
    # addressed to the process that systemd started, not to its grandchildren
    b"NOTIFY_SOCKET",
    b"LISTEN_FDS",
    b"LISTEN_PID",
    b"LISTEN_FDNAMES",
    b"WATCHDOG_PID",
    b"WATCHDOG_USEC",
})  # fmt: skip
"""Names that a server never gets."""

BLOCKED_PREFIXES: Final = (b"MCPGUARD_",)
"""Prefixes of names that a server never gets."""


MINIMUM: Final = frozenset({
    b"HOME", b"LOGNAME", b"USER", b"SHELL", b"PATH", b"TERM", b"TMPDIR", b"TZ", b"LANG", b"LC_ALL", b"LC_CTYPE",
})  # fmt: skip
"""Names that every server gets from its host, if the host has them: without these, ordinary programs do not run."""


def for_manifest(
    environment: Iterable[bytes], passed: Iterable[str], fixed: Mapping[str, str]
) -> list[bytes]:
    """`NAME=value` entries of a server that a manifest describes.

    Args:
        environment: The host's entries.
        passed: Names that the manifest passes on, over and above `MINIMUM`; one that is blocked stays out.
        fixed: What the manifest sets, which wins over what the host has.
    """
    wanted = MINIMUM | {name.encode() for name in passed}
    ours = {name.encode(): value.encode() for name, value in fixed.items()}
    kept: dict[bytes, bytes] = {}
    for entry in environment:
        name, _, value = entry.partition(b"=")
        if name in wanted and name not in ours and not _blocked(name):
            kept[name] = value
    return [name + b"=" + value for name, value in (kept | ours).items()]


def for_server(environment: Iterable[bytes]) -> list[bytes]:
    """`NAME=value` entries that a server gets, in the given order."""
    return [entry for entry in environment if not _blocked(entry.partition(b"=")[0])]


def _blocked(name: bytes) -> bool:
    return name in BLOCKED or name.startswith(BLOCKED_PREFIXES)
