"""What gates have in common: what one does to it the others see, and a gate without a daemon is alone."""

import msgspec
import pytest

from mcpguard.approvals.ticket import Answer, Scope
from mcpguard.gate.shared import Manners, Shared, alone
from tests.gate.playbook import Playbook, call, denial, result, text
from tests.gate.test_asking import ASKS, WRITE, YES, opened

FOR_NOW = Answer(granted=True, by="uid 1000", scope=Scope.SESSION)


def test_a_gate_without_a_daemon_shares_nothing_with_another():
    one, other = alone(), alone()
    assert one.book is not other.book
    assert one.circumstances is not other.circumstances
    one.circumstances.saw(["secret"], 0)
    assert not other.circumstances.labels


def test_a_gate_without_a_daemon_pins_nothing_seals_nothing_and_puts_no_question_to_its_host():
    shared = alone()
    assert (shared.definitions, shared.schemas, shared.seal, shared.manifest) == ({}, None, b"", "")
    assert shared.manners == Manners() == Manners(timeout=120.0, in_band=False)


@pytest.mark.parametrize("field", list(Shared.__struct_fields__))
def test_what_is_shared_is_not_changed_in_place(field):
    with pytest.raises(AttributeError):
        setattr(alone(), field, None)


def together(**other):
    """Two connections at one book, the second different in something."""
    one = opened()
    shared = {"book": one.book, "circumstances": one.shared.circumstances, "conn": "c2", **other}
    return one, opened(**shared)


def test_a_yes_for_a_run_of_a_host_holds_on_all_its_connections():
    one, other = together()
    one.host(call(7, "write_file", WRITE))
    one.answers(FOR_NOW, to_server=[call(2, "write_file", WRITE)])
    other.host(call(7, "write_file", WRITE), to_server=[call(2, "write_file", WRITE)])


@pytest.mark.parametrize(
    "other",
    [{"instance": "4712-9"}, {"manifest": "0" * 16}, {"definitions": {"write_file": "0" * 64}}],
    ids=["another run", "another manifest", "another definition"],
)
def test_a_yes_is_for_one_run_and_one_definition(other):
    one, stranger = together(**other)
    one.host(call(7, "write_file", WRITE))
    one.answers(FOR_NOW, to_server=[call(2, "write_file", WRITE)])
    stranger.host(call(7, "write_file", WRITE))
    assert len(one.tickets) == 1


def test_identical_calls_of_two_connections_are_one_question_and_one_yes_is_one_call():
    one, other = together()
    one.host(call(7, "write_file", WRITE))
    other.host(call(9, "write_file", WRITE))
    (ticket,) = one.tickets
    assert ticket.waiting == 2
    one.answers(YES, to_server=[call(2, "write_file", WRITE)])
    other.settles(ticket.ident, to_host=[denial(9, "for one call")])
    one.server(result(2, text("done")), to_host=[result(7, text("done"))])


def test_a_question_names_its_connection_and_who_asks():
    play = Playbook(ASKS, conn="c9", host={"uid": 7, "host": "acme"}, manners=Manners(timeout=5.0)).opened()
    play.host(call(7, "write_file", WRITE))
    question = play.tickets[0].question
    assert (question.conn, question.host, question.timeout) == ("c9", {"uid": 7, "host": "acme"}, 5.0)
    assert question.binding.instance == "4711-9"
    assert play.tickets[0].expires - play.tickets[0].asked == 5_000_000_000


def test_pins_that_change_for_one_connection_leave_the_others_as_they_were():
    first = alone()
    second = msgspec.structs.replace(first, definitions={"write_file": "0" * 64})
    assert (first.definitions, second.book) == ({}, first.book)
