"""What decisions depend on besides a name: where a connection runs, and what its host has done so far.

`Surroundings` hold for a whole connection and are compiled into its policy. `Circumstances` change from call to call
and are shared by all connections of one run of a host, which is how labels reach across servers.

Rule: times come in; nothing here reads a clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import msgspec

from mcpguard.model import ToolFacts
from mcpguard.policy.meters import Meters

_SECOND = 1_000_000_000


def unresolved(path: str) -> str | None:
    """What stands for a resolver where there is no file system: nothing is known of any path."""
    del path
    return None


class Surroundings(msgspec.Struct, frozen=True):
    """Where a connection runs.

    Attributes:
        home: Absolute path that `~` stands for; empty if not known.
        cwd: Absolute path of the server's working directory, in which relative paths begin; empty if not known.
        resolve: Gives the absolute path that a path leads to, every link of the part that exists resolved; None if
            that cannot be told. Asks the file system: the one question that policy asks of the world.
        tools: What the manifest says of tools, by name.
    """

    home: str = ""
    cwd: str = ""
    resolve: Callable[[str], str | None] = unresolved
    tools: Mapping[str, ToolFacts] = {}


class Circumstances:
    """What one run of a host has done, and the state of the machine around it.

    Attributes:
        instance: The run of the host.
        labels: Labels that answers have brought, with the monotonic nanoseconds of the first.
        session: Words that are true of the login session now: `local` or `remote`, `locked` or `unlocked`; what is
            not known is not among them.
        meters: Rates, concurrency and budgets of the whole daemon.
        offset: Nanoseconds to add to the monotonic clock for Unix time; the daemon renews it every second.
    """

    __slots__ = ("instance", "labels", "meters", "offset", "session")

    def __init__(self, meters: Meters | None = None, instance: str = "", offset: int = 0) -> None:
        self.instance = instance
        self.labels: dict[str, int] = {}
        self.session: frozenset[str] = frozenset()
        self.meters = meters or Meters()
        self.offset = offset

    def unix(self, now: int) -> float:
        """Unix time of a moment on the monotonic clock, seconds."""
        return (now + self.offset) / _SECOND

    def saw(self, labels: Iterable[str], now: int) -> list[str]:
        """Remember labels that an answer has brought; those that are new."""
        new = [label for label in labels if label not in self.labels]
        for label in new:
            self.labels[label] = now
        return new
