"""Views: what a request is about, and what a definition or a result may hold."""

import pytest

from mcpguard import limits
from mcpguard.protocol import views
from mcpguard.protocol.strict import Refused
from mcpguard.protocol.views import definition_fault, honest_name, result_fault


@pytest.mark.parametrize(
    "name", ["a", "read_file", "a b", "a/b", "Lire \u00e9", "\u65e5\u672c", "a" * 128, "a.b-c:d"]
)
def test_honest_names(name):
    assert honest_name(name) is True


@pytest.mark.parametrize(
    "name",
    [
        "",
        " a",
        "a ",
        "a" * 129,
        "a\n",
        "a\x1b",
        "a\x00",
        "\u00a0a",
        "a\u200b",
        "a\u202eb",
        "\uff41",
        "e\u0301",
        "\ufeffa",
        None,
        5,
        ["a"],
        {},
        True,
    ],
)
def test_deceptive_names(name):
    assert honest_name(name) is False


@pytest.mark.parametrize(
    "key",
    ["Name", "name ", "NAME", "na\u200dme", "\uff4eame", "Arguments", "argument\u017f", "Method", "_META"],
)
def test_member_that_looks_like_one_of_the_protocol_is_refused(key):
    for _ in range(2):
        with pytest.raises(Refused, match="looks like"):
            views.check_params({key: 1})


def test_members_of_others_are_left_alone():
    for _ in range(2):
        views.check_params({"name": "a", "arguments": {}, "x-vendor": 1, "names": 1, "_meta": {}})
    for number in range(limits.SNAPSHOT_NAMES + 1):
        views.check_params({f"k{number}": 1})
    assert len(views._checked) <= limits.SNAPSHOT_NAMES


def test_tool_name_is_exact_and_arguments_are_an_object():
    assert views.tool_name({"name": "a"}) == "a"
    assert views.tool_name({"name": "a", "arguments": None}) == "a"
    assert views.tool_name({"name": "a", "arguments": {}}, {"a": 1}) == "a"
    for params in (
        {},
        {"name": "a "},
        {"name": ["a"]},
        {"name": "a", "arguments": []},
        {"name": "a", "arguments": "x"},
    ):
        with pytest.raises(Refused):
            views.tool_name(params, {"a": 1})


@pytest.mark.parametrize(
    ("method", "params", "target"),
    [
        ("resources/read", {"uri": "file:///a%20b"}, "file:///a%20b"),
        ("resources/subscribe", {"uri": "a:b"}, "a:b"),
        ("resources/unsubscribe", {"uri": "a:b"}, "a:b"),
        ("prompts/get", {"name": "p"}, "p"),
        ("completion/complete", {"ref": {"type": "ref/prompt", "name": "p"}}, "prompt p"),
        ("completion/complete", {"ref": {"type": "ref/resource", "uri": "a:{b}"}}, "resource a:{b}"),
        ("ping", {}, ""),
    ],
)
def test_target_is_what_the_request_names(method, params, target):
    assert views.target(method, params) == target


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("resources/read", {}),
        ("resources/read", {"uri": ""}),
        ("resources/read", {"uri": " a:b"}),
        ("resources/read", {"uri": "a:b\n"}),
        ("resources/read", {"uri": "a:\u202eb"}),
        ("resources/read", {"uri": ["a:b"]}),
        ("resources/read", {"uri": "a" * (limits.URI_CHARS + 1)}),
        ("prompts/get", {"name": "p "}),
        ("prompts/get", {}),
        ("completion/complete", {}),
        ("completion/complete", {"ref": "ref/prompt"}),
        ("completion/complete", {"ref": {"type": "ref/prompt"}}),
        ("completion/complete", {"ref": {"type": "ref/resource", "uri": 5}}),
        ("completion/complete", {"ref": {"type": ["ref/prompt"], "name": "p"}}),
    ],
)
def test_request_that_names_nothing_is_refused(method, params):
    with pytest.raises(Refused):
        views.target(method, params)


def test_cursor_is_a_string_and_the_empty_one_is_legal():
    assert views.cursor({}) is None
    assert views.cursor({"cursor": ""}) == ""
    assert views.cursor({"cursor": "x" * limits.CURSOR_CHARS}) == "x" * limits.CURSOR_CHARS
    for value in (None, 5, [], "x" * (limits.CURSOR_CHARS + 1)):
        with pytest.raises(Refused):
            views.cursor({"cursor": value})


