"""When was which secret last given to which server, and how often?

A memory beside the vault (`memoryfile`), by reference as it is told to people; no value is in it. If it is damaged
that is said and nothing is counted: it decides nothing.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

import msgspec

from mcpguard.errors import DaemonError
from mcpguard.system.memoryfile import MemoryFile

_log: Final = logging.getLogger("mcpguard")
_MOST: Final = 1024
_SERVERS: Final = 64


class Use(msgspec.Struct, frozen=True):
    """How one secret was used.

    Attributes:
        count: How often it was given to a server, or put into a call.
        last: When, Unix seconds.
        servers: Which servers had it, and when last.
    """

    count: int = 0
    last: float = 0.0
    servers: dict[str, float] = {}


class SecretUse:
    """The counters in `directory`."""

    def __init__(self, directory: Path) -> None:
        self._file = MemoryFile(directory, "uses.json", "when secrets were used", "remove it: rm")
        self._uses: dict[str, Use] | None = None

    def of(self, told: str) -> Use:
        """How a secret was used."""
        return self._loaded().get(told, Use())

    def all(self) -> dict[str, Use]:
        """Every secret that was used."""
        return dict(self._loaded())

    def note(self, told: str, server: str, now: float) -> None:
        """It was used once more; on disk with the next `save`."""
        uses = self._loaded()
        before = uses.pop(told, Use())
        servers = {**before.servers, server: now}
        while len(servers) > _SERVERS:
            del servers[min(servers, key=lambda name: servers[name])]
        uses[told] = Use(before.count + 1, now, servers)
        while len(uses) > _MOST:
            del uses[min(uses, key=lambda name: uses[name].last)]

    def forget(self, told: str) -> None:
        """A secret is no more."""
        self._loaded().pop(told, None)
        self.save()

    def save(self) -> None:
        """Write the counters down; if that fails, it is said, and they go on in memory."""
        try:
            self._file.save(msgspec.to_builtins(self._loaded()))
        except DaemonError as error:
            _log.warning("%s", error.sentence())

    def _loaded(self) -> dict[str, Use]:
        if self._uses is None:
            try:
                self._uses = msgspec.convert(self._file.load(), dict[str, Use])
            except (DaemonError, msgspec.ValidationError) as error:
                _log.warning("%s", error.sentence() if isinstance(error, DaemonError) else error)
                self._uses = {}
        return self._uses
