"""Tickets at the command line: found by what a person typed, and answered after it could be read."""

import os
import time
from collections.abc import Iterator

import click
import pexpect
import pytest

from mcpguard.approvals.book import ApprovalError
from mcpguard.cli import answering
from mcpguard.errors import TrustError
from tests.approvals.questions import NO, YES
from tests.cli.questioned import Counter


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter]:
    with Counter() as made:
        monkeypatch.setenv("MCPGUARD_RUNTIME_DIR", str(made.runtime))
        yield made


def refused(typed: str) -> ApprovalError:
    with pytest.raises(ApprovalError) as caught:
        answering.find(typed)
    return caught.value


# --- finding -------------------------------------------------------------------------------------------------------


def test_a_ticket_is_found_by_its_ident_and_by_every_beginning_that_only_it_has(place):
    idents = [place.ask({"n": number}).ident for number in range(5)]
    for ident in idents:
        for end in range(1, len(ident) + 1):
            begun = [one for one in idents if one.startswith(ident[:end])]
            if len(begun) == 1:
                assert answering.find(ident[:end])["id"] == ident
            else:
                assert refused(ident[:end]).message == f"'{ident[:end]}' begins {len(begun)} tickets"


def several(place: Counter, count: int) -> list[str]:
    """Tickets until so many begin alike."""
    while True:
        place.ask({"n": len(place.waiting())}, tool=f"t{len(place.waiting())}")
        begun = {
            ident[0]: [one for one in place.waiting() if one[0] == ident[0]] for ident in place.waiting()
        }
        if alike := [each for each in begun.values() if len(each) == count]:
            return alike[0]


def test_a_beginning_of_several_is_no_ticket_and_they_are_named(place):
    alike = several(place, 2)
    error = refused(alike[0][0])
    assert (error.code, error.message) == ("unknown", f"{alike[0][0]!a} begins 2 tickets")
    assert error.hint == f"name one of {', '.join(alike)}"


def test_an_ident_that_is_the_beginning_of_another_is_itself(place):
    long = place.ask({"n": 1}).ident
    short = long[:3]

    async def named() -> None:
        """No book gives such an ident; the command line does not rely on that."""
        other = place.book.tickets()[0].question
        place.book._open[short] = type(place.book.tickets()[0])(short, other, 0, 2**62)

    place.within(named())
    assert answering.find(short)["id"] == short
    assert answering.find(long)["id"] == long


def test_without_a_terminal_a_ticket_has_to_be_named(place):
    place.ask()
    with pytest.raises(click.UsageError, match="has to be named"):
        answering.find("")


def test_of_an_ident_that_is_nearly_one_that_is_asked(place):
    ident = place.ask().ident
    wrong = ident[:-1] + ("x" if ident[-1] != "x" else "y")
    error = refused(wrong)
    assert error.code == "unknown"
    assert "no ticket" in error.message
    assert ident in error.sentence(), error.sentence()


@pytest.mark.parametrize("typed", ["zzzz9", "\x1b[2J", "\u202e", "x" * 5000, "--", "*", "\udcff", "b'; drop"])
def test_what_is_no_ident_is_said_to_be_none_in_words_that_can_be_seen_and_are_short(place, typed):
    place.ask()
    sentence = refused(typed).sentence()
    assert "no ticket" in sentence
    assert sentence.isprintable()
    assert sentence.isascii()
    assert len(sentence) < 300


@pytest.mark.parametrize(
    ("answer", "code", "says"),
    [(YES, "answered", "was approved by uid 1000"), (NO, "answered", "was denied by uid 1000"), (None, "expired", "expired")],
)  # fmt: skip
def test_of_a_ticket_that_waits_no_longer_is_said_what_became_of_it(place, answer, code, says):
    ticket = place.ask()
    other = place.ask({"another": 1})
    place.settle(ticket, answer) if answer else place.expire(ticket)
    error = refused(ticket.ident)
    assert (error.code, says in error.message) == (code, True), error.message
    assert [one["id"] for one in answering.waiting()] == [other.ident]


# --- answering -----------------------------------------------------------------------------------------------------