# --- definitions -------------------------------------------------------------------------------------------


def nested(depth):
    schema = {}
    for _ in range(depth - 1):
        schema = {"x": schema}
    return schema


def fan_out(levels):
    """Each definition refers to the next one twice."""
    definitions = {
        f"d{i}": {"anyOf": [{"$ref": f"#/$defs/d{i + 1}"}, {"$ref": f"#/$defs/d{i + 1}"}]}
        for i in range(levels)
    }
    return {"$defs": {**definitions, f"d{levels}": {}}, "$ref": "#/$defs/d0"}


@pytest.mark.parametrize(
    "entry",
    [
        {"name": "a"},
        {"name": "a", "description": "two\nlines\tand \u00e9 \U0001f600", "inputSchema": {"type": "object"}},
        {"name": "a", "icons": [{"src": "https://x/y.png"}, {"src": "data:image/png;base64,AA=="}]},
        {"name": "a", "icons": None},
        {"name": "a", "inputSchema": nested(limits.SCHEMA_DEPTH)},
        {"name": "a", "inputSchema": fan_out(3)},
        {
            "name": "a",
            "inputSchema": {
                "$defs": {"n": {"properties": {"n": {"$ref": "#/$defs/n"}}}},
                "$ref": "#/$defs/n",
            },
        },
        {
            "name": "a",
            "inputSchema": {"$ref": "https://elsewhere", "x": {"$ref": "#/no/such"}, "y": {"$ref": 5}},
        },
        {
            "name": "a",
            "inputSchema": {
                "$defs": {"a/b": {}, "c~d": {}},
                "x": [{"$ref": "#/$defs/a~1b"}, {"$ref": "#/$defs/c~0d/deeper"}],
            },
        },
        {"name": "a", "description": "d" * limits.DESCRIPTION_CHARS},
        {"name": "a", "description": 5},
    ],
)
def test_honest_definition_has_no_fault(entry):
    assert definition_fault(entry) == ""


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        (5, "not an object"),
        ({}, "not what it looks like"),
        ({"name": "a\u200b"}, "not what it looks like"),
        ({"name": "a", "description": "d" * (limits.DESCRIPTION_CHARS + 1)}, "longer"),
        ({"name": "a", "inputSchema": []}, "not an object"),
        ({"name": "a", "inputSchema": nested(limits.SCHEMA_DEPTH + 1)}, "deeper"),
        ({"name": "a", "inputSchema": {"x": [{"$ref": "#"}] * (limits.SCHEMA_REFS + 1)}}, "references"),
        ({"name": "a", "inputSchema": fan_out(12)}, "multiply"),
        ({"name": "a", "icons": [{"src": "javascript:alert(1)"}]}, "icon"),
        ({"name": "a", "icons": [{"src": "data:text/html,x"}]}, "icon"),
        ({"name": "a", "icons": ["https://x"]}, "icon"),
        ({"name": "a", "icons": {}}, "icon"),
        ({"name": "a", "description": "x\x1b[2Jy"}, "invisible"),
        ({"name": "a", "description": "x\ry"}, "invisible"),
        ({"name": "a", "title": "x\u202ey"}, "invisible"),
        ({"name": "a", "description": "x\u2028y"}, "invisible"),
        ({"name": "a", "description": "x\U000e0041"}, "invisible"),
        ({"name": "a", "description": "x\U000e0101"}, "invisible"),
        ({"name": "a", "description": "x\u2062"}, "invisible"),
        ({"name": "a", "inputSchema": {"properties": {"p\u200b": {}}}}, "invisible"),
        ({"name": "a", "inputSchema": {"enum": ["\x08"]}}, "invisible"),
    ],
)
def test_definition_that_deceives_or_exhausts_has_a_fault(entry, fault):
    assert fault in definition_fault(entry)


@pytest.mark.parametrize(
    "other", [{"uri": "a:b"}, {"uriTemplate": "a:{b}"}, {"uri": None, "uriTemplate": ""}]
)
@pytest.mark.parametrize("name", ["read_\u0430 ", " read", "", "\uff52ead", None, 5])
def test_member_of_another_kind_excuses_no_name(other, name):
    assert "not what it looks like" in definition_fault({"name": name, **other})


