"""What a refusal says: the cause and the next step, in the shape that method and era have for a no."""

import msgspec
import pytest

from mcpguard.gate import refusals
from mcpguard.gate.pinning import Withdrawn
from mcpguard.model import Decision, Era, Side, Verdict

RULE = Decision(Verdict.DENY, "no-deleting", "rule no-deleting denies it", "policy.toml:7")


def read(data):
    assert data.endswith(b"\n")
    assert data.count(b"\n") == 1
    return msgspec.json.decode(data)


@pytest.mark.parametrize("ident", [0, "", "7", 7, -1])
@pytest.mark.parametrize("era", list(Era))
def test_denied_tool_is_a_failed_result_that_names_the_rule(ident, era):
    answer = read(refusals.tool(ident, "delete_all", "files", RULE, era))
    assert answer["id"] == ident
    assert type(answer["id"]) is type(ident)
    value = answer["result"]
    assert value["isError"] is True
    assert value.get("resultType") == ("complete" if era is Era.MODERN else None)
    assert "structuredContent" not in value
    (block,) = value["content"]
    assert block["type"] == "text"
    for word in ("no-deleting", "policy.toml:7", "delete_all", "mcpguard policy explain files delete_all"):
        assert word in block["text"]


@pytest.mark.parametrize("era", list(Era))
def test_hidden_tool_is_an_unknown_tool(era):
    answer = read(refusals.tool(1, "rm", "files", Decision(), era))
    assert answer["error"] == {"code": -32602, "message": "Unknown tool: rm"}


DIFFERS = Withdrawn(Verdict.DENY, "pins", "its definition differs from the pinned definition", "manifest")


@pytest.mark.parametrize("era", list(Era))
def test_withdrawn_tool_is_a_failed_result_that_names_the_reason_and_the_next_step(era):
    value = read(refusals.tool(1, "read_file", "files", DIFFERS, era))["result"]
    assert value["isError"] is True
    assert ("resultType" in value) == (era is Era.MODERN)
    for word in ("read_file", DIFFERS.reason, "mcpguard server diff files", "mcpguard server trust files"):
        assert word in value["content"][0]["text"]
    unpinned = Withdrawn(Verdict.DENY, "pins", "its definition is not pinned")
    assert read(refusals.tool(1, "rm", "files", unpinned, era))["error"]["message"] == "Unknown tool: rm"


def test_withdrawn_prompt_is_an_error_with_the_same_next_step():
    error = read(refusals.method(1, "prompts/get", "files", DIFFERS))["error"]
    assert (error["code"], error["data"]) == (40301, {"rule": "pins"})
    for word in ("prompts/get", DIFFERS.reason, "mcpguard server diff files"):
        assert word in error["message"]
    assert "mcpguard server diff files" in refusals.another_server("it calls itself 'x'", "files")


def test_denied_method_is_an_error_outside_the_reserved_range():
    error = read(refusals.method(1, "resources/read", "files", RULE))["error"]
    assert error["code"] == 40301
    assert error["data"] == {"rule": "no-deleting"}
    assert "resources/read" in error["message"]
    assert "rule no-deleting denies it" in error["message"]


@pytest.mark.parametrize("era", list(Era))
def test_unrecorded_call_is_refused_in_the_shape_of_its_method(era):
    tool = read(refusals.unrecorded(1, "disk full", era=era, is_tool=True))
    assert tool["result"]["isError"] is True
    assert ("resultType" in tool["result"]) == (era is Era.MODERN)
    other = read(refusals.unrecorded(1, "disk full", era=era, is_tool=False))
    assert other["error"]["code"] == 50301
    assert "disk full" in other["error"]["message"]


def test_withheld_answer_says_whose_it_was():
    assert "server's answer: why" in read(refusals.answer(1, "why"))["error"]["message"]
    assert "host's answer: why" in read(refusals.answer(1, "why", Side.HOST))["error"]["message"]
    assert read(refusals.gone(1))["error"]["code"] == 50202
    told = "mcpguard ended this connection: it is in quarantine; whether it did what was asked is not known"
    assert read(refusals.gone(1, "it is in quarantine"))["error"] == {"code": 50202, "message": told}
    assert read(refusals.invalid("a", "why"))["error"] == {
        "code": -32600,
        "message": "mcpguard refused this message: why",
    }


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("elicitation/create", {"result": {"action": "decline"}}),
        ("sampling/createMessage", {"error": {"code": -1, "message": "sampling refused: why"}}),
        ("roots/list", {"error": {"code": -32601, "message": "roots/list refused: why"}}),
        ("tools/call", {"error": {"code": -32601, "message": "tools/call refused: why"}}),
    ],
)
def test_server_is_told_no_in_the_shape_that_the_method_has_for_it(method, answer):
    assert read(refusals.to_server(0, method, "why")) == {"jsonrpc": "2.0", "id": 0, **answer}
