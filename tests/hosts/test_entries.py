"""What entries say: shapes that hosts write, and those that nobody understands."""

import json

import pytest

from mcpguard.hosts.entries import Dialect, Form
from mcpguard.hosts.wrapping import File

PATHS = (("s",),)
OPENCODE = (("mcp",), ("mcp", "servers"))
NO_OBJECT = "it is no object, or stands for another by an anchor"


def one(value):
    found = File(json.dumps({"s": {"a": value}}).encode(), "f", Dialect.JSON, PATHS).entries()
    assert [entry.name for entry in found] == ["a"]
    return found[0]


@pytest.mark.parametrize(
    ("value", "form", "argv"),
    [
        ({"command": "x", "args": ["y"]}, Form.COMMAND, ("x", "y")),
        ({"command": "x"}, Form.COMMAND, ("x",)),
        ({"cmd": "x", "args": []}, Form.COMMAND, ("x",)),
        ({"command": ["x", "y"]}, Form.ARRAY, ("x", "y")),
        ({"transport": {"type": "stdio", "command": "x", "args": ["y"]}}, Form.COMMAND, ("x", "y")),
        ({"transport": "stdio", "command": "x"}, Form.COMMAND, ("x",)),
        ({"command": {"path": "x", "args": ["y"]}}, Form.COMMAND, ("x", "y")),
        ({"command": "x", "args": ["${input:k}", "${HOME}"]}, Form.COMMAND, ("x", "${input:k}", "${HOME}")),
        ({"url": "https://x"}, Form.REMOTE, ()),
        ({"serverUrl": "https://x"}, Form.REMOTE, ()),
        ({"type": "sse"}, Form.REMOTE, ()),
        ({"transport": {"type": "streamableHttp", "url": "https://x"}}, Form.REMOTE, ()),
        ({"command": None, "url": "https://x"}, Form.REMOTE, ()),
        ({"type": ["sse"]}, Form.UNKNOWN, ()),
        ({"command": ""}, Form.UNKNOWN, ()),
        ({"command": []}, Form.UNKNOWN, ()),
        ({"command": ["x", 1]}, Form.UNKNOWN, ()),
        ({"command": None}, Form.UNKNOWN, ()),
        ({"command": 1}, Form.UNKNOWN, ()),
        ({"command": "x", "args": None}, Form.COMMAND, ("x",)),
        ({"type": "builtin", "timeout": 300}, Form.BUILTIN, ()),
        ({"type": "builtin", "command": "x"}, Form.COMMAND, ("x",)),
        ({"command": "x", "args": [1]}, Form.UNKNOWN, ()),
        ({"command": "x", "args": "y"}, Form.UNKNOWN, ()),
        ({"command": "\ud800"}, Form.UNKNOWN, ()),
        ({"command": "x", "args": ["\udfff"]}, Form.UNKNOWN, ()),
        ({"command": ["x", "\udfff"]}, Form.UNKNOWN, ()),
        ({}, Form.UNKNOWN, ()),
        (None, Form.UNKNOWN, ()),
        ([], Form.UNKNOWN, ()),
    ],
)
def test_shapes(value, form, argv):
    entry = one(value)
    assert (entry.form, entry.argv) == (form, argv)
    assert bool(entry.why) == (form is Form.UNKNOWN)
    assert entry.starts == bool(argv)


@pytest.mark.parametrize(
    ("flags", "enabled"),
    [
        ({}, True),
        ({"disabled": True}, False),
        ({"disabled": False}, True),
        ({"enabled": False}, False),
        ({"enabled": True}, True),
    ],
)
def test_whether_it_is_started(flags, enabled):
    assert one({"command": "x", **flags}).enabled is enabled


def test_facts():
    entry = one({"command": "x", "env": {"A": "b", "N": None, "H": "\ud800"}, "cwd": "/w", "url": ""})
    assert (entry.env, entry.cwd) == ({"A": "b"}, "/w")
    assert one({"url": "\ud800", "httpUrl": "https://x"}).url == "https://x"
    assert (
        one({"command": "x", "envs": {"A": "b"}}).env
        == one({"command": "x", "environment": {"A": "b"}}).env
        == {"A": "b"}
    )