@pytest.mark.parametrize("known_by", ["uri", "uriTemplate"])
def test_resource_is_known_by_its_uri_and_its_name_is_for_people(known_by):
    assert definition_fault({known_by: "a:{b}", "name": "anything "}, known_by) == ""
    assert definition_fault({known_by: "a:{b}"}, known_by) == ""
    assert "invisible" in definition_fault({known_by: "a:{b}\u200b"}, known_by)
    for entry in ({"name": "a"}, {"name": "a", known_by: None}, {"name": "a", known_by: ["a:b"]}):
        assert definition_fault(entry, known_by) == f"has no {known_by}"


def test_schema_of_mutual_references_is_measured_in_bounded_time():
    definitions = {f"d{i}": {"anyOf": [{"$ref": f"#/$defs/d{j}"} for j in range(7)]} for i in range(7)}
    assert "multiply" in definition_fault(
        {"name": "a", "inputSchema": {"$defs": definitions, "$ref": "#/$defs/d0"}}
    )


# --- results -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "result"),
    [
        ("tools/call", {}),
        ("tools/call", {"content": "x"}),
        ("tools/call", {"content": [{"type": "text", "text": "<script>"}]}),
        ("tools/call", {"content": [{"type": "image", "data": "AAAA"}, {"type": "audio", "data": ""}]}),
        ("tools/call", {"content": [{"type": "resource_link", "uri": "https://x"}, {"type": "new"}]}),
        ("tools/call", {"content": [{"type": "resource", "resource": {"uri": "a:b", "text": "x"}}]}),
        (
            "prompts/get",
            {
                "messages": [
                    {"role": "user", "content": {"type": "text"}},
                    {"role": "assistant", "content": {}},
                ]
            },
        ),
        ("prompts/get", {"messages": None}),
        ("resources/read", {"contents": [{"uri": "a:b", "blob": "AA=="}, {"uri": "a:c", "text": "!"}, 5]}),
        ("resources/read", {"contents": 5}),
        ("completion/complete", {"completion": {"values": []}}),
    ],
)
def test_honest_result_has_no_fault(method, result):
    assert result_fault(method, result) == ""


@pytest.mark.parametrize(
    ("method", "result", "fault"),
    [
        ("tools/call", {"content": [None]}, "not an object"),
        ("tasks/result", {"content": [{"type": "image", "data": "A"}]}, "base64"),
        ("tools/call", {"content": [{"type": "image", "data": "AA==AA=="}]}, "base64"),
        ("tools/call", {"content": [{"type": "image", "data": ["A"]}]}, "base64"),
        ("tools/call", {"content": [{"type": "resource_link", "uri": " DATA:text/html,x"}]}, "scheme"),
        ("tools/call", {"content": [{"type": "resource_link"}]}, "scheme"),
        ("tools/call", {"content": [{"type": "resource", "resource": {"blob": "\u00e9"}}]}, "base64"),
        ("prompts/get", {"messages": [{"role": "system", "content": {}}]}, "role"),
        ("prompts/get", {"messages": [{"role": ["user"]}]}, "role"),
        ("prompts/get", {"messages": [5]}, "role"),
        (
            "prompts/get",
            {"messages": [{"role": "user", "content": {"type": "image", "data": "!"}}]},
            "base64",
        ),
        ("resources/read", {"contents": [{"blob": "A"}]}, "base64"),
    ],
)
def test_result_that_deceives_a_reader_has_a_fault(method, result, fault):
    assert fault in result_fault(method, result)


@pytest.mark.parametrize("method", ["tools/call", "prompts/get", "resources/read"])
def test_member_of_a_result_that_looks_like_another_is_a_fault(method):
    for _ in range(2):
        assert "looks like" in result_fault(method, {"Content": []})
        assert "looks like" in result_fault(method, {"mes\u017fages": []})
        assert result_fault(method, {"content": [], "mine": 1}) == ""


def test_shapes_of_results_are_remembered_up_to_a_bound():
    for number in range(limits.SNAPSHOT_NAMES + 1):
        assert result_fault("tools/call", {f"k{number}": 1}) == ""
    assert len(views._checked_results) <= limits.SNAPSHOT_NAMES


@pytest.mark.parametrize("uri", ["javascript:x", " data:text/html,x", 5])
def test_embedded_resource_that_runs_code_is_a_fault(uri):
    content = [{"type": "resource", "resource": {"uri": uri, "text": "x"}}]
    assert "scheme" in result_fault("tools/call", {"content": content})
