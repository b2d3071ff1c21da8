"""What one event leads to, gathered in order and turned into commands at its end.

Lines that may travel only if their record was written are *guarded*: they carry the number of their call, so that
after a failed `Append` everything else can still be sent and each of them be answered.
"""

from __future__ import annotations

from mcpguard.gate.commands import (
    Announce,
    Append,
    Close,
    Command,
    Finding,
    Later,
    LookAgain,
    Noticed,
    Remember,
    Write,
)
from mcpguard.model import Side


class Outbox:
    """Lines and record bodies of one event. Lines carry their LF."""

    __slots__ = (
        "announce",
        "closing",
        "durable",
        "guarded",
        "later",
        "noticed",
        "recheck",
        "records",
        "remember",
        "to_host",
        "to_server",
    )

    def __init__(self) -> None:
        self.to_host: list[bytes] = []
        self.to_server: list[bytes] = []
        self.records: list[bytes] = []
        self.later: list[bytes] = []
        self.noticed: tuple[Finding, ...] = ()
        self.guarded: dict[tuple[Side, int], int] = {}
        self.announce = False
        self.durable = False
        self.recheck = False
        self.remember = False
        self.closing = ""

    def guard(self, side: Side, number: int, line: bytes) -> None:
        """Send a line to `side` only after the records of this event are written."""
        lines = self.to_server if side is Side.SERVER else self.to_host
        self.guarded[side, len(lines)] = number
        lines.append(line)

    def commands(self) -> list[Command]:
        """The commands: records that calls wait for first, records that nothing waits for last."""
        out: list[Command] = []
        if self.recheck:
            out.append(LookAgain())
        if self.remember:
            out.append(Remember())
        if self.records:
            out.append(Append(self.records, self.durable))
        if self.to_server:
            out.append(Write(Side.SERVER, b"".join(self.to_server)))
        if self.to_host:
            out.append(Write(Side.HOST, b"".join(self.to_host)))
        if self.later:
            out.append(Later(self.later))
        if self.noticed:
            out.append(Noticed(self.noticed))
        if self.announce:
            out.append(Announce())
        if self.closing:
            out.append(Close(self.closing))
        return out

    def unrecorded(self) -> tuple[list[tuple[Side, int]], Outbox]:
        """The guarded calls that must not travel, and an outbox with all that still may."""
        rest = Outbox()
        rest.closing, rest.announce = self.closing, self.announce
        rest.to_server = [x for i, x in enumerate(self.to_server) if (Side.SERVER, i) not in self.guarded]
        rest.to_host = [x for i, x in enumerate(self.to_host) if (Side.HOST, i) not in self.guarded]
        return [(side, number) for (side, _), number in self.guarded.items()], rest
