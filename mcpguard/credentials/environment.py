"""The environment of a server: the host's, less what belongs to the host or to mcpguard alone.

Decided:
    *A block list for now*, because a server without a manifest must find what it found without mcpguard. A
    manifest will turn this into an allow list.
"""

from __future__ import annotations

from collections.abc import Iterable
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


def for_server(environment: Iterable[bytes]) -> list[bytes]:
    """`NAME=value` entries that a server gets, in the given order."""
    return [entry for entry in environment if not _blocked(entry.partition(b"=")[0])]


def _blocked(name: bytes) -> bool:
    return name in BLOCKED or name.startswith(BLOCKED_PREFIXES)
