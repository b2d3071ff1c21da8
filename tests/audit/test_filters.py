"""Which records are wanted."""

import json

import pytest

from mcpguard import model
from mcpguard.audit.facets import Facets
from mcpguard.audit.filters import Filter, Matcher, pattern

TIME = "2026-11-18T11:06:40.123456Z"
CALL = Facets("call", "k3f9", "files", "claude-code", 1000, "read_file", "allow", "host", 7)


@pytest.mark.parametrize(
    ("wanted", "good"),
    [
        ({}, True),
        ({"since": TIME}, True),
        ({"since": "2026-11-18T11:06:40.123457Z"}, False),
        ({"until": TIME}, False),
        ({"until": "2026-11-18T11:06:40.123457Z"}, True),
        ({"hosts": ("claude-code",)}, True),
        ({"hosts": ("claude",)}, False),
        ({"hosts": ("vscode", "claude*")}, True),
        ({"servers": ("f?les",)}, True),
        ({"servers": ("f?les?",)}, False),
        ({"tools": ("*_file",), "servers": ("other",)}, False),
        ({"tools": ("READ_FILE",)}, False),
        ({"decisions": ("deny", "allow")}, True),
        ({"decisions": ("deny",)}, False),
        ({"types": ("call",)}, True),
        ({"types": ("outcome",)}, False),
        ({"conns": ("k3*",)}, True),
        ({"conns": ("x",)}, False),
        ({"principals": ("uid:1000",)}, True),
        ({"principals": ("uid:100",)}, False),
        ({"principals": ("host:claude*",)}, True),
        ({"principals": ("uid:7", "host:x")}, False),
        ({"principals": ("uid:7", "host:claude-code")}, True),
    ],
)
def test_filters(wanted, good):
    assert Matcher(Filter(**wanted)).matches(TIME, CALL) is good


def test_nobody_is_no_principal():
    nobody = Facets("log")
    for wanted in ("uid:0", "host:*", "host:x"):
        assert not Matcher(Filter(principals=(wanted,))).matches(TIME, nobody)


@pytest.mark.parametrize("name", ["a[1]", "a.b", "a+b", "(node)", "a|b", "\\d", "^x$", "a\nb"])
def test_only_two_characters_are_special(name):
    assert pattern((name,))(name)
    assert not pattern((name,))(name + "x")
    assert not pattern((name,))("x")
    assert pattern(("*",))(name)


def test_names_are_found_as_they_are_shown():
    name = "del\x1b[2J\u202eete\\"
    assert pattern((model.visible(name),))(name)
    assert pattern((name,))(name)


def test_names_without_end_are_forgotten():
    matches = pattern(("a*",))
    assert sum(matches(f"a{number}") for number in range(20_001)) == 20_001
    assert not matches("b")


@pytest.mark.parametrize("text", ["read", 'a"b', "back\\slash", "naïve", "a\u202eb", "\x1b[2J", "ticket\n"])
def test_text_is_found_as_it_is_written(text):
    written = model.escape(json.dumps({"x": f"..{text}.."}, ensure_ascii=False)).encode()
    assert Matcher(Filter(text=text)).may(written)
    assert not Matcher(Filter(text=text + "!")).may(written)


def test_text_is_found_as_it_is_copied_from_a_record():
    assert Matcher(Filter(text="\\u202e")).may(b'{"x":"a\\u202eb"}')


def test_text_that_is_no_unicode_is_no_error():
    assert not Matcher(Filter(text="a\udcff")).may(b"{}")
    assert Matcher(Filter()).may(b"")
