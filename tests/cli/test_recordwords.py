"""One record in the words of a person: the pure part of `audit tail` and of the console."""

import json
import re

import pytest

from mcpguard.audit.record import parse_line
from mcpguard.cli.recordwords import COLOURS, Painter, colour_wanted, local, text, told, what

EVIL = "a\x1b[2J\u202eb\n"
TAME = "a\\u001b[2J\\u202eb\\u000a"
HEAD = {"v": 1, "seq": 1, "prev": "0" * 64, "t": "2026-11-18T11:06:40.123456Z", "boot": "a" * 32}


def line(**body: object) -> bytes:
    """A line of the log."""
    return json.dumps({**HEAD, **body}, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"type": "call", "method": "tools/call", "tool": "read"}, "tools/call read"),
        ({"type": "call", "method": "resources/read", "target": "file:///x"}, "resources/read file:///x"),
        ({"type": "call", "method": "ping"}, "ping"),
        ({"type": "outcome", "method": "tools/call", "tool": "read"}, "< tools/call read"),
        (
            {"type": "approval", "event": "asked", "method": "tools/call", "target": "pay"},
            "approval asked pay",
        ),
        ({"type": "approval", "event": "void"}, "approval void"),
        ({"type": "finding", "kind": "tools", "name": "read"}, "finding tools read"),
        ({"type": "finding", "kind": "instructions"}, "finding instructions"),
        ({"type": "trust", "event": "host", "name": "claude"}, "trust host claude"),
        ({"type": "session", "event": "begin"}, "session begin"),
        ({"type": "drop", "side": "server"}, "drop server"),
        ({"type": "drop"}, "drop"),
        ({}, ""),
        ({"type": 7, "event": ["x"]}, '7 ["x"]'),
        ({"type": "call", "method": EVIL, "tool": EVIL}, f"{TAME} {TAME}"),
    ],
)
def test_what_it_is_about(body, words):
    assert what(body) == words


@pytest.mark.parametrize(
    ("body", "word", "rest"),
    [
        ({"type": "call", "decision": "allow", "rule": "r"}, "allow", "r"),
        ({"type": "call", "decision": "deny", "rule": "r", "binding": False}, "deny", "r  (observed only)"),
        ({"type": "outcome", "status": "ok", "latency_us": 1234, "size": 99}, "ok", "1.234 ms  99 bytes"),
        ({"type": "outcome", "status": "lost", "latency_us": None, "size": 0}, "lost", "?  0 bytes"),
        ({"type": "drop", "reason": "no such id", "bytes": 12}, "drop", "no such id  12 bytes"),
        ({"type": "finding", "fault": "f", "kind": "tools", "pinned": "a" * 64, "seen": ""}, "finding",
         f"f  pinned {'a' * 12}"),
        ({"type": "finding", "fault": "f", "kind": "tools", "pinned": "", "seen": "b" * 64}, "finding",
         f"f  seen {'b' * 12}"),
        ({"type": "finding", "fault": "f", "kind": "serverInfo", "pinned": "x", "seen": "y"}, "finding", "f"),
        ({"type": "trust", "trust_digest": "d", "trust": 2, "revocations": 1, "manifests": {"a": 1}}, "trust",
         "trust set 2  revocations 1  manifests 1"),
        ({"type": "trust", "trust_digest": "d", "trust": 2, "revocations": 1, "manifests_left_out": 7}, "trust",
         "trust set 2  revocations 1  manifests 7"),
        ({"type": "trust", "trust_digest": "d", "trust": 2}, "trust", "trust set 2  revocations   manifests ?"),
        ({"type": "trust", "manifest": "sha256:" + "c" * 64, "version": 3, "pin": "P1"}, "trust",
         f"version 3  pin P1  publisher ?  sha256:{'c' * 12}"),
        ({"type": "trust", "host": "h"}, "trust", "h"),
        ({"type": "trust", "host": {"exe": "/x"}}, "trust", '{"exe":"/x"}'),
        ({"type": "session", "event": "begin", "conn": "c1", "policy": "p", "n": 1}, "", "policy=p  n=1"),
        ({"type": "log", EVIL: EVIL}, "", f"{TAME}={TAME}"),
        ({}, "", ""),
    ],
)  # fmt: skip
def test_word_on_which_it_turns(body, word, rest):
    assert told(body) == (word, rest)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("x", "x"),
        (None, "-"),
        (7, "7"),
        (True, "true"),
        ([1, "a"], '[1,"a"]'),
        ({}, "{}"),
        (EVIL, TAME),
        ("", ""),
    ],
)
def test_any_member_is_text(value, shown):
    assert text(value, "-") == shown


def test_time_is_local_to_the_millisecond_and_a_strange_one_stands_as_it_is():
    assert re.fullmatch(r"2026-11-1[789] \d\d:\d\d:40\.123", local("2026-11-18T11:06:40.123456Z"))
    assert local("2026-13-18T11:06:40.123456Z") == "2026-13-18T11:06:40.123"
    assert len(local("x")) == len("2026-11-18 11:06:40.123") == 23
    assert local("0001-01-01T00:00:00.000000Z").startswith("0001-01-01")


def test_line_has_columns():
    painter = Painter(colour=False)
    body = {"type": "call", "conn": "k3f9", "server": "files", "method": "tools/call", "tool": "read",
            "decision": "allow", "rule": "r"}  # fmt: skip
    words = f"{local(HEAD['t'])}  k3f9    files           {'tools/call read':<32}  allow       r"
    assert painter.line(line(**body)) == words
    bare = painter.line(line(type="session", event="begin"))
    assert bare == f"{local(HEAD['t'])}  -       -               session begin"


def test_colour_is_of_the_decision_alone():
    body = {"type": "call", "method": "ping", "decision": "deny", "rule": "r"}
    painted = Painter(colour=True).line(line(**body))
    assert painted.count("\x1b[31mdeny      \x1b[0m") == 1
    assert painted.replace("\x1b[31m", "").replace("\x1b[0m", "") == Painter(colour=False).line(line(**body))
    assert "\x1b" not in Painter(colour=True).line(line(type="session", event="begin"))
    assert set(COLOURS) > {"allow", "deny", "ask"}


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff\x1b[2J", b"[1]", b'{"v":1}', line()[:-1]])
def test_line_that_cannot_be_read_says_so_and_steers_nothing(raw):
    shown = Painter(colour=True).line(raw)
    assert shown.startswith("(unreadable: ")
    assert shown.isprintable()


def test_nothing_in_a_record_is_obeyed():
    body = dict.fromkeys(("type", "conn", "server", "method", "tool", "event", "x"), EVIL)
    assert Painter(colour=False).line(line(**body)).isprintable()


def test_a_call_with_how_it_ended():
    call = line(type="call", method="tools/call", tool="t", decision="allow", rule="r")
    outcome = parse_line(
        json.dumps(
            {**HEAD, "type": "outcome", "status": EVIL, "latency_us": 1500, "size": 9}, separators=(",", ":")
        ).encode()
    )
    painter = Painter(colour=False)
    assert painter.answered(call, None) == painter.line(call)
    assert painter.answered(call, outcome) == f"{painter.line(call)}  -> {TAME}  1.500 ms  9 bytes"


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
        ({"FORCE_COLOR": "1"}, True),
        ({"CLICOLOR_FORCE": "0"}, False),
    ],
)
def test_colour_is_asked_for(monkeypatch, environ, wanted):
    for name in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert colour_wanted() is wanted
