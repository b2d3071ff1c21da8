"""A message is exactly one of four shapes, and what the guard says itself is well formed."""

import msgspec
import pytest

from mcpguard import limits
from mcpguard.model import Era
from mcpguard.protocol import jsonrpc
from mcpguard.protocol.jsonrpc import Shape, batch_elements, batch_refusals, readable_id, shape, valid_token
from mcpguard.protocol.strict import Refused

ASK = {"jsonrpc": "2.0", "id": 7, "method": "ping"}
ANSWER = {"jsonrpc": "2.0", "id": 7, "result": {}}
ERROR = {"jsonrpc": "2.0", "id": 7, "error": {"code": 1, "message": ""}}


def without(message, *names):
    return {key: value for key, value in message.items() if key not in names}


@pytest.mark.parametrize(
    ("message", "found"),
    [
        (ASK, Shape.REQUEST),
        ({**ASK, "id": 0}, Shape.REQUEST),
        ({**ASK, "id": ""}, Shape.REQUEST),
        ({**ASK, "params": {}}, Shape.REQUEST),
        (without(ASK, "id"), Shape.NOTIFICATION),
        ({**without(ASK, "id"), "params": {}}, Shape.NOTIFICATION),
        (ANSWER, Shape.RESULT),
        (ERROR, Shape.ERROR),
        ({**ERROR, "error": {"code": -32000, "message": "x", "data": [1]}}, Shape.ERROR),
    ],
)
@pytest.mark.parametrize("extra", [{}, {"extra": 1}, {"x": 1, "y": {}}])
def test_shape_is_told_and_members_beside_it_removed(message, found, extra):
    said = {**message, **extra}
    assert shape(said) is found
    assert said == message


@pytest.mark.parametrize(
    ("message", "ident", "settles"),
    [
        (without(ASK, "jsonrpc"), 7, None),
        ({**ASK, "jsonrpc": 2.0}, 7, None),
        ({**ASK, "jsonrpc": "2.00"}, 7, None),
        ({**ASK, "method": None}, 7, None),
        ({**ASK, "method": ["ping"]}, 7, None),
        ({**ASK, "params": []}, 7, None),
        ({**ASK, "params": None}, 7, None),
        ({**ASK, "params": "x"}, 7, None),
        ({**ASK, "result": {}}, 7, 7),
        ({**ASK, "error": None}, 7, 7),
        ({**ASK, "id": None}, None, None),
        ({**ASK, "id": 1.5}, None, None),
        ({**ASK, "id": True}, None, None),
        ({**ASK, "id": []}, None, None),
        ({**ANSWER, "id": None}, None, None),
        ({**ANSWER, "id": 7.0}, None, None),
        (without(ANSWER, "id"), None, None),
        (without(ANSWER, "jsonrpc"), None, 7),
        (without(ANSWER, "result"), 7, 7),
        ({**ANSWER, **ERROR}, None, 7),
        ({**ANSWER, "result": None}, None, 7),
        ({**ANSWER, "result": []}, None, 7),
        ({**ERROR, "error": "no"}, None, 7),
        ({**ERROR, "error": {"code": 1}}, None, 7),
        ({**ERROR, "error": {"code": "1", "message": ""}}, None, 7),
        ({**ERROR, "error": {"code": True, "message": ""}}, None, 7),
        ({**ERROR, "error": {"code": 1, "message": None}}, None, 7),
        ({}, None, None),
    ],
)
def test_anything_else_is_refused_and_its_id_belongs_to_one_side(message, ident, settles):
    with pytest.raises(Refused) as refused:
        shape(message)
    assert (refused.value.ident, refused.value.settles) == (ident, settles)
    assert refused.value.fatal is False


def test_id_of_a_value_is_read_only_if_well_formed():
    assert readable_id({"id": 0}) == 0
    assert readable_id({"id": ""}) == ""
    for value in ({"id": None}, {"id": 1.0}, {"id": True}, {}, [], 5, None, "x"):
        assert readable_id(value) is None


def test_progress_tokens_are_strings_or_integers():
    assert all(map(valid_token, [0, "", "a", -5]))
    assert not any(map(valid_token, [None, 1.0, True, [], {}, "a" * 300]))


def read(line):
    assert line.endswith(b"\n")
    return msgspec.json.decode(line)


@pytest.mark.parametrize("ident", [0, "", "7", 7])
def test_guards_own_messages(ident):
    assert read(jsonrpc.error_line(ident, -1, "no")) == {
        "jsonrpc": "2.0",
        "id": ident,
        "error": {"code": -1, "message": "no"},
    }
    assert read(jsonrpc.error_line(ident, -1, "no", {"a": 1}))["error"]["data"] == {"a": 1}
    assert read(jsonrpc.result_line(ident, {})) == {"jsonrpc": "2.0", "id": ident, "result": {}}
    assert jsonrpc.error_line(ident, 1, "\u2028\n").count(b"\n") == 1
    assert "\u2028" not in jsonrpc.error_line(ident, 1, "\u2028").decode()
    for made in (
        jsonrpc.error_line(ident, -1, "no"),
        jsonrpc.result_line(ident, {}),
        jsonrpc.tool_denial(ident, "x", Era.MODERN),
    ):
        shape(read(made))
    assert read(jsonrpc.notification_line("a")) == {"jsonrpc": "2.0", "method": "a"}
    assert read(jsonrpc.notification_line("a", {"b": 1}))["params"] == {"b": 1}


def test_denied_tool_has_a_result_type_in_the_modern_era_only():
    assert read(jsonrpc.tool_denial(1, "no", Era.MODERN))["result"]["resultType"] == "complete"
    assert "resultType" not in read(jsonrpc.tool_denial(1, "no", Era.LEGACY))["result"]


def test_application_codes_lie_outside_the_reserved_range():
    for code in (jsonrpc.POLICY_REFUSED, jsonrpc.ANSWER_REFUSED, jsonrpc.NO_AUDIT, jsonrpc.SERVER_GONE):
        assert not -32768 <= code <= -32000


@pytest.mark.parametrize("value", [[], [5], [ASK, []], [ASK, dict(ASK)], [ASK] * (limits.BATCH + 1)])
def test_unfit_batch_is_refused_whole(value):
    with pytest.raises(Refused):
        batch_elements(value)


def test_batch_may_hold_answers_and_requests_under_one_id():
    batch = [ASK, ANSWER, {**ASK, "id": "7"}, without(ASK, "id")]
    assert batch_elements(batch) is batch
    refused = batch_refusals([*batch, dict(ASK), 5, [ASK]], "why")
    assert [(each.ident, each.settles, each.message) for each in refused] == [
        (7, None, "why"),
        (None, 7, "why"),
        ("7", None, "why"),
    ]
