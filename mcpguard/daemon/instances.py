"""The runs of hosts that this daemon serves, and what is remembered of each.

A label that an answer brought stays with the run of the host, over all its connections and over a restart of the
daemon, until that process ends. Budgets of a day outlive the daemon likewise.

Not here: what labels mean (`policy`); who is one run of a host (`daemon.callers`).

Decided: *the run of a host is the unit, not its conversation*, because nothing on the wire tells conversations apart
that a host could not invent; rejected: the session id of a host.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import Final

from mcpguard import limits
from mcpguard.errors import DaemonError
from mcpguard.model import JsonObject
from mcpguard.policy.circumstances import Circumstances
from mcpguard.policy.meters import Meters
from mcpguard.system.memoryfile import MemoryFile

_log: Final = logging.getLogger("mcpguard")
_SECONDS: Final = 1.0
"""Budgets are written down at most so often."""


class Instances:
    """Circumstances by run of a host.

    Args:
        memory: Where they outlive the daemon.
        boot: Names this boot of the machine: no process of another one still runs.

    Attributes:
        open_tickets: Questions that were open when the last daemon ended, for its successor to close.
    """

    def __init__(self, memory: MemoryFile, boot: str) -> None:
        self._memory = memory
        self._boot = boot
        self.meters = Meters()
        self._known: dict[str, Circumstances] = {}
        self._logins: dict[str, str] = {}
        self._adopters: dict[str, int] = {}
        self._tickets: list[str] = []
        self._written: JsonObject = {}
        self._due = 0.0
        self.offset = time.time_ns() - time.monotonic_ns()
        self.open_tickets = self._restore(memory.load())

    def of(self, instance: str, login: str = "") -> Circumstances:
        """The circumstances of a run of a host; the same for all its connections. `login`: its login session."""
        if login:
            self._logins[instance] = login
        found = self._known.get(instance)
        if found is None:
            self._make_room()
            found = self._known[instance] = Circumstances(self.meters, instance, self.offset)
        return found

    def logins(self) -> set[str]:
        """The login sessions that hosts are in."""
        return set(self._logins.values())

    def told(self, words: Callable[[str], frozenset[str]]) -> None:
        """What is true of login sessions now."""
        for instance, login in self._logins.items():
            if instance in self._known:
                self._known[instance].session = words(login)

    def tick(self) -> None:
        """A second has gone by: the clock may have been set, and budgets have moved."""
        self.offset = time.time_ns() - time.monotonic_ns()
        for circumstances in self._known.values():
            circumstances.offset = self.offset
        self.remember()

    def adopted_by(self, instance: str, pid: int) -> None:
        """Orphans of what a run of a host starts are given to this process."""
        if instance in self._known:
            self._adopters[instance] = pid

    def adopter(self, instance: str) -> int:
        """The process that is given the orphans of what a run of a host starts; 0 if nothing has told."""
        return self._adopters.get(instance, 0)

    def ended(self, instance: str) -> None:
        """A run of a host is over; nothing of it is needed any more."""
        self._forget(instance)
        self.remember(now=True)

    def tickets(self, idents: Iterable[str]) -> None:
        """These questions are open now."""
        self._tickets = list(idents)
        self.remember(now=True)

    def remember(self, *, now: bool = False) -> None:
        """Write down what has changed: at once, or when it is due. What cannot be written is logged."""
        moment = time.monotonic()
        if not now and moment < self._due:
            return
        self._due = moment + _SECONDS
        memory = {
            "v": 1,
            "boot": self._boot,
            "labels": {name: sorted(each.labels) for name, each in self._known.items() if each.labels},
            "meters": self.meters.dump(),
            "tickets": self._tickets,
        }
        if memory == self._written:
            return
        try:
            self._memory.save(memory)
        except DaemonError as error:
            _log.error("%s", error.sentence())
            return
        self._written = memory

    def _restore(self, memory: JsonObject) -> list[str]:
        """Take up what was remembered; the tickets that were open."""
        self.meters.load(memory.get("meters", {}))
        if memory.get("boot") == self._boot:
            for name, labels in memory.get("labels", {}).items():
                self.of(name).saw(labels, time.monotonic_ns())
        return [str(ident) for ident in memory.get("tickets", [])]

    def _make_room(self) -> None:
        """Forget the oldest run that has seen nothing; if all have, the oldest: hosts are few, and processes end."""
        if len(self._known) < limits.INSTANCES:
            return
        bare = (name for name, each in self._known.items() if not each.labels)
        oldest = next(bare, next(iter(self._known)))
        self._forget(oldest)

    def _forget(self, instance: str) -> None:
        for table in (self._known, self._logins, self._adopters):
            table.pop(instance, None)
