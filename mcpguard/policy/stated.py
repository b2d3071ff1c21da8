"""What is known of the tools of one server: what its manifest states, and the labels that policy adds."""

from __future__ import annotations

from collections.abc import Iterable

from mcpguard.policy.circumstances import Surroundings
from mcpguard.policy.conditions import Facts
from mcpguard.policy.index import Names
from mcpguard.policy.rules import Labelled


class Stated:
    """The facts of one server's tools.

    Args:
        labels: What policy says that tools read and send, of all servers.
        server: The server's name.
        surroundings: What its manifest says.
    """

    __slots__ = ("_labels", "_tools")

    def __init__(self, labels: Iterable[Labelled], server: str, surroundings: Surroundings) -> None:
        self._tools = surroundings.tools
        self._labels: Names[Labelled] = Names()
        for labelled in labels:
            if any(pattern.matches(server) for pattern in labelled.server):
                for pattern in labelled.tools:
                    self._labels.add(pattern, labelled)

    def of(self, name: str) -> Facts:
        """What is known of a tool."""
        stated = self._tools.get(name)
        labels = list(self._labels.of(name))
        reads = {*(stated.reads if stated else ()), *(label for one in labels for label in one.reads)}
        sends = {*(stated.sends if stated else ()), *(label for one in labels for label in one.sends)}
        return Facts(stated=stated, reads=tuple(sorted(reads)), sends=tuple(sorted(sends)))
