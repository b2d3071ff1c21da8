"""All that a gate may ask for. The caller carries a list out in order and stops at the first that fails."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from mcpguard.model import Json, Side


class LookAgain(msgspec.Struct, frozen=True):
    """Make sure that the host is still the one that was attested, before anything after this command.

    If it is not, the caller drops the rest of this list and ends the connection: nobody is left to be answered.
    """


class Append(msgspec.Struct, frozen=True):
    """Write these record bodies before anything after this command.

    When that fails, the caller drops every later `Write` of this list and feeds `NotRecorded`, which answers with
    what may still be written. `durable`: they are on stable storage before anything after this command.
    """

    bodies: list[bytes]
    durable: bool = False


class Later(msgspec.Struct, frozen=True):
    """Write these record bodies with the next `Append`, or soon; nothing waits for them."""

    bodies: list[bytes]


class Write(msgspec.Struct, frozen=True):
    """Send bytes to one side: whole lines of our own encoding."""

    side: Side
    data: bytes


class Close(msgspec.Struct, frozen=True):
    """End the connection, both sides. `reason` is a sentence for the journal and for the host's stderr."""

    reason: str


class Finding(msgspec.Struct, frozen=True):
    """Something that a server said of itself and that is not what its manifest pins.

    Attributes:
        kind: `tools`, `prompts`, `resourceTemplates`, `instructions` or `serverInfo`.
        name: Tool or prompt name, or URI template; empty for the other two.
        fault: What is wrong, as the end of a sentence that begins with the definition; or that it is as pinned again.
        pinned: The pinned digest (for `serverInfo` the pinned name); empty if nothing is pinned.
        seen: The digest that was seen (for `serverInfo` the name); empty if none was taken.
        definition: What the server said, a copy; None if it is too large to be kept.
    """

    kind: str
    name: str
    fault: str
    pinned: str = ""
    seen: str = ""
    definition: Json = None


class Noticed(msgspec.Struct, frozen=True):
    """Keep what these findings are about, so that a person can compare it; their records are written already."""

    findings: tuple[Finding, ...]


class Announce(msgspec.Struct, frozen=True):
    """The book of approvals has changed: tell whoever watches it."""


class Remember(msgspec.Struct, frozen=True):
    """Write down what this run of the host has seen, before anything after this command."""


Command: TypeAlias = LookAgain | Remember | Append | Later | Write | Noticed | Announce | Close