def test_an_answer_is_good_once_and_only_for_what_was_found(place):
    one, other = place.ask({"n": 1}), place.ask({"n": 2})
    found = answering.find(one.ident)
    reply = answering.approve(found, "once", 0.0)
    assert (reply["ticket"]["id"], reply["ticket"]["state"], reply["scope"]) == (one.ident, "granted", "once")
    assert (place.spent(one), place.spent(one), place.spent(other)) == (True, False, False)
    for again in (lambda: answering.approve(found, "once", 0.0), lambda: answering.deny(found, "")):
        with pytest.raises(ApprovalError, match=r"was approved by uid \d+ \(pid \d+\)"):
            again()


@pytest.mark.parametrize(
    ("typed", "reason"), [("not today", "not today"), ("", ""), ("caf\udce9 \u202e", "caf\\udce9 \u202e")]
)
def test_a_no_brings_its_reason_whatever_bytes_were_typed(place, typed, reason):
    ticket = place.ask()
    assert answering.deny(answering.find(ticket.ident), typed)["ticket"]["state"] == "denied"
    assert (ticket.reason, ticket.by) == (reason, f"uid {os.getuid()} (pid {os.getpid()})")


def test_a_ticket_is_shown_where_questions_are_asked(place, capsys):
    place.ask({"path": "a\x1b[2J\u202eb", "text": "x" * 5000})
    (found,) = answering.waiting()
    answering.show(found)
    cut = capsys.readouterr()
    answering.show(found, full=True)
    full = capsys.readouterr()
    assert cut.out == full.out == ""
    assert "not all of it is shown" in cut.err
    assert "not all of it is shown" not in full.err
    assert full.err.count("x") >= 5000
    for said in (cut.err, full.err):
        assert "a\\u001b[2J\\u202eb" in said
        assert "\x1b" not in said
        assert max(map(len, said.splitlines())) <= 80


def test_a_yes_is_said_on_the_command_line_or_at_a_terminal():
    assert answering.agreed("Approve?", yes=True)
    with pytest.raises(TrustError, match="no terminal to ask on") as caught:
        answering.agreed("Approve?", yes=False)
    assert caught.value.hint == "say it with --yes"


# --- at a terminal -------------------------------------------------------------------------------------------------


TYPED = {"y\r": 0, " YES \r": 0, "\r": 1, "yess\r": 1, "yes please\r": 1, "\x04": 1}


def test_only_a_yes_is_one(place):
    people = []
    for number, typed in enumerate(TYPED):
        ticket = place.ask({"n": number})
        people.append((typed, ticket.ident, place.terminal("approve", ticket.ident)))
    for _, _, person in people:
        person.expect_exact("Approve? [y/N]: ")
    time.sleep(answering.READING_SECONDS + 0.1)
    for typed, _, person in people:
        person.send(typed)
    for typed, _, person in people:
        person.expect(pexpect.EOF)
        assert (person.wait(), "still waits" in person.before) == (TYPED[typed], bool(TYPED[typed])), typed
    assert place.waiting() == [ident for typed, ident, _ in people if TYPED[typed]]


def test_what_was_typed_before_the_question_could_be_read_is_no_answer(place):
    ticket = place.ask()
    person = place.terminal("approve", ticket.ident)
    person.send("y\ry\ry\r")
    person.expect_exact("Approve? [y/N]: ")
    person.send("y\r")
    time.sleep(answering.READING_SECONDS + 0.1)
    assert person.isalive()
    assert place.waiting() == [ticket.ident]
    person.send("n\r")
    person.expect_exact("still waits")
    assert person.wait() == 1


def test_at_a_terminal_a_ticket_may_be_left_out_while_only_one_waits(place):
    person = place.terminal("deny")
    person.expect_exact("nothing waits for approval")
    assert person.wait() == 1
    idents = [place.ask({"n": number}).ident for number in range(7)]
    person = place.terminal("deny", columns=200)
    person.expect_exact(f"7 tickets wait: name one of {', '.join(idents[:5])}, ...")
    assert person.wait() == 1
    assert place.waiting() == idents
