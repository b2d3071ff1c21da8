"""Which servers and hosts are in quarantine, and which runs of hosts were there when it was imposed?

One file, owner only, replaced as a whole.

Rule 1: what is damaged is an error, never an empty list: somebody would get out by writing rubbish.
Rule 2: nobody gets in beyond a bound that a record of the audit log can hold: the log is what the file is compared
with.

Not here: what the audit log remembers (`daemon.quarantine`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from mcpguard.errors import TrustError
from mcpguard.system.memoryfile import MemoryFile

FILE: Final = "quarantine.json"
SERVER: Final = "server"
HOST: Final = "host"
REFUSE: Final = "refuse"
ASK: Final = "ask"
NAME_CHARS: Final = 200
"""Longest name that can be put into quarantine, characters."""
REASON_CHARS: Final = 300
"""Longest reason, likewise."""
HELD_BYTES: Final = 12 * 1024
"""All names together, encoded, fit into one record."""
RUNS: Final = 256
"""Runs of hosts that are remembered; the oldest make room."""


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One server or host in quarantine.

    Attributes:
        kind: `SERVER` or `HOST`.
        name: A server's name, or that of an enrolled host.
        how: `REFUSE`: no connection; `ASK`: every call of a tool needs a person's approval.
        reason: Why, for people.
        by: Who has imposed it: a person's process, or a kind of finding.
        since: When, RFC 3339 in UTC.
    """

    kind: str
    name: str
    how: str
    reason: str
    by: str
    since: str

    @property
    def subject(self) -> str:
        """As people write it."""
        return f"{self.kind}:{self.name}"

    @property
    def held(self) -> str:
        """As records of the audit log have it."""
        return f"{self.how} {self.subject}"


class Run(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A run of a host: its process, by a number that no other process of this boot has."""

    pid: int
    instance: int


class Held(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of the file. `boot`: of which boot of the machine the runs are."""

    v: int = 1
    entries: list[Entry] = []
    boot: str = ""
    runs: list[Run] = []


class QuarantineFile:
    """The list in `directory`, which need not exist before the first `save`."""

    def __init__(self, directory: Path) -> None:
        remedy = "quarantine is a person's to lift; when you know what it should be, remove it: rm"
        self._file = MemoryFile(directory, FILE, "what is in quarantine", remedy)

    def load(self) -> Held:
        """What is in quarantine.

        Raises:
            DaemonError: The list cannot be relied on.
        """
        memory = self._file.load()
        if not memory:
            return Held()
        try:
            held = msgspec.convert(memory, Held)
        except msgspec.ValidationError as error:
            raise self._file.unusable("it is damaged") from error
        if any(each.kind not in (SERVER, HOST) or each.how not in (REFUSE, ASK) for each in held.entries):
            raise self._file.unusable("it is damaged")
        return held

    def save(self, held: Held) -> None:
        """Put another list in its place.

        Raises:
            TrustError: It is more than a record can hold; nothing has changed.
            DaemonError: It cannot be written; nothing has changed.
        """
        if len(msgspec.json.encode([each.held for each in held.entries])) > HELD_BYTES:
            raise TrustError(
                f"{len(held.entries) - 1} servers and hosts are in quarantine, which is the most",
                hint="mcpguard quarantine --list; then mcpguard quarantine --lift NAME",
            )
        self._file.save(msgspec.to_builtins(msgspec.structs.replace(held, runs=held.runs[-RUNS:])))
