"""What the sessions of a daemon have in common: the book of approvals, and what each run of a host has done."""

from __future__ import annotations

from collections.abc import Callable
from secrets import token_bytes

from mcpguard.approvals.book import Book
from mcpguard.audit.marks import Marks
from mcpguard.daemon.instances import Instances
from mcpguard.daemon.party import Party
from mcpguard.daemon.registry import Registered
from mcpguard.daemon.secrets import Secrets
from mcpguard.gate.commands import Finding
from mcpguard.gate.schemas import PinnedSchemas
from mcpguard.gate.shared import Manners, Shared
from mcpguard.model import Json


class Company:
    """Hands every session what it shares with the others.

    Args:
        book: Tickets and grants.
        instances: The runs of hosts.
        changed: Told that the book has changed.
        keep: Seals arguments that a rule wants recorded.
        secrets: Gives secrets to servers and to calls; None where there are none.
    """

    def __init__(
        self,
        book: Book,
        instances: Instances,
        changed: Callable[[], None],
        keep: Callable[[Json, Marks | None], bytes] | None = None,
        secrets: Secrets | None = None,
    ) -> None:
        self._secrets = secrets
        self._keep = keep
        self._book = book
        self._instances = instances
        self._changed = changed
        self._seal = token_bytes(32)

    def shared(
        self, ident: str, host: Party, found: Registered | None, manners: Manners, server: str = ""
    ) -> Shared:
        """What one connection shares. A host without a handle is a run of its own on each connection."""
        instance = host.caller.instance or f"connection {ident}"
        return Shared(
            book=self._book,
            circumstances=self._instances.of(instance, host.login),
            conn=ident,
            instance=instance,
            host=host.evidence(),
            manifest=found.verified.digest if found else "",
            definitions=found.pins.tools if found else {},
            schemas=PinnedSchemas(found.definitions.tools) if found else None,
            seal=self._seal,
            manners=manners,
            keep=self._keep,
            filler=self._secrets.filler(server) if self._secrets else None,
            given=self._secrets.of(ident).words if self._secrets else {},
        )

    def outside(self, noticed: Callable[[tuple[Finding, ...]], None]) -> Reach:
        """What the commands of one connection's gate reach."""
        return Reach(noticed, self._changed, self._remember)

    def _remember(self) -> None:
        self._instances.remember(now=True)


class Reach:
    """What a gate's commands reach (`session.Outside`)."""

    def __init__(
        self,
        noticed: Callable[[tuple[Finding, ...]], None],
        announce: Callable[[], None],
        remember: Callable[[], None],
    ) -> None:
        self.noticed = noticed
        self.announce = announce
        self.remember = remember
