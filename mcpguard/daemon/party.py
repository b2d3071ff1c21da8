"""Who is on the host's side of a session, as a session needs to know it: a local host or a peer of a listener.

What is known of either is of another kind: a process and its programs (`daemon.callers`), or a credential
(`daemon.networkparty`). Sessions, records, quarantine and approvals see this only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from mcpguard.model import Caller, JsonObject


class Party(Protocol):
    """One side of a session. The session closes it."""

    caller: Caller

    @property
    def name(self) -> str:
        """The name of the enrolled host that it is; empty if it is none."""

    @property
    def pid(self) -> int:
        """Its process id; 0 if nobody on this machine is known to be it. A name for people."""

    @property
    def handle(self) -> int:
        """What no other process of this boot has (inode of its pidfd); 0 if not known."""

    @property
    def uid(self) -> int:
        """The user whose sessions its own count among; -1 for nobody of this machine."""

    @property
    def login(self) -> str:
        """The login session that it is in; empty if it is in none that is known."""

    def evidence(self) -> JsonObject:
        """The members of every record of the session."""

    def recheck(self) -> str:
        """Empty while it is what it was found to be; else what has changed, a sentence."""

    def alive(self) -> bool:
        """Whether it may come back as the same: what is remembered of it is kept."""

    def watch(self, gone: Callable[[], None]) -> None:
        """Call `gone`, once, when it has ended."""

    def close(self) -> None:
        """Let go of it."""


class Courier(Protocol):
    """Who asked for a session, and hears how it goes: a shim, or a listener."""

    @property
    def descriptors(self) -> list[int]:
        """The host's ends of stdin, stdout and stderr, still owned by the courier."""

    def take(self) -> list[int]:
        """Take them over."""

    def say(self, text: str) -> None:
        """A sentence for a person."""

    def ready(self, *, look: bool = False) -> None:
        """The server runs. `look`: the host's side shall find out who adopts orphans."""

    def exit(self, code: int) -> None:
        """The server's exit code: the session is over."""

    def watch(
        self, term: Callable[[], None], gone: Callable[[], None], adopter: Callable[[int], None] = ...
    ) -> None:
        """Call `term` when the session was asked to end, `gone` when the courier is no more."""
