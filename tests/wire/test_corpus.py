"""Every line of the corpus through the real daemon: whole, cut in two, and byte by byte.

In its own era each line has a session of its own; in the other era lines that do not end a session share some.
"""

import pytest

from tests.wire.corpus import CASES, Case
from tests.wire.guard import Guard
from tests.wire.pool import Pool
from tests.wire.verdicts import eras, run


@pytest.mark.parametrize(
    ("case", "era"), [pytest.param(case, era, id=f"{case.id}-{era}") for case in CASES for era in eras(case)]
)
def test_verdict_holds_however_the_line_is_cut(guard: Guard, pool: Pool, case: Case, era: str) -> None:
    if era != "legacy" and case.era == "any" and case.action != "kill":
        pool.play(case, era)
    else:
        run(guard, case, era)
