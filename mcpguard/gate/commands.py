"""All that a gate may ask for. The caller carries a list out in order and stops at the first that fails."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from mcpguard.model import Side


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


Command: TypeAlias = Append | Later | Write | Close
