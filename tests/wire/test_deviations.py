"""The lists of exceptions are honest: no unknown ids, and of the wire only instructions, which are silenced."""

from tests.wire.corpus import CASES, WIRE_GROUPS
from tests.wire.deviations import DEVIATIONS, WAITING
from tests.wire.expected import CHANGED, GONE, NOTHING
from tests.wire.verdicts import eras

BY_ID = {case.id: case for case in CASES}


def test_lists_name_only_inputs_that_exist() -> None:
    named = {*WAITING, *DEVIATIONS, *GONE, *CHANGED, *NOTHING}
    assert named <= BY_ID.keys()


def test_nothing_about_the_wire_is_excused_but_instructions_that_are_silenced() -> None:
    silenced = {name for name, entry in DEVIATIONS.items() if entry.today == "silenced"}
    assert {name for name in DEVIATIONS if BY_ID[name].group in WIRE_GROUPS} == silenced == {"cor-031"}


def test_an_input_is_on_one_list_and_has_a_reason() -> None:
    assert not WAITING.keys() & DEVIATIONS.keys()
    assert all(len(entry.reason) > 20 for entry in (*WAITING.values(), *DEVIATIONS.values()))


def test_every_input_let_through_in_our_encoding_says_what_must_be_gone() -> None:
    """Blank lines around a message leave no bytes that could be looked for: the count of lines tells."""
    silent = {"frm-007", "frm-007-m", "frm-008", "cor-018"}
    let_through = {case.id for case in CASES if case.expected == "canonicalise"}
    assert let_through - GONE.keys() == silent


def test_the_whole_corpus_is_played() -> None:
    assert len(CASES) == 302
    assert all(eras(case) for case in CASES)
