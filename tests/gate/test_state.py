"""What a connection knows: its era, and tasks up to a bound."""

import pytest

from mcpguard import limits
from mcpguard.audit import record
from mcpguard.gate.ledger import Ledger
from mcpguard.gate.pending import Call
from mcpguard.gate.pinning import Pinning
from mcpguard.gate.state import State
from mcpguard.identity.definitions import DefinitionPins
from mcpguard.model import Era, Side
from mcpguard.protocol.methods import REQUESTS, Kind, Method
from tests.gate.playbook import POLICY, snapshot


def state():
    return State(Ledger(snapshot(POLICY), record.prefix("c1", {}, "files"), b"k"), "files")


def calling(method="tools/call", **members):
    return Call("x", Method(method, Kind.TOOL), "", b"", 0, **members)


def test_era_decides_which_methods_exist():
    known = state()
    assert (known.era, known.speaking) == (None, Era.LEGACY)
    known.enter(Era.MODERN)
    assert (known.era, known.speaking) == (Era.MODERN, Era.MODERN)
    assert known.methods is REQUESTS[Era.MODERN, Side.HOST]


def test_findings_are_recorded_once_and_rulings_that_they_make_untrue_are_forgotten():
    pins = Pinning(DefinitionPins(tools={"read_file": "0" * 64}))
    known = State(Ledger(snapshot(POLICY), record.prefix("c1", {}, "files"), b"k", pins), "files")
    known.tell_findings(pins)
    assert known.ledger.tool("read_file").allowed
    known.tell_findings(pins)
    assert "read_file" in known.ledger.tools
    pins.listed("tools", "read_file", {"name": "read_file"}, "")
    for _ in range(2):
        known.tell_findings(pins)
        assert (len(known.out.later), len(known.out.noticed)) == (1, 1)
    assert not known.ledger.tool("read_file").allowed


def test_tasks_are_remembered_up_to_a_bound():
    known = state()
    for number in range(limits.TASKS + 1):
        known.remember_task(f"t{number}", calling(number=number, token="p"))
    assert (len(known.tasks), len(known.loose)) == (limits.TASKS, limits.TASKS)
    assert (known.knows_task("t0"), known.knows_task("t1")) == (False, True)
    assert (0 in known.loose, 1 in known.loose) == (False, True)


@pytest.mark.parametrize("task", [None, 5, ["t"], {}, True])
def test_task_is_named_by_a_string(task):
    known = state()
    known.remember_task(task, calling(number=1, token="p"))
    assert known.tasks == {}
    assert known.knows_task(task) is False


def test_task_without_a_token_has_no_progress():
    known = state()
    known.remember_task("t", calling(number=1))
    known.remember_task("u")
    assert (known.loose, list(known.tasks)) == ({}, ["t", "u"])


def test_initialize_that_failed_leaves_the_connection_unopened():
    known = state()
    known.opened = True
    known.failed(calling("tools/call"))
    assert known.opened is True
    known.failed(calling("initialize"))
    assert known.opened is False


def test_drops_are_counted_and_recorded_without_waiting():
    known = state()
    known.drop(Side.HOST, "why", 3)
    assert known.counts["dropped"] == 1
    assert (len(known.out.later), known.out.records) == (1, [])


def test_a_flood_of_dropped_lines_leaves_few_records_and_their_number():
    known = state()
    for place in range(3 * limits.DROP_RECORDS_PER_SECOND):
        known.now = place
        known.drop(Side.SERVER, "not a message", 9)
    assert len(known.out.later) == limits.DROP_RECORDS_PER_SECOND
    known.now = 2_000_000_000
    known.drop(Side.HOST, "another", 9)
    told = [body for body in known.out.later if b"more lines" in body]
    assert len(told) == 1
    assert f'"{2 * limits.DROP_RECORDS_PER_SECOND} more lines'.encode() in told[0]
    assert known.counts["dropped"] == 3 * limits.DROP_RECORDS_PER_SECOND + 1


def test_what_was_hushed_is_told_at_the_end():
    known = state()
    for _ in range(limits.DROP_RECORDS_PER_SECOND + 2):
        known.drop(Side.SERVER, "not a message", 9)
    known.tell_hushed()
    known.tell_hushed()
    assert sum(b'"2 more lines' in body for body in known.out.later) == 1
