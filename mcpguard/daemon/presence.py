"""How an approver shows to be a person: none of the ways is set up."""

from __future__ import annotations

from mcpguard.daemon.control import Caller
from mcpguard.errors import PeerError


class Presence:
    """The ways that are set up."""

    def methods(self) -> list[str]:
        """Their names."""
        return []

    def challenge(self, ticket: str) -> str:
        """What is to be answered."""
        return ticket

    async def check(self, ticket: str, proof: str, caller: Caller) -> str:
        """How presence was shown; here, never.

        Raises:
            PeerError: It was not.
        """
        raise PeerError(
            f"{caller.words} has shown no presence for {ticket} by {proof.partition(' ')[0][:20]!a}"
        )
