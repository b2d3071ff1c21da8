"""The console, driven key by key: its news come from a fake in memory, its answers go to a real daemon."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from mcpguard.cli import answering
from mcpguard.cli.consoleapp import Console
from mcpguard.cli.consolefeed import Away, Happened, News, Standing, Waiting
from tests.cli import picture
from tests.cli.test_consoleview import STATUS, call, outcome
from tests.lifecycle.forms import FORMS, arrive
from tests.lifecycle.stage import House, house
from tests.lifecycle.test_approvals import ASKING, notes, pending, text, waits

TICKET = {
    "id": "4f2a9c1e", "server": "bank", "method": "tools/call", "tool": "transfer",
    "arguments": {"to": "[red]DE12\x1b[2J", "amount": 120}, "before": {"to": "[red]DE12\x1b[2J", "amount": 12},
    "host": {"uid": 1000, "pid": 4711, "grade": "G2", "host": "claude-code"}, "conn": "c1", "rule": "payments",
    "origin": "policy.toml:12", "reason": "it asks", "confirm": "", "asked_seconds": 3, "left_seconds": 98,
    "waiting": 1, "times": 1, "state": "open", "definition": "d", "manifest": "m",
}  # fmt: skip
OTHER = {**TICKET, "id": "b0b0b0b0", "tool": "close"}


class Memory:
    """News that a test tells."""

    def __init__(self) -> None:
        self.tell: Callable[[News], None] | None = None
        self.stopped = False

    def start(self, tell: Callable[[News], None]) -> None:
        self.tell = tell

    def stop(self) -> None:
        self.stopped = True


class Person:
    """Somebody at the console, who reads and presses keys."""

    def __init__(self, feed: Memory, app: Console, pilot: Any) -> None:
        self.feed, self.app, self.pilot = feed, app, pilot

    async def hears(self, *news: News) -> None:
        assert self.feed.tell
        for one in news:
            self.feed.tell(one)
        await self.pilot.pause()
        await self.pilot.pause()

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    def screen(self) -> str:
        strips = self.app.screen._compositor.render_strips()
        return "\n".join("".join(segment.text for segment in strip) for strip in strips)

    async def sees(self, *words: str) -> str:
        """Wait until this is on the screen."""
        for _ in range(400):
            seen = self.screen()
            if all(word in seen for word in words):
                return seen
            await self.pilot.pause(0.025)
        raise AssertionError(f"{words} never came; the screen:\n{seen}")


def played(story: Callable[[Person], Any], width: int = 80) -> Memory:
    """Play a story on a console of 24 lines."""
    feed = Memory()

    async def play() -> None:
        app = Console(feed)
        async with app.run_test(size=(width, 24), notifications=True) as pilot:
            await story(Person(feed, app, pilot))

    asyncio.run(play())
    return feed


def test_all_of_it_is_there_at_80_by_24():
    async def story(person: Person) -> None:
        await person.hears(
            Standing(STATUS), Happened([call(), outcome()], afresh=True), Waiting([TICKET, OTHER])
        )
        seen = await person.sees("read_file", "ok 1.2 ms", "2 Waiting (2)")
        lines = seen.splitlines()
        assert lines[0].startswith("mcpguard 0.1.0  policy enforce, 12 rules  1 connection")
        for word in ("a approve", "t 10 min", "s session", "A for good", "d deny", "? help", "q quit"):
            assert word in lines[-1]
        await person.press("2")
        seen = await person.sees("> 4f2a9c1e", "changed /amount: 12 -> 120", "98 s left")
        assert "[red]DE12\\u001b[2J" in seen
        await person.press("down")
        await person.sees("> b0b0b0b0", "server bank: close")
        await person.press("3")
        await person.sees("k3f9", "2025-11-25")
        await person.press("4")
        await person.sees("no findings")
        await person.press("question_mark")
        await person.sees("identical calls for ten minutes", "Escape goes back")
        await person.press("escape", "q")

    assert played(story).stopped


def test_the_chosen_ticket_stays_chosen_while_others_come_and_go():
    async def story(person: Person) -> None:
        await person.hears(Waiting([TICKET, OTHER]))
        await person.press("2", "down")
        await person.sees("> b0b0b0b0")
        await person.hears(Waiting([{**TICKET, "id": "a0a0a0a0"}, TICKET, OTHER]))
        await person.sees("> b0b0b0b0", "a0a0a0a0", "2 Waiting (3)")
        await person.hears(Waiting([OTHER]))
        await person.sees("> b0b0b0b0", "2 Waiting (1)")
        await person.hears(Waiting([TICKET]))
        await person.sees("> 4f2a9c1e")
        await person.hears(Waiting([]))
        await person.sees("nothing waits for approval")

    played(story)


def test_a_key_elsewhere_answers_nothing_and_shows_what_waits():
    async def story(person: Person) -> None:
        await person.hears(Waiting([TICKET]))
        await person.press("a")
        await person.sees("> 4f2a9c1e", "choose what to answer")
        assert len(person.app.screen_stack) == 1

    played(story)


def test_a_daemon_that_is_gone_leaves_nothing_to_answer():
    async def story(person: Person) -> None:
        await person.hears(Standing(STATUS), Waiting([TICKET]), Away("the mcpguard daemon is not running"))
        await person.press("2")
        await person.sees("waiting for the daemon: the mcpguard daemon is not running", "nothing waits")
        await person.press("a")
        assert len(person.app.screen_stack) == 1
        await person.hears(Standing(STATUS))
        await person.sees("policy enforce")

    played(story)


def test_another_daemon_begins_with_an_empty_page():
    async def story(person: Person) -> None:
        await person.hears(Happened([call(tool="old_tool")], afresh=True))
        await person.sees("old_tool")
        await person.hears(Happened([call(tool="new_tool")], afresh=True))
        assert "old_tool" not in await person.sees("new_tool")

    played(story)


def test_who_reads_further_up_is_left_there():
    async def story(person: Person) -> None:
        await person.hears(Happened([call(number, tool=f"t{number}") for number in range(60)], afresh=True))
        await person.sees("t59")
        await person.press("pageup")
        seen = await person.sees("t30")
        assert "t59" not in seen
        await person.hears(Happened([call(99, tool="t99")]))
        assert "t99" not in await person.sees("t30")
        await person.press("end")
        await person.sees("t99")

    played(story)


def test_an_error_of_an_answer_is_told_and_the_console_goes_on(monkeypatch, tmp_path):
    monkeypatch.setenv("MCPGUARD_RUNTIME_DIR", str(tmp_path))

    async def story(person: Person) -> None:
        await person.hears(Waiting([TICKET]))
        await person.press("2", "a")
        await person.sees("Approve this call?")
        await person.pilot.pause(answering.READING_SECONDS)
        await person.press("y")
        await person.sees("the mcpguard daemon is not running")
        await person.press("d", "enter")
        await person.sees("> 4f2a9c1e")

    played(story)


@pytest.fixture
def place(monkeypatch):
    with house() as made:
        for name, value in made.env.items():
            monkeypatch.setenv(name, value)
        made.policy(ASKING.format(timeout="60s"))
        yield made


def test_a_yes_counts_only_after_the_question_could_be_read(place: House, monkeypatch) -> None:
    monkeypatch.setattr(answering, "READING_SECONDS", 5.0)  # three keys may take longer than half a second
    host = arrive(place, FORMS["pipes"]).greet()
    answered = host.calling("note", n=1)
    waits(place)

    async def story(person: Person) -> None:
        await person.hears(Waiting(pending(place)))
        await person.press("2")
        await person.press("a", "y", "y")
        await person.sees("Approve this call?")
        assert pending(place)
        assert notes(host) == []
        await person.pilot.pause(answering.READING_SECONDS)
        await person.press("y")
        await person.sees("approved")

    began = time.monotonic()
    played(story)
    assert time.monotonic() - began >= answering.READING_SECONDS
    assert "isError" not in host.answer(answered)["result"]
    assert notes(host) == ["1"]


@pytest.mark.parametrize("leave", ["n", "escape"])
def test_anything_else_answers_nothing(place: House, leave: str) -> None:
    arrive(place, FORMS["pipes"]).greet().calling("note", n=1)
    waits(place)

    async def story(person: Person) -> None:
        await person.hears(Waiting(pending(place)))
        await person.press("2", "a", leave)
        await person.sees("it was not answered, and still waits")
        await person.press("d", "escape")
        await person.sees("> ")

    played(story)
    assert len(pending(place)) == 1


def test_the_answer_is_for_the_ticket_that_was_on_the_screen(place: House) -> None:
    host = arrive(place, FORMS["pipes"]).greet()
    host.calling("note", n=1)
    (first,) = waits(place)
    second = host.calling("note", n=2)
    waits(place, 2)
    (other,) = [one for one in pending(place) if one["id"] != first["id"]]

    async def story(person: Person) -> None:
        await person.hears(Waiting([other]))
        await person.press("2", "a")
        await person.hears(Waiting([first]))
        await person.pilot.pause(answering.READING_SECONDS)
        await person.press("y")
        await person.sees(f"approved {other['id']}")

    played(story)
    assert "isError" not in host.answer(second)["result"]
    assert notes(host) == ["2"]
    assert [one["id"] for one in pending(place)] == [first["id"]]


@pytest.mark.parametrize(("key", "words"), [("t", "for 10 minutes"), ("s", "while the host runs")])
def test_identical_calls_can_be_approved_at_once(place: House, key: str, words: str) -> None:
    host = arrive(place, FORMS["pipes"]).greet()
    answered = host.calling("note", n=1)
    waits(place)

    async def story(person: Person) -> None:
        await person.hears(Waiting(pending(place)))
        await person.press("2", key)
        await person.sees(words)
        await person.pilot.pause(answering.READING_SECONDS)
        await person.press("y")
        await person.sees("approved")

    played(story)
    host.answer(answered)
    assert "isError" not in host.call("note", n=1)["result"]
    assert notes(host) == ["1", "1"]


def test_a_reason_reaches_the_host(place: House) -> None:
    host = arrive(place, FORMS["pipes"]).greet()
    answered = host.calling("note", n=1)
    waits(place)

    async def story(person: Person) -> None:
        await person.hears(Waiting(pending(place)))
        await person.press("2", "d")
        await person.sees("Say why, or nothing")
        await person.press(*"not q", "enter")
        await person.sees("denied")

    played(story)
    assert "not q" in text(host.answer(answered))
    assert json.dumps(notes(host)) == "[]"


def test_the_picture_in_docs_is_of_this_console() -> None:
    seen = picture.words(picture.FILE.read_text())
    assert seen == picture.words(picture.draw())
    assert any("changed /amount: 120 -> 1200" in line for line in seen)
    assert "https://cdn" not in picture.FILE.read_text()
