"""`mcpguard approve`: what a yes covers, what is said of it, and an exit code for every way in which it is none."""

import json
import os
import time
from collections.abc import Iterator

import pytest

from mcpguard.model import visible
from mcpguard.system.approver import Below
from tests.approvals.questions import NO, YES
from tests.cli.questioned import Counter


@pytest.fixture
def place() -> Iterator[Counter]:
    with Counter() as made:
        yield made


@pytest.mark.parametrize(
    ("words", "scope", "seconds", "says"),
    [
        ([], "once", 0.0, "approved {}: write_file of files"), (["--session"], "session", 0.0, "approved {}: write_file of files and those identical while the host runs"),
        (["--for", "30s"], "for", 30.0, "approved {}: write_file of files and those identical for 30s"), (["--for", "10m"], "for", 600.0, "identical for 10m"),
        (["--for", "24h"], "for", 86400.0, "identical for 24h"),
    ],
)  # fmt: skip
def test_a_yes_goes_as_far_as_was_said(place, words, scope, seconds, says):
    ticket = place.ask()
    done = place.run("approve", ticket.ident, "--yes", *words)
    assert says.format(ticket.ident) in done.stdout
    (request,) = [one for one in place.asked if one.verb == "approve"]
    assert (request.ident, request.scope, request.seconds) == (ticket.ident, scope, seconds)
    assert [place.spent(ticket) for _ in range(2)] == [True, scope != "once"]
    assert place.waiting() == []


@pytest.mark.parametrize(
    "words",
    [
        ["--for", ""], ["--for", "10"], ["--for", "0s"], ["--for", "-5m"], ["--for", "1.5h"], ["--for", "10 m"], ["--for", "10M"], ["--for", "1d"], ["--for", "1000000s"],
        ["--for", "\uff11m"], ["--for", "5m\n"], ["--for"], ["--for", "5m", "--session"], ["--for", "5m", "--always"], ["--session", "--always"], ["--nonsense"], ["another"],
    ],
)  # fmt: skip
def test_bad_usage_is_exit_code_2_and_asks_nothing(place, words):
    ticket = place.ask()
    place.run("approve", ticket.ident, "--yes", *words, code=2)
    assert (place.asked, place.waiting()) == ([], [ticket.ident])


def test_longer_than_a_day_is_for_good_and_says_how(place):
    ticket = place.ask()
    done = place.run("approve", ticket.ident, "--yes", "--for", "25h", code=1)
    assert "1 s to 86400 s: for good: mcpguard approve ID --always" in done.stderr
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
def test_what_is_not_approved_says_why_with_a_code_of_its_own(place, become, code, says, as_json):
    ticket = place.ask()
    become(place, ticket)
    done = place.run("approve", ticket.ident, "--yes", *(["--json"] if as_json else []), code=code)
    assert done.stderr.splitlines()[-1].startswith("mcpguard: ")
    assert says in done.stderr
    if as_json:
        told = json.loads(done.stdout)
        assert (told["ok"], says in told["error"]["message"]) == (False, True)
    else:
        assert done.stdout == ""


def test_without_a_terminal_a_yes_has_to_be_said_and_a_ticket_named(place):
    ticket = place.ask()
    done = place.run("approve", ticket.ident, code=5)
    assert "say it with --yes" in done.stderr
    assert "server files: write_file" in done.stderr, "what would have been approved is shown"
    assert "Missing argument 'ID'" in place.run("approve", "--yes", code=2).stderr
    assert place.waiting() == [ticket.ident]


def test_json_is_one_object_and_nothing_is_said_besides(place):
    ticket = place.ask({"path": "\u202e"}, tool="t\x1b")
    done = place.run("approve", ticket.ident, "--yes", "--json")
    assert done.stderr == ""
    assert done.stdout.isascii()
    told = json.loads(done.stdout)
    assert (told["v"], told["ok"], told["scope"], told["rule_added_to"]) == (1, True, "once", None)
    assert {"id": ticket.ident, "tool": "t\x1b", "state": "granted"}.items() <= told["ticket"].items()
    assert told["ticket"]["arguments"] == {"path": "\u202e"}


def test_what_is_approved_is_shown_first_and_uncut_if_that_is_wanted(place):
    value = "x" * 3000 + "; rm -rf"
    for words, whole in (([], False), (["--full"], True)):
        ticket = place.ask({"command": value})
        said = place.run("approve", ticket.ident, "--yes", *words).stderr
        assert ("not all of it is shown" in said) is not whole
        assert said.count("x") >= (3000 if whole else 100)
        assert "; rm -rf" in said.replace("\n      | ", ""), "what is cut keeps its end"


def test_names_of_others_are_made_visible(place):
    name = "a\x1b[2Jb\u202ec\\"
    ticket = place.ask({"k": name}, tool=name, server=name)
    done = place.run("approve", ticket.ident, "--yes")
    assert f"approved {ticket.ident}: {visible(name)} of {visible(name)}" in done.stdout
    for said in (done.stdout, done.stderr):
        assert "\x1b" not in said
        assert "\u202e" not in said


def test_of_a_host_that_gave_up_is_said_what_the_yes_is_good_for(place):
    ticket = place.ask()
    place.left(ticket)
    done = place.run("approve", ticket.ident[:4], "--yes")
    assert "the host gave up" in done.stderr
    assert "one identical retry goes through" in done.stdout


def test_presence_that_nobody_can_show_is_refused(place):
    ticket = place.ask(confirm="presence")
    done = place.run("approve", ticket.ident, "--yes", code=5)
    assert "mcpguard presence set passphrase" in done.stderr
    assert place.waiting() == [ticket.ident]


def test_what_is_asked_says_what_the_yes_would_cover(place):
    people = []
    for words, asks in (
        ([], "Approve? [y/N]: "),
        (["--session"], "Approve this call, and those identical while the host runs? [y/N]: "),
        (["--for", "5m"], "Approve this call, and those identical for 5m? [y/N]: "),
    ):
        ticket = place.ask({"words": words})
        people.append((asks, place.terminal("approve", ticket.ident, *words, columns=120)))
    for asks, person in people:
        person.expect_exact(asks)
    time.sleep(0.6)
    for _, person in people:
        person.sendline("n")
        person.expect_exact("it was not answered, and still waits")
        assert person.wait() == 1
    assert len(place.waiting()) == 3
