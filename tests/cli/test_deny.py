"""`mcpguard deny`: a no needs no question, brings a reason, and is one only once."""

import json
import os
from collections.abc import Iterator

import pytest

from mcpguard import limits
from mcpguard.system.approver import Below
from tests.approvals.questions import NO, YES
from tests.cli.questioned import Counter

HOSTILE = "a\x1b[2Jb\u202ec\\"


@pytest.fixture
def place() -> Iterator[Counter]:
    with Counter() as made:
        yield made


def test_a_call_that_was_denied_waits_no_longer_and_never_passes(place):
    ticket, other = place.ask({"n": 1}), place.ask({"n": 2})
    done = place.run("deny", ticket.ident)
    assert (done.stdout, done.stderr) == (f"denied {ticket.ident}: write_file of files\n", "")
    assert (place.waiting(), place.spent(ticket)) == ([other.ident], False)


@pytest.mark.parametrize(
    "reason", ["", "no", "x" * limits.REASON_CHARS, HOSTILE, "日" * limits.REASON_CHARS, "--yes"]
)
def test_the_reason_reaches_the_book_as_it_was_typed(place, reason):
    ticket = place.ask()
    place.run("deny", f"--reason={reason}", ticket.ident)
    assert (ticket.reason, ticket.state.value) == (reason, "denied")


@pytest.mark.parametrize(
    "words",
    [["--reason", "x" * (limits.REASON_CHARS + 1)], ["--reason"], ["--yes"], ["--always"], ["another"]],
)
def test_bad_usage_is_exit_code_2_and_asks_nothing(place, words):
    ticket = place.ask()
    place.run("deny", ticket.ident, *words, code=2)
    assert (place.asked, place.waiting()) == ([], [ticket.ident])


def test_without_a_terminal_the_ticket_has_to_be_named(place):
    ticket = place.ask()
    assert "Missing argument 'ID'" in place.run("deny", code=2).stderr
    assert place.waiting() == [ticket.ident]


@pytest.mark.parametrize(
    ("become", "code", "says"),
    [
        (lambda place, ticket: place.settle(ticket, YES), 1, "was approved by uid 1000"), (lambda place, ticket: place.settle(ticket, NO), 1, "was denied by uid 1000"),
        (lambda place, ticket: place.expire(ticket), 124, "expired"), (lambda place, _: place.hosts.update({os.getpid(): Below("the agent")}), 5, "the agent"),
        (lambda place, _: place.env.update(MCPGUARD_RUNTIME_DIR=str(place.home)), 3, "the mcpguard daemon is not running"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("as_json", [False, True])
def test_what_is_not_denied_says_why_with_a_code_of_its_own(place, become, code, says, as_json):
    ticket = place.ask()
    become(place, ticket)
    done = place.run("deny", ticket.ident, *(["--json"] if as_json else []), code=code)
    (line,) = done.stderr.splitlines()
    assert line.startswith("mcpguard: ")
    assert says in line
    if as_json:
        told = json.loads(done.stdout)
        assert (told["ok"], says in told["error"]["message"]) == (False, True)


def test_json_is_one_object_and_nothing_is_said_besides(place):
    ticket = place.ask(tool=HOSTILE)
    done = place.run("deny", ticket.ident, "--json", "--reason", "\u202e")
    assert done.stderr == ""
    assert done.stdout.isascii()
    told = json.loads(done.stdout)
    assert (told["v"], told["ok"], set(told)) == (1, True, {"v", "ok", "ticket"})
    assert {"id": ticket.ident, "tool": HOSTILE, "state": "denied", "left_seconds": 0}.items() <= told[
        "ticket"
    ].items()


def test_names_of_others_are_made_visible(place):
    ticket = place.ask(tool=HOSTILE, server=HOSTILE)
    shown = "a\\u001b[2Jb\\u202ec\\\\"
    assert place.run("deny", ticket.ident).stdout == f"denied {ticket.ident}: {shown} of {shown}\n"


def test_a_no_needs_no_presence(place):
    ticket = place.ask(confirm="presence")
    place.run("deny", ticket.ident)
    assert place.waiting() == []
