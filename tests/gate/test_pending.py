"""Requests in flight: numbers are ours and given once, answers count once, owners' ids keep their type."""

import pytest

from mcpguard import limits
from mcpguard.gate.pending import Call, Pending
from mcpguard.protocol.methods import Kind, Method
from mcpguard.protocol.strict import Refused

PING = Method("ping", Kind.PLUMBING)


def ping(ident):
    return Call(ident, PING, "", b"", 0)


def test_numbers_count_from_one_and_are_never_given_twice():
    table = Pending()
    assert [table.add(ping(ident)) for ident in ("a", 7, "7", 0, "")] == [1, 2, 3, 4, 5]
    assert [table.take(number).ident for number in (5, 1, 3)] == ["", "a", "7"]
    assert table.add(ping("a")) == 6
    assert [call.number for call in table.values()] == [2, 4, 6]


def test_ids_of_different_types_are_different():
    table = Pending()
    table.add(ping(7))
    assert table.taken(7)
    assert not table.taken("7")
    assert table.by_ident("7") is None
    assert table.by_ident(7).number == 1
    table.add(ping(1))
    assert [table.by_ident(other) for other in (True, 1.0, None, [1], {})] == [None] * 5


@pytest.mark.parametrize("number", ["1", 1.0, True, None, [1], {}, 0, 2, -1])
def test_only_exactly_our_number_settles(number):
    table = Pending()
    table.add(ping("a"))
    assert table.get(number) is None
    assert table.take(number) is None
    assert table.late(number) is False
    assert len(table) == 1


def test_answer_counts_once():
    table = Pending()
    table.add(ping("a"))
    assert table.take(1).ident == "a"
    assert table.take(1) is None
    assert table.late(1) is False
    assert not table.taken("a")


def test_cancelled_call_is_late_once():
    table = Pending()
    table.add(ping("a"))
    table.cancel(table.get(1))
    assert not table.taken("a")
    assert len(table) == 0
    assert [table.late(1), table.late(1)] == [True, False]


def test_cancelled_calls_are_remembered_up_to_a_bound():
    table = Pending()
    for number in range(1, limits.ANSWERED + 2):
        table.add(ping(number))
        table.cancel(table.get(number))
    assert table.late(1) is False
    assert table.late(2) is True
    assert table.late(limits.ANSWERED + 1) is True


def test_calls_in_flight_are_bounded():
    table = Pending()
    for number in range(limits.PENDING):
        table.add(ping(number))
    with pytest.raises(Refused) as refused:
        table.add(ping("over"))
    assert refused.value.ident == "over"
    assert not table.taken("over")
    table.take(1)
    assert table.add(ping("over")) == limits.PENDING + 1


def test_drained_table_is_empty():
    table = Pending()
    calls = [ping(ident) for ident in "ab"]
    for call in calls:
        table.add(call)
    assert table.drain() == calls
    assert (len(table), table.taken("a"), table.drain()) == (0, False, [])
