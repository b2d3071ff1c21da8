"""Other inputs of the corpus's classes fare the same, in both eras, however they are cut."""

import dataclasses
from collections.abc import Iterator

import pytest

from tests.wire import verdicts
from tests.wire.classes import OWN
from tests.wire.connection import Connection, enveloped
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

    def close(self) -> None:
        for connection, _ in self._kept.values():
            connection.close()


@pytest.fixture(scope="module")
def pool(guard: Guard) -> Iterator[Pool]:
    pool = Pool(guard)
    yield pool
    pool.close()


def _eras(case: Case) -> list[str]:
    if case.era != "any":
        return [case.era]
    bare = case.direction != "c2s" or enveloped(case.data) == case.data
    return ["legacy", "modern" if bare else "modern-enveloped"]


@pytest.mark.parametrize(
    ("case", "era"),
    [pytest.param(case, era, id=f"{case.direction}-{case.id}-{era}") for case in OWN for era in _eras(case)],
)
def test_inputs_of_the_same_class_fare_the_same(guard: Guard, pool: Pool, case: Case, era: str) -> None:
    case = dataclasses.replace(case, era="any")
    if case.action == "kill":
        for variant in ("whole", "pieces") if era == "legacy" else ("cut",):
            with verdicts.opened(guard, case, era, sockets=variant == "pieces") as connection:
                verdicts.named(connection, case, era, variant)
        return
    connection, used = pool.take(case, era)
    try:
        for variant in verdicts.VARIANTS:
            verdicts.named(connection, case, era, variant)
    except BaseException:
        connection.close()
        raise
    pool.give(case, era, connection, used + 1)
