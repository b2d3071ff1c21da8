"""Other inputs of the corpus's classes fare the same, in both eras, however they are cut."""

import dataclasses

import pytest

from tests.wire import verdicts
from tests.wire.classes import OWN
from tests.wire.connection import enveloped
from tests.wire.corpus import Case
from tests.wire.guard import Guard
from tests.wire.pool import Pool


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
    pool.play(case, era)
