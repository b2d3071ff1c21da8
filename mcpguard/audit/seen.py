"""One record as detectors see it: decoded, with its time, and who it is about."""

from __future__ import annotations

import msgspec

from mcpguard.audit.bounded import NAME_CHARS
from mcpguard.model import Json, JsonObject

DETECTED = "detected"
"""`event` of a record that a detector made: detectors do not look at their own."""


class Seen(msgspec.Struct, frozen=True):
    """A record and its circumstances.

    Attributes:
        at: When it was written, seconds since 1970.
        body: Its members, as `record` writes them.
        seq: Its position in the log; 0 if not known.
        east: Seconds that local time is ahead of UTC.
        stands: For how many records of its kind it stands; more than 1 where others were left out.
    """

    at: float
    body: JsonObject
    seq: int = 0
    east: int = 0
    stands: float = 1.0

    @property
    def type(self) -> str:
        """Kind of record."""
        return self.text("type")

    @property
    def event(self) -> str:
        """What happened, for kinds that say so."""
        return self.text("event")

    def text(self, name: str) -> str:
        """A member that is text, cut; empty if it is none."""
        value: Json = self.body.get(name)
        return value[:NAME_CHARS] if isinstance(value, str) else ""

    def number(self, name: str) -> int:
        """A member that is a whole number; 0 if it is none."""
        value: Json = self.body.get(name)
        return value if type(value) is int else 0

    @property
    def host(self) -> JsonObject:
        """The evidence of who is on the host's side."""
        value: Json = self.body.get("host")
        return value if isinstance(value, dict) else {}

    @property
    def who(self) -> str:
        """The host over all its runs: its enrolled name, else its program, else its user."""
        host = self.host
        if name := host.get("host"):
            return f"host:{name}"[:NAME_CHARS]
        if program := host.get("script") or host.get("exe"):
            return str(program)[:NAME_CHARS]
        return f"uid:{host.get('uid', '?')}"

    @property
    def run(self) -> str:
        """This run of the host: its process; without a handle on it, its connection."""
        host = self.host
        if "instance" in host:
            return f"{host.get('pid')}-{host['instance']}"
        return self.text("conn") or self.who
