"""Requests that wait: found by who sent them and how they called it, and by the ticket."""

import pytest

from mcpguard import limits
from mcpguard.gate.pending import Call
from mcpguard.gate.waiting import Held, Waiting
from mcpguard.model import Side
from mcpguard.protocol.methods import Kind, Method
from mcpguard.protocol.strict import Refused

TOOL = Method("tools/call", Kind.TOOL)


def held(ident, ticket="t1", side=Side.HOST):
    return Held(side, {}, Call(ident, TOOL, "write", b"", 0), ticket)


def test_an_id_is_taken_with_its_type_and_by_its_side():
    waiting = Waiting()
    waiting.add(held(7))
    assert waiting.taken(Side.HOST, 7)
    for side, ident in (
        (Side.HOST, "7"),
        (Side.HOST, 7.0),
        (Side.SERVER, 7),
        (Side.HOST, [7]),
        (Side.HOST, None),
    ):
        assert not waiting.taken(side, ident)
        assert waiting.take(side, ident) is None
    assert waiting.take(Side.HOST, 7).call.ident == 7
    assert not waiting.taken(Side.HOST, 7)


def test_true_is_not_one():
    waiting = Waiting()
    waiting.add(held(1))
    assert not waiting.taken(Side.HOST, True)
    assert waiting.take(Side.HOST, True) is None


def test_what_waits_for_a_ticket_comes_in_order_and_once():
    waiting = Waiting()
    for ident, ticket in ((3, "a"), (1, "b"), (2, "a")):
        waiting.add(held(ident, ticket))
    assert [each.call.ident for each in waiting.of("a")] == [3, 2]
    assert waiting.of("a") == []
    assert [each.call.ident for each in waiting.drain()] == [1]
    assert len(waiting) == 0


def test_a_connection_holds_so_many_and_no_more():
    waiting = Waiting()
    for ident in range(limits.HELD):
        waiting.add(held(ident))
    with pytest.raises(Refused, match="wait for approval"):
        waiting.add(held("more"))
    assert len(waiting) == limits.HELD
