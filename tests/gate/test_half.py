"""What both halves do with a line before they differ, told through a half that only writes down."""

import json

import pytest

from mcpguard.audit import record
from mcpguard.gate.half import Half
from mcpguard.gate.ledger import Ledger
from mcpguard.gate.state import State
from mcpguard.policy.builtin import observe_snapshot
from mcpguard.protocol.strict import Refused


class Notes(Half):
    """Writes down what reaches it; a message with `"bad"` is refused."""

    def __init__(self, revision=""):
        super().__init__(State(Ledger(observe_snapshot("s"), record.prefix("c", {}, "s"), b"k"), "s"))
        self._state.revision = revision
        self.seen = []
        self.refused = []

    def _message(self, message, line, canonical):
        if "bad" in message:
            raise Refused("bad")
        self.seen.append((message, canonical))

    def _refuse(self, refused, line):
        self.refused.append((refused.message, refused.fatal, len(line)))

    def resume(self, held, event):
        self.seen.append((held, event))


class Strict(Notes):
    strays_are_fatal = True


@pytest.mark.parametrize("line", [b"", b"\r", b"  \t ", b" \r"])
def test_blank_lines_are_nothing(line):
    notes = Notes()
    notes.line(line)
    assert (notes.seen, notes.refused) == ([], [])


def test_one_carriage_return_before_the_end_is_not_part_of_the_message():
    notes = Notes()
    notes.line(b'{"a":1}\r')
    assert notes.seen == [({"a": 1}, True)]


def test_another_spelling_is_the_same_message_and_not_canonical():
    notes = Notes()
    notes.line(b'{ "a": 1 }')
    assert notes.seen == [({"a": 1}, False)]


def test_whatever_a_half_refuses_is_refused_with_its_size():
    notes = Notes()
    notes.line(b'{"bad":1}')
    assert notes.refused == [("bad", False, 9)]


@pytest.mark.parametrize(("half", "fatal"), [(Notes, False), (Strict, True)])
def test_a_value_that_is_no_message_is_fatal_where_the_half_says_so(half, fatal):
    notes = half()
    notes.line(b"42")
    assert notes.refused == [("a message is a JSON object", fatal, 2)]


def test_batches_exist_in_one_revision_and_each_message_is_judged_alone():
    line = json.dumps([{"a": 1}, {"bad": 1}, {"b": 2}]).encode()
    notes = Notes("2025-03-26")
    notes.line(line)
    assert notes.seen == [({"a": 1}, False), ({"b": 2}, False)]
    assert notes.refused == [("bad", False, len(line))]
    elsewhere = Notes("2025-06-18")
    elsewhere.line(line)
    assert elsewhere.seen == []
    assert elsewhere.refused
