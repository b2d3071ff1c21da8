"""Calls that ask back: a retry repeats its call, and every embedded request is judged."""

import pytest

from mcpguard import limits
from mcpguard.gate.rounds import Rounds, binding, requests_fault
from mcpguard.protocol.strict import Refused
from tests.gate.playbook import (
    ASKING,
    POLICY,
    Playbook,
    Text,
    error,
    modern,
    modern_call,
    notification,
    result,
    text,
)

CAN = {"elicitation": {}, "sampling": {}, "roots": {}}
FORM = {"method": "elicitation/create", "params": {"message": "?", "requestedSchema": {"type": "object"}}}
DONE = {"resultType": "complete", **text("done")}


def asks(requests=None, state=None):
    value = {"resultType": "input_required"}
    if requests is not None:
        value["inputRequests"] = requests
    return value if state is None else {**value, "requestState": state}


def asked(state="S1", policy=POLICY + ASKING):
    """A call that asked back with this state."""
    play = Playbook(policy)
    play.host(calling(1), to_server=[calling(1)])
    return play.server(result(1, asks({"k": FORM}, state)), to_host=[result(1, asks({"k": FORM}, state))])


def calling(ident, arguments=None, tool="read_file", **others):
    return modern_call(ident, tool, {"path": "a"} if arguments is None else arguments, CAN, **others)


ANSWERS = {"inputResponses": {"k": {"action": "accept", "content": {}}}}


def test_faithful_retry_passes_with_a_new_id():
    play = asked()
    retry = calling(2, **ANSWERS, requestState="S1")
    play.host(retry, to_server=[retry])
    play.server(result(2, DONE), to_host=[result(2, DONE)])


@pytest.mark.parametrize(
    "retry",
    [
        calling(2, {"path": "b"}, requestState="S1"),
        calling(2, {}, requestState="S1"),
        calling(2, tool="read_it", requestState="S1"),
        calling(2, requestState="S2"),
        calling(2, requestState=""),
        calling(2, requestState=["S1"]),
        calling(2, requestState=None),
        modern(2, "resources/read", {"uri": "a:b", "requestState": "S1"}, CAN),
        calling(2, inputResponses=[], requestState="S1"),
        calling(2, inputResponses="x"),
    ],
)
def test_retry_that_is_another_call_or_forges_the_state_is_refused(retry):
    play = asked()
    play.host(retry, to_host=[error(2, -32602)], records=[{"type": "drop"}])


def test_retry_is_decided_afresh():
    play = asked()
    play.policy('version = 1\nmode = "enforce"\n')
    play.host(calling(2, **ANSWERS, requestState="S1"), to_host=[error(2, -32602, "Unknown tool: read_file")])


def test_state_that_the_server_gives_to_two_calls_serves_both():
    play = asked()
    play.host(calling(2, {"path": "b"}), to_server=[calling(2, {"path": "b"})])
    play.server(result(2, asks(state="S1")), to_host=[result(2, asks(state="S1"))])
    play.host(calling(3, requestState="S1"), to_server=[calling(3, requestState="S1")])
    play.host(
        calling(4, {"path": "b"}, requestState="S1"), to_server=[calling(4, {"path": "b"}, requestState="S1")]
    )


def test_states_of_another_connection_are_worth_nothing():
    asked("mine")
    Playbook(POLICY + ASKING).host(calling(2, requestState="mine"), to_host=[error(2, -32602)])


def test_server_asks_back_eight_times_and_no_more():
    play = asked("S0")
    for number in range(1, limits.ROUNDS):
        said = calling(number, **ANSWERS, requestState=f"S{number - 1}")
        play.host(said, to_server=[{**said, "id": number + 1}])
        again = asks({"k": FORM}, f"S{number}")
        play.server(result(number + 1, again), to_host=[result(number, again)])
    said = calling(99, **ANSWERS, requestState=f"S{limits.ROUNDS - 1}")
    play.host(said, to_server=[{**said, "id": limits.ROUNDS + 1}])
    play.server(
        result(limits.ROUNDS + 1, asks({"k": FORM}, "more")),
        to_host=[error(99, 50201, Text("more than 8 times"))],
    )


@pytest.mark.parametrize("method", ["tools/call", "resources/read", "prompts/get"])
def test_rounds_are_counted_for_one_call_and_not_for_all_like_it(method):
    params = {
        "tools/call": {"name": "read_file"},
        "resources/read": {"uri": "a:b"},
        "prompts/get": {"name": "p"},
    }[method]
    done = {"resultType": "complete"}
    play = Playbook(POLICY + ASKING)
    for number in range(1, 6 * limits.ROUNDS, 3):
        said = modern(number, method, params, CAN)
        play.host(said, to_server=[said])
        play.server(result(number, asks({"k": FORM}, "S")), to_host=[result(number, asks({"k": FORM}, "S"))])
        retry = modern(number + 1, method, {**params, "requestState": "S"}, CAN)
        play.host(retry, to_server=[retry])
        play.server(result(number + 1, done), to_host=[result(number + 1, done)])
        play.host({**said, "id": number + 2}, to_server=[{**said, "id": number + 2}])
        play.server(result(number + 2, asks(state="S")), to_host=[result(number + 2, asks(state="S"))])


