"""What entries say: shapes that hosts write, and those that nobody understands."""

import json

import pytest

from mcpguard.hosts.entries import Dialect, Form, entries

PATHS = (("s",),)


def one(value):
    found = entries(json.dumps({"s": {"a": value}}).encode(), "f", Dialect.JSON, PATHS)
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
        ({"command": "x", "args": None}, Form.UNKNOWN, ()),
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
    found = entries(f'{{"s": {text}}}'.encode(), "f", Dialect.JSON, PATHS)
    assert [(entry.path, entry.line, entry.form) for entry in found] == [
        (("s", "b"), 3, Form.COMMAND),
        (("s", "a"), 4, Form.UNKNOWN),
    ]


def test_a_name_that_is_no_text_is_shown_escaped():
    (entry,) = entries(rb'{"s": {"\ud800": {"command": "x"}}}', "f", Dialect.JSON, PATHS)
    assert (entry.name, entry.form) == ("\\ud800", Form.UNKNOWN)


@pytest.mark.parametrize(
    "text", ["x: &x {a: {cmd: x}}\ns: *x", "x: &x {a: {cmd: x}}\ns: {<<: *x}", "x: &x {cmd: x}\ns: {a: *x}"]
)
def test_no_server_hides_behind_an_anchor(text):
    (entry,) = entries(text.encode(), "f", Dialect.YAML, PATHS)
    assert (entry.name, entry.form) == ("a", Form.UNKNOWN)


def test_what_holds_servers_is_none():
    data = b'{"mcp": {"servers": {"a": {"command": ["x"]}}, "b": {"command": ["y"]}}}'
    found = entries(data, "f", Dialect.JSON, (("mcp",), ("mcp", "servers")))
    assert {entry.path for entry in found} == {("mcp", "servers", "a"), ("mcp", "b")}