def test_lists_and_names():
    text = '[{"name": "a", "command": "x"},\n{"command": "y"}, 1,\n{"name": "b", "command": "x"},\n{"name": "a", "command": "z"}]'
    found = File(f'{{"s": {text}}}'.encode(), "f", Dialect.JSON, PATHS).entries()
    assert [(entry.path, entry.line, entry.form) for entry in found] == [
        (("s", "#1"), 2, Form.UNKNOWN),
        (("s", "#2"), 2, Form.UNKNOWN),
        (("s", "b"), 3, Form.COMMAND),
        (("s", "a"), 4, Form.UNKNOWN),
    ]
    assert [entry.why for entry in found[:2]] == ["it has no name", NO_OBJECT]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("s:\n- command: x", "it has no name"),
        ("s:\n- uses: a/b", "it has no name"),
        ("s:\n- name: 5\n  command: x", "it has no name"),
        ("s:\n- name:\n  command: x", "it has no name"),
        ("s:\n- just text", NO_OBJECT),
        ("s:\n-", NO_OBJECT),
        ("x: &x {name: a, cmd: x}\ns:\n- *x", NO_OBJECT),
        ("x: &x [{name: a, cmd: x}]\ns: *x", NO_OBJECT),
        ("x: &x [{cmd: x}]\ns: *x", NO_OBJECT),
        ("x: &x {cmd: x}\ns:\n- {<<: *x, name: a}", NO_OBJECT),
    ],
)
def test_no_entry_of_a_list_is_lost(text, why):
    (entry,) = File(text.encode(), "f", Dialect.YAML, PATHS).entries()
    assert (entry.form, entry.why) == (Form.UNKNOWN, why)
    assert entry.name in ("a", "#1")
    assert entry.line >= 1


def test_a_name_that_is_no_text_is_shown_escaped():
    (entry,) = File(rb'{"s": {"\ud800": {"command": "x"}}}', "f", Dialect.JSON, PATHS).entries()
    assert (entry.name, entry.form) == ("\\ud800", Form.UNKNOWN)


@pytest.mark.parametrize(
    "text", ["x: &x {a: {cmd: x}}\ns: *x", "x: &x {a: {cmd: x}}\ns: {<<: *x}", "x: &x {cmd: x}\ns: {a: *x}"]
)
def test_no_server_hides_behind_an_anchor(text):
    (entry,) = File(text.encode(), "f", Dialect.YAML, PATHS).entries()
    assert (entry.name, entry.form) == ("a", Form.UNKNOWN)


def test_what_holds_servers_is_none():
    data = b'{"mcp": {"servers": {"a": {"command": ["x"]}}, "b": {"command": ["y"]}}}'
    found = File(data, "f", Dialect.JSON, (("mcp",), ("mcp", "servers"))).entries()
    assert {entry.path for entry in found} == {("mcp", "servers", "a"), ("mcp", "b")}


@pytest.mark.parametrize(
    "one", [{"type": "local", "command": ["x"]}, {"command": ["x"]}, {"command": "x", "args": None}]
)
def test_server_may_be_called_as_what_holds_servers_is(one):
    """OpenCode of version 1 has servers where version 2 has what holds them."""
    data = json.dumps({"mcp": {"servers": one, "b": {"command": ["y"]}}}).encode()
    found = File(data, "f", Dialect.JSON, OPENCODE).entries()
    assert {entry.path: entry.argv for entry in found} == {("mcp", "servers"): ("x",), ("mcp", "b"): ("y",)}


def test_remote_server_may_be_called_so_too():
    data = b'{"mcp": {"servers": {"type": "remote", "url": "https://h"}}}'
    (entry,) = File(data, "f", Dialect.JSON, OPENCODE).entries()
    assert (entry.path, entry.form) == (("mcp", "servers"), Form.REMOTE)


@pytest.mark.parametrize("name", ["command", "type", "url", "transport", "cmd"])
def test_servers_may_be_called_as_members_of_servers_are(name):
    data = json.dumps({"mcp": {"servers": {name: {"command": ["x"]}}}}).encode()
    (entry,) = File(data, "f", Dialect.JSON, OPENCODE).entries()
    assert (entry.path, entry.argv) == (("mcp", "servers", name), ("x",))
