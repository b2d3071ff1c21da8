"""Every line of the corpus through the real daemon: whole, cut in two, and byte by byte."""

import pytest

from tests.wire.corpus import CASES, Case
from tests.wire.guard import Guard
from tests.wire.verdicts import eras, run


@pytest.mark.parametrize(
    ("case", "era"), [pytest.param(case, era, id=f"{case.id}-{era}") for case in CASES for era in eras(case)]
)
def test_verdict_holds_however_the_line_is_cut(guard: Guard, case: Case, era: str) -> None:
    run(guard, case, era)
