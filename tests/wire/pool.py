"""Connections that several cases share, so that a process is not started for each."""

from tests.wire import verdicts
from tests.wire.connection import Connection
from tests.wire.corpus import Case
from tests.wire.guard import Guard

MOST_CASES = 9
"""Cases that share a connection: each adds three bad lines to a server's account, which closes at 32."""


class Pool:
    """One healthy connection for each server and era, used for several cases and then replaced."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._kept: dict[tuple[str, str], tuple[Connection, int]] = {}
        self._count = 0

    def take(self, case: Case, era: str) -> tuple[Connection, int]:
        kept = self._kept.pop((case.server, era), None)
        if kept is not None:
            return kept
        self._count += 1
        return verdicts.opened(self._guard, case, era, sockets=self._count % 2 == 0), 0

    def give(self, case: Case, era: str, connection: Connection, used: int) -> None:
        if used < MOST_CASES:
            self._kept[case.server, era] = connection, used
        else:
            connection.close()

    def play(self, case: Case, era: str) -> None:
        """A case in all variants on a connection that other cases have used, or will use if this one holds."""
        connection, used = self.take(case, era)
        try:
            for variant in verdicts.VARIANTS:
                verdicts.named(connection, case, era, variant)
        except BaseException:
            connection.close()
            raise
        self.give(case, era, connection, used + 1)

    def close(self) -> None:
        for connection, _ in self._kept.values():
            connection.close()
