"""`mcpguard pending`: a table that fits a terminal and hides nothing, and a watch that shows every change."""

import json
import signal
import subprocess
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpguard.approvals.words import WIDTH, columns_of
from mcpguard.cli.pending import lines
from tests.approvals.questions import NO
from tests.cli.questioned import Counter
from tests.lifecycle.stage import MCPGUARD

HOSTILE = "a\x1b[2Jb\u202ec\\\u200b\n"


@pytest.fixture
def place() -> Iterator[Counter]:
    with Counter() as made:
        yield made


def shown(**members):
    plain = {
        "id": "bcdf1", "left_seconds": 119.9, "waiting": 1, "times": 1, "host": {"host": "claude-code"}, "server": "files", "method": "tools/call",
        "tool": "write_file", "arguments": {"path": "/srv/a"},
    }  # fmt: skip
    return {**plain, **members}


# --- the table ----------------------------------------------------------------------------------------------------


def test_a_ticket_is_a_row_and_what_to_do_next_stands_below():
    head, row, hint = lines([shown()])
    assert head == "ID       LEFT    CALLS HOST         SERVER     TOOL           ARGUMENTS"
    assert row == 'bcdf1    119 s   1/1   claude-code  files      write_file     /path="/srv/a"'
    assert hint.startswith("next: mcpguard approve ID, or mcpguard deny ID")


def test_nothing_that_waits_is_a_sentence():
    assert lines([]) == ["nothing waits for approval"]


@pytest.mark.parametrize(
    ("members", "cell"),
    [
        ({"left_seconds": 0.0}, "0 s"), ({"left_seconds": 120.0}, "2 min"), ({"left_seconds": 7200.0}, "2 h"), ({"waiting": 0, "times": 12}, "0/12"),
        ({"host": {}}, "not enrolled"), ({"host": {"host": ""}}, "not enrolled"), ({"tool": "", "method": "sampling/createMessage"}, "sampling/crea…"),
        ({"tool": "x" * 99}, "x" * 13 + "…"), ({"server": "s" * 99}, "s" * 9 + "…"), ({"arguments": {}}, "none"),
        ({"tool": HOSTILE}, "a\\u001b[2Jb\\u…"), ({"server": "\u202e"}, "\\u202e"), ({"host": {"host": "\x1b[31m"}}, "\\u001b[31m"),
    ],
)  # fmt: skip
def test_a_cell_is_cut_and_made_visible_and_moves_no_other(members, cell):
    head, row, _ = lines([shown(**members)])
    assert cell in row
    place = columns_of(row[: row.index(cell)])
    assert place in [0, *(at for at in range(len(head)) if head[at - 1] == " " and head[at] != " ")]
    if "arguments" not in members:
        assert row.endswith(' /path="/srv/a"')


NAMES = st.text(
    st.sampled_from([*"ab z", "\u202e", "\x1b", "\n", "\\", "日", "\u0301", "\ud800"]), max_size=30
)
TICKETS = st.lists(
    st.builds(
        shown, id=NAMES, server=NAMES, tool=NAMES, host=st.fixed_dictionaries({"host": NAMES}), waiting=st.integers(0, 10**6), times=st.integers(0, 10**6),
        left_seconds=st.floats(0, 10**6), arguments=st.none() | st.dictionaries(NAMES.filter(lambda name: "\ud800" not in name), st.integers() | st.just("日" * 50), max_size=3),
    ),
    max_size=3,
)  # fmt: skip


@settings(max_examples=60)
@given(TICKETS, st.integers(WIDTH, 200))
def test_no_line_is_wider_than_it_may_be_or_holds_what_cannot_be_seen(tickets, width):
    found = lines(tickets, width)
    assert len(found) == (len(tickets) + 2 if tickets else 1)
    for line in found:
        assert columns_of(line) <= width
        assert line.isprintable() or "\u0301" in line
        assert line == line.rstrip()


# --- the verb ------------------------------------------------------------------------------------------------------


def test_tickets_are_shown_oldest_first(place):
    assert place.run("pending").stdout == "nothing waits for approval\n"
    idents = [place.ask({"n": number}).ident for number in range(3)]
    rows = place.run("pending").stdout.splitlines()[1:-1]
    assert [row.split()[0] for row in rows] == idents
    assert [request.since for request in place.asked] == [-1, -1], "without --watch nothing is waited for"


def test_json_is_one_object_with_every_member_and_a_version(place):
    assert place.json("pending") == {"v": 1, "tickets": [], "version": 0}
    ticket = place.ask({"path": HOSTILE}, tool="日本\u202e")
    out = place.run("pending", "--json").stdout
    assert out.isascii()
    found = json.loads(out)
    assert (found["v"], found["version"]) == (1, 1)
    (one,) = found["tickets"]
    assert {
        "id": ticket.ident,
        "tool": "日本\u202e",
        "arguments": {"path": HOSTILE},
        "state": "open",
    }.items() <= one.items()
    assert {
        "left_seconds",
        "asked_seconds",
        "waiting",
        "times",
        "host",
        "rule",
        "origin",
        "reason",
        "confirm",
    } <= set(one)


@pytest.mark.parametrize("words", [[], ["--json"], ["--watch"]])
def test_no_daemon_is_exit_code_3(tmp_path, words):
    with Counter() as place:
        place.env["MCPGUARD_RUNTIME_DIR"] = str(tmp_path)
        done = place.run("pending", *words, code=3)
        assert "mcpguard: the mcpguard daemon is not running" in done.stderr
        if words == ["--json"]:
            assert json.loads(done.stdout)["ok"] is False


@pytest.mark.parametrize("words", [["--nonsense"], ["extra"], ["--watch=5"]])
def test_bad_usage_is_exit_code_2_and_asks_nothing(place, words):
    place.run("pending", *words, code=2)
    assert place.asked == []


def test_a_watch_shows_each_change_once_and_an_interrupt_is_its_end(place):
    words = [*MCPGUARD, "pending", "--watch", "--json"]
    with subprocess.Popen(
        words, env=place.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as person:
        seen = [json.loads(person.stdout.readline())]
        ticket = place.ask()
        seen.append(json.loads(person.stdout.readline()))
        place.settle(ticket, NO)
        seen.append(json.loads(person.stdout.readline()))
        person.send_signal(signal.SIGINT)
        rest, errors = person.communicate(timeout=20)
    assert ([[one["id"] for one in each["tickets"]] for each in seen], rest, errors) == (
        [[], [ticket.ident], []],
        "",
        "",
    )
    assert person.returncode == 0
    versions = [each["version"] for each in seen]
    assert versions == sorted(set(versions))
    assert [request.since for request in place.asked][:3] == [-1, *versions[:2]]
    assert all(request.seconds <= 5 for request in place.asked)


def test_a_watch_ends_with_its_daemon(tmp_path):
    place = Counter()
    with place:
        words = [*MCPGUARD, "pending", "--watch"]
        person = subprocess.Popen(
            words, env=place.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert person.stdout.readline() == "nothing waits for approval\n"
        place.ask()
        assert person.stdout.readline() == "\n", "tables of a pipe are set apart by a blank line"
        assert person.stdout.readline().startswith("ID ")
    _, errors = person.communicate(timeout=20)
    assert person.returncode in (1, 3)
    assert "Traceback" not in errors
    assert errors.startswith("mcpguard: the mcpguard daemon ")
