"""What a gate has in common with the other gates of its daemon, and who stands before it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from mcpguard.approvals.book import Book
from mcpguard.audit.marks import Marks
from mcpguard.gate.handles import Filler
from mcpguard.gate.schemas import PinnedSchemas
from mcpguard.model import Json, JsonObject
from mcpguard.policy.circumstances import Circumstances


class Manners(msgspec.Struct, frozen=True):
    """How people are asked about calls of this host.

    Attributes:
        timeout: Seconds until silence is a denial.
        in_band: Whether the host itself may put the question to its user.
    """

    timeout: float = 120.0
    in_band: bool = False


class Shared(msgspec.Struct, frozen=True):
    """One connection among those of a daemon.

    Attributes:
        book: Tickets and grants.
        circumstances: What this run of the host has done.
        conn: Short name of the connection.
        instance: The run of the host (`model.Caller.instance`).
        host: Evidence of who is calling, as records have it.
        manifest: Digest of the server's manifest; empty if it has none.
        definitions: Pinned digests of tools, by name; for what an approval is bound to.
        schemas: The pinned schemas; None if nothing is pinned.
        seal: Key of sealed states.
        manners: How people are asked.
        filler: Gives the values of secrets for handles in arguments; None where handles mean nothing.
        given: Secrets that the server was started with, by value, and what stands in their place in its messages;
            looked at anew when it is started again.
        keep: Seals arguments for a record, given what of them a schema marks; None where nothing is kept.
    """

    book: Book
    circumstances: Circumstances
    conn: str = ""
    instance: str = ""
    host: JsonObject = {}
    manifest: str = ""
    definitions: Mapping[str, str] = {}
    schemas: PinnedSchemas | None = None
    seal: bytes = b""
    manners: Manners = Manners()
    keep: Callable[[Json, Marks | None], bytes] | None = None
    filler: Filler | None = None
    given: Mapping[bytes, str] = {}


def alone() -> Shared:
    """What a gate shares that has no daemon around it: a book and circumstances of its own."""
    return Shared(Book(), Circumstances())