@pytest.mark.parametrize(
    ("requests", "fault"),
    [
        ({"k": {"method": "tools/call", "params": {"name": "delete_all"}}}, "embedded request"),
        ({"k": {"method": "ping"}}, "embedded request"),
        ({"k": {"method": ["elicitation/create"]}}, "embedded request"),
        ({"k": {}}, "embedded request"),
        ({"k": 5}, "embedded request"),
        ([], "not an object"),
        ({"k": {"method": "roots/list", "params": []}}, "params of an embedded request"),
        ({"k": {"method": "elicitation/create", "params": {"mode": "url", "url": "javascript:x"}}}, "https"),
        (
            {
                "k": {
                    "method": "elicitation/create",
                    "params": {"requestedSchema": {"properties": {"secret": {}}}},
                }
            },
            "secret",
        ),
        (
            {"k": {"method": "sampling/createMessage", "params": {"includeContext": "allServers"}}},
            "other servers",
        ),
    ],
)
def test_embedded_request_that_nobody_may_make_withholds_the_answer(requests, fault):
    play = Playbook(POLICY + ASKING).host(calling(1), to_server=[calling(1)])
    play.server(result(1, asks(requests)), to_host=[error(1, 50201, Text(fault))])


@pytest.mark.parametrize("value", [asks(), asks(state=5), asks(state="x" * 70_000), asks({}, ["s"])])
def test_input_required_without_sense_is_withheld(value):
    play = Playbook(POLICY + ASKING).host(calling(1), to_server=[calling(1)])
    play.server(result(1, value), to_host=[error(1, 50201)])


@pytest.mark.parametrize("method", ["elicitation/create", "sampling/createMessage", "roots/list"])
def test_embedded_request_needs_policy_and_a_declared_capability(method):
    value = asks({"k": {"method": method, "params": {}}})
    play = Playbook(POLICY + ASKING).host(calling(1), to_server=[calling(1)])
    play.server(
        result(1, value),
        to_host=[result(1, value)],
        records=[
            {"type": "call", "side": "server", "method": method, "decision": "allow"},
            {"type": "outcome"},
        ],
    )
    bare = modern_call(2, "read_file")
    play.host(bare, to_server=[bare])
    play.server(result(2, value), to_host=[error(2, 50201, Text("did not declare"))])
    play.policy(POLICY)
    play.host(calling(3), to_server=[modern_call(3, "read_file", {"path": "a"}, {})])
    play.server(result(3, value), to_host=[error(3, 50201)])


def test_embedded_request_that_policy_came_to_refuse_in_the_meantime_is_withheld():
    play = Playbook(POLICY + ASKING).host(calling(1), to_server=[calling(1)])
    play.policy(POLICY)
    play.server(
        result(1, asks({"k": FORM})),
        to_host=[error(1, 50201, Text("elicitation/create", "default"))],
        records=[
            {"type": "call", "side": "server", "decision": "deny"},
            {"type": "outcome", "status": "refused"},
        ],
    )


def test_only_three_methods_ask_back_and_no_other_kind_of_result_exists():
    play = Playbook(POLICY + ASKING).host(
        modern(1, "tools/list", None, CAN), to_server=[modern(1, "tools/list", None, CAN)]
    )
    play.server(
        result(1, asks({"k": FORM})), to_host=[error(1, 50201, Text("does not belong to tools/list"))]
    )
    for number, kind in enumerate(("Complete", "partial", 5, ["complete"], {}), 2):
        said = calling(number)
        play.host(said, to_server=[said])
        play.server(result(number, {"resultType": kind}), to_host=[error(number, 50201, Text("resultType"))])


def test_retry_without_a_state_goes_on_counting():
    play = asked(None)
    for number in range(2, limits.ROUNDS + 1):
        retry = calling(number, **ANSWERS)
        play.host(retry, to_server=[retry])
        play.server(result(number, asks({"k": FORM})), to_host=[result(number, asks({"k": FORM}))])
    retry = calling(99, **ANSWERS)
    play.host(retry, to_server=[{**retry, "id": limits.ROUNDS + 1}])
    play.server(
        result(limits.ROUNDS + 1, asks({"k": FORM})), to_host=[error(99, 50201, Text("more than 8 times"))]
    )


def test_call_that_was_cancelled_while_it_asked_back_is_settled():
    play = asked()
    said = calling(2, **ANSWERS, requestState="S1")
    play.host(said, to_server=[said])
    cancel = notification("notifications/cancelled", {"requestId": 2})
    play.host(cancel, to_server=[cancel])
    play.server(result(2, asks(state="S2")), records=[{"type": "drop", "reason": "a late answer"}])


# --- the table alone ---------------------------------------------------------------------------------------


def test_binding_differs_by_method_target_and_arguments():
    params = {"arguments": {"a": 1}}
    bindings = {
        binding("tools/call", "a", params),
        binding("tools/call", "b", params),
        binding("prompts/get", "a", params),
        binding("tools/call", "a", {"arguments": {"a": 2}}),
        binding("tools/call", "a", {"arguments": {}}),
        binding("tools/call", "a", {}),
    }
    assert len(bindings) == 6
    assert binding("tools/call", "a", params) == binding("tools/call", "a", {**params, "_meta": {"x": 1}})


def test_states_are_bounded_and_the_oldest_is_forgotten():
    rounds = Rounds()
    for number in range(limits.STATES + 1):
        assert rounds.asked(b"%d" % number, {"requestState": "s"}, {}) == ""
    rounds.admit(b"1", {"requestState": "s"})
    with pytest.raises(Refused):
        rounds.admit(b"0", {"requestState": "s"})


def test_no_requests_have_no_fault():
    assert requests_fault(None, {}) == ""
    assert requests_fault({}, {}) == ""
