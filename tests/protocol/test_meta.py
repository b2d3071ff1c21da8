"""`_meta`: reserved prefixes, shapes, bounds, and the guard's own keys."""

import pytest

from mcpguard import limits
from mcpguard.protocol import meta
from mcpguard.protocol.meta import check_request_meta, claimed_name, reserved, strip_own
from mcpguard.protocol.strict import Refused

TRACE = "00-" + "0af7651916cd43dd8448eb211c80319c" + "-" + "b7ad6b7169203331" + "-01"


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"progressToken": 1},
        {"io.modelcontextprotocol/related-task": {"taskId": "t"}},
        {meta.VERSION: "2026-07-28", meta.CAPABILITIES: {}, meta.CLIENT_INFO: {}, meta.LOG_LEVEL: "debug"},
        {"com.example/x": [1], "plain": None, "a.b-c_d": 1, "": 1, "modelcontextprotocol/x": 1, "mcp/x": 1},
        {"com.example.mcp/x": 1, "a/b/c": 1},
        {"traceparent": TRACE, "tracestate": "a=b"},
        {"traceparent": ""},
        {"a": "x" * (limits.META_BYTES - 8)},
    ],
)
def test_honest_meta_passes_unchanged(value):
    before = dict(value)
    assert check_request_meta(value) is value
    assert value == before


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "x",
        5,
        {"io.modelcontextprotocol/unheard": 1},
        {"io.modelcontextprotocol.x/y": 1},
        {"IO.ModelContextProtocol/protocolVersion": 1},
        {"dev.mcp/x": 1},
        {"io.modelc\u043entextprotocol/protocolVersion": "2026-07-28"},
        {"a b": 1},
        {"\u00e9": 1},
        {"a\n": 1},
        {"traceparent": TRACE + "\r\nX: y"},
        {"traceparent": [TRACE]},
        {"traceparent": TRACE.upper()},
        {meta.LOG_LEVEL: "loud"},
        {meta.LOG_LEVEL: ["debug"]},
        {meta.LOG_LEVEL: {}},
        {meta.LOG_LEVEL: None},
        {"a": "x" * limits.META_BYTES},
    ],
)
def test_meta_that_squats_or_smuggles_is_refused(value):
    with pytest.raises(Refused):
        check_request_meta(value)


@pytest.mark.parametrize(
    ("key", "answer"),
    [
        ("io.modelcontextprotocol/x", True),
        ("dev.MCP/x", True),
        ("io.modelcontextprotocol.sub/x", True),
        ("modelcontextprotocol/x", False),
        ("com.example.mcp/x", False),
        ("io.modelcontextprotocol", False),
        ("progressToken", False),
    ],
)
def test_reserved_is_told_by_the_second_label(key, answer):
    assert reserved(key) is answer


def test_guards_own_keys_are_removed_in_any_case_of_letters():
    tags = {"dev.mcpguard/a": 1, "b": 2, "Dev.McpGuard/c": 3, "dev.mcpguardian/d": 4}
    assert strip_own(tags) is True
    assert tags == {"b": 2, "dev.mcpguardian/d": 4}
    assert strip_own(tags) is False
    for other in (None, [], "dev.mcpguard/a", 5):
        assert strip_own(other) is False


@pytest.mark.parametrize(
    ("info", "name"),
    [
        ({"name": "a", "version": "1"}, "a 1"),
        ({"name": "a"}, "a"),
        ({"name": ["x"], "version": None}, "['x'] None"),
        ({"name": "a" * 500}, "a" * limits.NAME_CHARS),
        ({}, ""),
        (None, ""),
        ("a 1", ""),
    ],
)
def test_claimed_name_is_short_text(info, name):
    assert claimed_name(info) == name


@pytest.mark.parametrize("key", ["ProgressToken", "progresstoken", "PROGRESSTOKEN"])
def test_key_that_looks_like_the_progress_token_is_refused(key):
    with pytest.raises(Refused, match="looks like"):
        check_request_meta({key: 1})
