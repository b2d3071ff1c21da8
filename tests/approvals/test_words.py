"""A person sees everything of a call, obeys nothing of it, and is told what is left out."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard.approvals.book import Book
from mcpguard.approvals.ticket import State
from mcpguard.approvals.words import (
    LEAVES,
    VALUE_CHARS,
    asker,
    brief,
    change_lines,
    columns_of,
    describe,
    fit,
    question_text,
    span,
    ticket_lines,
)
from tests.approvals.questions import HOST, SECOND, YES, binding, question

HOSTILE = "a\x1b[2J\x9b31m\u202eb\u200bc\u2066\U000e0041\n\x7f\ufe0f\u3164"
HIDDEN = re.compile(
    r"[^\x20-\x7e\u00a1-\u1fff\u2e80-\ud7ff\u2026]|[\u115f\u1160\u17b4\u17b5\u200b-\u200f\u180b-\u180f]"
)


def ticket(arguments=None, *, before=None, now=0, **others):
    book = Book(b"k")
    if before is not None:
        book.went_through(binding(), before)
    return book.ask(question(arguments=arguments, **others), now)


def lines(*args, full=False, now=0, **others):
    return ticket_lines(describe(ticket(*args, **others), now), full=full)


def test_a_ticket_says_who_what_why_and_how_long():
    assert lines(
        {"path": "/srv/a", "n": [1, {}]}, now=SECOND, before={"path": "/srv/b", "old": 1}, confirm="presence"
    ) == [
        "TICKET  server files: write_file".replace("TICKET", ticket().ident),
        "  from    claude-code (uid 1000 pid 4711) [G2]",
        "          /usr/bin/node",
        "  with    arguments, 28 bytes",
        '    /path: "/srv/a"',
        "    /n/0: 1",
        "    /n/1: {}",
        "  changes since the last approved call of it",
        '    changed /path: "/srv/b" -> "/srv/a"',
        "    added /n/0: 1",
        "    added /n/1: {}",
        "    removed /old: 1",
        "  rule    ask-writes at policy.toml:7: writing is asked about",
        "  confirm whoever approves has to show presence",
        "  state   1 call waiting; 119 s left",
    ]


def test_the_server_is_shown_because_two_may_name_their_tools_alike():
    """Case 35."""
    shown = [lines(bound=binding(server=name)) for name in ("files", "mail")]
    assert "server files: write_file" in shown[0][0]
    assert "server mail: write_file" in shown[1][0]


def test_a_ticket_as_json_is_what_is_agreed():
    found = describe(ticket({"path": "x"}, before={"path": "y"}, now=0), 2 * SECOND + 1)
    assert found == {
        "id": found["id"], "server": "files", "method": "tools/call", "tool": "write_file",
        "arguments": {"path": "x"}, "before": {"path": "y"}, "host": HOST, "conn": "c1", "rule": "ask-writes",
        "origin": "policy.toml:7", "reason": "writing is asked about", "confirm": "", "asked_seconds": 2.0,
        "left_seconds": 118.0, "waiting": 1, "times": 1, "state": "open", "definition": "d", "manifest": "m",
    }  # fmt: skip
    assert json.loads(json.dumps(found)) == found


def test_a_closed_ticket_has_no_time_left():
    book = Book()
    asked = book.ask(question(), 0)
    book.answer(asked.ident, YES, 1)
    found = describe(asked, 2)
    assert (found["state"], found["left_seconds"]) == ("granted", 0.0)
    assert ticket_lines(found)[-1] == "  state   granted; 1 call waiting"


@pytest.mark.parametrize(
    "place", ["value", "key", "server", "target", "method", "reason", "rule", "origin", "exe", "host"]
)
@pytest.mark.parametrize("full", [False, True])
def test_nothing_of_others_is_obeyed_or_hidden(place, full):
    bound = {name: HOSTILE for name in ("server", "target", "method") if name == place}
    said = {name: HOSTILE for name in ("reason", "rule", "origin") if name == place}
    host = {**HOST, **{name: HOSTILE for name in ("exe", "host") if name == place}}
    arguments = {"value": {"path": HOSTILE}, "key": {HOSTILE: 1}}.get(place, {"path": "x"})
    shown = lines(arguments, bound=binding(**bound), host=host, before={"path": "x"}, full=full, **said)
    text = "".join(line.strip().removeprefix("| ") for line in shown)
    assert not HIDDEN.search(text), HIDDEN.search(text)
    assert "\\u202e" in text
    assert "\\u001b[2J" in text
    if place != "key" or full:  # a key that is cut keeps its end
        assert "\\udb40\\udc41" in text


def test_a_value_cannot_write_lines_that_look_like_ours():
    shown = lines(
        {"path": "x" * 67 + "  rule    allow-all at policy.toml:1: fine" + " " * 40 + "/path: 1"}, full=True
    )
    assert [line[:8] for line in shown if "allow-all" in line or line.endswith("/path: 1")] != []
    assert all(line.startswith("      | ") for line in shown if "allow-all" in line)
    assert sum(line.startswith("  rule ") for line in shown) == 1
    assert sum(line.startswith("    /path: ") for line in shown) == 1


def test_a_key_cannot_pretend_to_be_a_value():
    shown = lines({'path: "/safe"': "/etc/passwd"})
    assert '    "/path: \\"~1safe\\"": "/etc/passwd"' in shown


def test_what_is_cut_says_so_and_keeps_its_end():
    text = "x" * 5000 + "; rm -rf /"
    shown = lines({"command": text})
    joined = "".join(line.strip().removeprefix("| ") for line in shown)
    assert '; rm -rf /"' in joined
    assert f"…(+{len(text) + 2 - VALUE_CHARS} characters)…" in joined
    assert "          not all of it is shown" in shown
    assert "with    arguments, 5,024 bytes" in joined
    whole = lines({"command": text}, full=True)
    assert json.dumps(text) in "".join(line.strip().removeprefix("| ") for line in whole)
    assert not any("not all" in line for line in whole)


def test_many_members_are_counted():
    arguments = {f"m{number}": number for number in range(1000)}
    shown = lines(arguments, before={"x": 1})
    assert "    (+976 more members)" in shown
    assert f"    (+{1001 - LEAVES} more changes)" in shown
    assert "          not all of it is shown" in shown
    assert sum(line.startswith("    /m") for line in lines(arguments, full=True)) == 1000


@given(
    st.dictionaries(
        st.text(max_size=90), st.text(max_size=300) | st.lists(st.integers(), max_size=30), max_size=30
    ),
    st.none() | st.dictionaries(st.text(max_size=90), st.text(max_size=300), max_size=5),
    st.text(max_size=300),
    st.booleans(),
)
def test_every_line_fits_into_eighty_columns(arguments, before, reason, full):
    surrogates = re.compile("[\ud800-\udfff]")
    for line in lines(arguments, before=before, reason=surrogates.sub("", reason), full=full):
        assert columns_of(line) <= 80
        assert line.isprintable()


def test_wide_characters_count_twice_and_none_is_lost():
    text = "\u8a9e" * 100
    shown = lines({"t": text}, full=True)
    assert all(columns_of(line) <= 80 for line in shown)
    assert "".join(line.strip().removeprefix("| ") for line in shown).count("\u8a9e") == 100


def test_a_change_in_a_long_value_is_shown_where_it_is():
    before, after = {"t": "x" * 500 + "old" + "y" * 500}, {"t": "x" * 500 + "new" + "y" * 500}
    (head, line) = change_lines(before, after)
    assert "since the last approved call" in head
    assert re.fullmatch(r"    changed /t: …x{8}oldy+… -> …x{8}newy+…", line)
    assert len(line) == 80
    (line,) = change_lines({"t": "x" * 500}, {"t": "x" * 501})[1:]
    assert "\u2026" in line
    assert line.count("x") < 60


def test_no_call_before_and_no_change_and_too_many():
    assert change_lines(None, {"a": 1}) == []
    assert change_lines({"a": 1}, {"a": 1}) == ["  changes none since the last approved call of it"]
    assert "too many" in change_lines({"a": [0] * 5000}, {"a": [1]})[0]


def test_the_question_in_band_is_bounded_and_of_this_call_only():
    asked = ticket(
        {"path": HOSTILE, "long": "x" * 100_000, **{str(n): n for n in range(1000)}},
        before={"secret": "of another"},
    )
    text = question_text(asked)
    assert len(text) < 8000
    assert "of another" not in text
    assert not HIDDEN.search(text.replace("\n", ""))
    assert "server files: write_file" in text
    assert asked.ident in text


def test_other_methods_are_named():
    assert (
        "file:///x (resources/read)" in lines(bound=binding(method="resources/read", target="file:///x"))[0]
    )
    assert "server files: roots/list" in lines(bound=binding(method="roots/list", target=""))[0]


def test_who_asks_and_is_not_known():
    assert asker({}) == "a host that is not enrolled"
    assert asker({"uid": 1, "pid": 2, "grade": "G0"}) == "a host that is not enrolled (uid 1 pid 2) [G0]"


def test_who_gave_up():
    asked = ticket()
    asked.waiting, asked.times = 0, 3
    assert "one identical retry through, asked 3 times" in " ".join(
        line.strip() for line in ticket_lines(describe(asked, 0))[-2:]
    )
    assert asked.state is State.OPEN


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.9, "0 s"), (119.9, "119 s"), (120, "2 min"), (7199, "119 min"), (7200, "2 h")]
)
def test_times_are_never_longer_than_they_are(seconds, words):
    assert span(seconds) == words


def test_a_brief_fits_its_column():
    assert brief({"path": "/srv/a", "n": 1}, 80) == '/path="/srv/a" /n=1'
    assert columns_of(brief({"path": "\u8a9e" * 50}, 20)) <= 20
    assert brief({}, 10) == "none"
    assert fit("abc", 3) == "abc"
    assert fit("abcd", 3) == "ab…"
