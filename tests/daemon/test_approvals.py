"""Questions to people inside the daemon: recorded before anybody hears, every one ends, and told to whoever watches."""

import asyncio
import json
import logging
import time
from pathlib import Path

import pytest

from mcpguard.approvals.book import ApprovalError, Book
from mcpguard.approvals.ticket import Answer, State
from mcpguard.daemon.approvals import Approvals
from mcpguard.daemon.control import Caller, PresenceWanted
from mcpguard.daemon.recorder import Recorder
from mcpguard.errors import PeerError
from mcpguard.protocol.control import Request
from mcpguard.system.journal import Journal
from tests.approvals.questions import NO, YES, binding, question
from tests.daemon.loops import eventually, run

ME = Caller(1000, 4711)


class Listener:
    """A connection: what it heard, and what was in the log by then."""

    def __init__(self, log: Path) -> None:
        self.log, self.waiting, self.ticks = log, 0, 0
        self.heard = []
        self.logged = []

    def settled(self, event) -> None:
        self.heard.append(event)
        self.logged.append(records(self.log)[-1])

    def still_waiting(self) -> None:
        self.ticks += 1


class Screen:
    """A channel: what is shown now, and how often something was."""

    def __init__(self) -> None:
        self.shown, self.count = {}, 0

    def show(self, ticket) -> None:
        self.count += 1
        self.shown[ticket["id"]] = ticket

    def withdraw(self, ident) -> None:
        self.shown.pop(ident, None)


class Door:
    """A way to show presence: a word, said to a challenge that is good once."""

    def __init__(self, *ways: str) -> None:
        self.ways, self.open, self.pause = list(ways), {}, None

    def methods(self) -> list[str]:
        return self.ways

    def challenge(self, ticket: str) -> str:
        self.open[ticket] = f"say it for {ticket}"
        return self.open[ticket]

    async def check(self, ticket: str, proof: str, caller: Caller) -> str:
        if self.pause:
            await self.pause.wait()
        if self.open.pop(ticket, None) is None or proof != f"friend of {caller.uid}":
            raise PeerError("that is not it")
        return "a word"


def records(log: Path) -> list:
    lines = [line for path in sorted(log.glob("*.jsonl")) for line in path.read_text().splitlines()]
    return [one for one in map(json.loads, lines) if one["type"] == "approval"]


class Stage:
    """Questions with a real journal, one connection, one screen."""

    def __init__(self, home: Path, *ways: str) -> None:
        self.log = home / "audit"
        self.recorder = Recorder(Journal.open(self.log))
        self.book, self.door, self.screen = Book(), Door(*ways), Screen()
        self.listener, self.opened = Listener(self.log), []
        self.approvals = Approvals(
            self.book, self.recorder, {"c1": self.listener}, self.door,
            lambda idents: self.opened.append(sorted(idents)),
        )  # fmt: skip
        self.approvals.add(self.screen)

    def ask(self, *args, **more):
        """A gate asks."""
        ticket = self.book.ask(question(*args, **more), time.monotonic_ns())
        assert not isinstance(ticket, str), ticket
        self.approvals.changed()
        return ticket

    async def asked(self, *args, **more):
        """Likewise, and everybody has heard of it."""
        ticket = self.ask(*args, **more)
        await asyncio.sleep(0)
        return ticket

    async def say(self, verb, **members):
        """A person uses a verb."""
        verbs = self.approvals.approving()
        if verb in verbs:
            return await verbs[verb](Request(verb, **members), ME)
        return await self.approvals.reading()[verb](Request(verb, **members))

    def spend(self, ticket):
        return self.book.spend(ticket.question.binding, time.monotonic_ns(), confirm=ticket.question.confirm)


def play(home, story, *ways):
    async def played() -> None:
        stage = Stage(home, *ways)
        await story(stage)
        await stage.recorder.close()

    run(played)


# --- the answer, recorded and told ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "more", "event", "granted", "sentence"),
    [
        ("approve", {}, "granted", True, ""),
        ("deny", {}, "denied", False, "a person denied it. Do not try the same call again"),
        ("deny", {"reason": "no"}, "denied", False, "a person denied it: no. Do not try the same call again"),
    ],
)
def test_an_answer_is_in_the_log_when_connections_hear_of_it(tmp_path, verb, more, event, granted, sentence):
    async def story(stage):
        ticket = await stage.asked()
        reply = await stage.say(verb, ident=ticket.ident, **more)
        assert (reply["ticket"]["id"], reply["ticket"]["state"], reply["ticket"]["left_seconds"]) == (
            ticket.ident,
            event,
            0,
        )
        (heard,), (logged,) = stage.listener.heard, stage.listener.logged
        assert (heard.ident, heard.granted, heard.sentence, heard.by) == (
            ticket.ident,
            granted,
            sentence,
            ME.words,
        )
        expected = {
            "event": event,
            "ticket": ticket.ident,
            "by": ME.words,
            "rule": "ask-writes",
            "target": "write_file",
            **more,
        }
        assert expected.items() <= logged.items()
        assert bool(stage.spend(ticket)) is granted

    play(tmp_path, story)


def test_a_yes_that_cannot_be_recorded_is_a_no(tmp_path):
    async def story():
        stage = Stage(tmp_path)
        ticket = await stage.asked()
        await stage.recorder.close()
        stage.listener.settled = stage.listener.heard.append
        await stage.say("approve", ident=ticket.ident)
        (heard,) = stage.listener.heard
        assert not heard.granted
        assert heard.sentence
        assert stage.spend(ticket) is None
        with pytest.raises(ApprovalError, match="could not be recorded"):
            stage.book.waiting(ticket.ident, time.monotonic_ns())

    run(story)


@pytest.mark.parametrize(
    ("end", "state", "sentence"),
    [
        (lambda stage, ticket: (setattr(ticket, "expires", 0), stage.approvals.tick()), "expired", "nobody answered in time; a person can see"),
        (lambda stage, _: stage.approvals.void("the host ended", instance="4711@5"), "void", "the host ended; call again to ask again"),
        (lambda stage, _: stage.approvals.void("the policy was changed", policy="q"), "void", "the policy was changed; call again"),
        (lambda stage, _: stage.approvals.void("", server="files"), "void", "what it was asked for has changed; call again"),
        (lambda stage, _: stage.approvals.close(), "void", "mcpguard ends; call again"),
    ],
)  # fmt: skip
def test_every_ticket_ends_and_its_host_is_told_why(tmp_path, end, state, sentence):
    async def story(stage):
        ticket = await stage.asked()
        end(stage, ticket)
        (heard,) = stage.listener.heard
        assert (heard.granted, heard.word) == (False, state)
        assert heard.sentence.startswith(sentence)
        assert stage.listener.logged[0]["event"] == state
        assert "by" not in stage.listener.logged[0]
        assert stage.screen.shown == {}

    play(tmp_path, story)


def test_what_is_not_concerned_by_a_change_stays_open(tmp_path):
    async def story(stage):
        ticket = await stage.asked()
        stage.approvals.void("x", instance="other")
        stage.approvals.void("x", policy="p")
        stage.approvals.void("x", server="other")
        stage.approvals.tick()
        assert (stage.listener.heard, list(stage.screen.shown)) == ([], [ticket.ident])

    play(tmp_path, story)


def test_an_answer_of_a_channel_counts_once_and_a_late_one_is_logged_and_nothing(tmp_path, caplog):
    async def story(stage):
        ticket = await stage.asked()
        stage.approvals.answered(ticket.ident, NO)
        stage.approvals.answered(ticket.ident, YES)
        stage.approvals.answered("nobody", YES)
        await asyncio.sleep(0)
        assert [heard.granted for heard in stage.listener.heard] == [False]
        assert stage.spend(ticket) is None

    with caplog.at_level(logging.INFO, logger="mcpguard"):
        play(tmp_path, story)
    assert caplog.text.count("is not taken") == 2


def test_questions_of_a_daemon_that_was_killed_are_closed_in_the_log(tmp_path):
    async def story(stage):
        stage.approvals.abandoned([])
        assert records(stage.log) == []
        stage.approvals.abandoned(iter(["a1", "b2"]))
        found = [(one["event"], one["ticket"], one["reason"]) for one in records(stage.log)]
        assert found == [
            ("void", "a1", "the daemon was restarted"),
            ("void", "b2", "the daemon was restarted"),
        ]

    play(tmp_path, story)


# --- who is told ---------------------------------------------------------------------------------------------------


def test_many_changes_at_once_are_told_once_and_each_ticket_is_shown_once(tmp_path):
    async def story(stage):
        first = stage.ask()
        second = stage.ask(binding("b"))
        for _ in range(5):
            stage.ask()
        assert stage.screen.count == 0, "whoever asks is not held up"
        await asyncio.sleep(0)
        assert (stage.screen.count, sorted(stage.screen.shown)) == (2, sorted([first.ident, second.ident]))
        assert stage.opened == [sorted([first.ident, second.ident])]
        await stage.say("deny", ident=first.ident)
        assert list(stage.screen.shown) == [second.ident]
        assert stage.opened[1:] == [[second.ident]]
        assert stage.screen.count == 2

    play(tmp_path, story)


def test_a_ticket_that_is_settled_before_anybody_looked_is_shown_to_nobody(tmp_path):
    async def story(stage):
        ticket = stage.ask()
        stage.book.answer(ticket.ident, NO, time.monotonic_ns())
        await asyncio.sleep(0)
        assert (stage.screen.count, stage.opened) == (0, [])

    play(tmp_path, story)


def test_only_connections_on_which_something_waits_are_kept_alive(tmp_path):
    async def story(stage):
        stage.approvals.tick()
        assert stage.listener.ticks == 0
        stage.listener.waiting = 2
        stage.approvals.tick()
        stage.approvals.tick()
        assert stage.listener.ticks == 2

    play(tmp_path, story)


# --- pending ---------------------------------------------------------------------------------------------------------


def test_pending_tells_what_waits_oldest_first_and_which_version_that_is(tmp_path):
    async def story(stage):
        assert await stage.say("pending") == {"tickets": [], "version": 0}
        idents = [(await stage.asked(binding(letter))).ident for letter in "abc"]
        found = await stage.say("pending", seconds=5.0)
        assert [one["id"] for one in found["tickets"]] == idents
        assert found["version"] == stage.book.version == 3
        assert 119 < found["tickets"][0]["left_seconds"] <= 120

    play(tmp_path, story)


def test_a_watcher_gets_what_it_has_not_seen_at_once_and_waits_for_what_is_not_there_yet(tmp_path):
    async def story(stage):
        loop = asyncio.get_running_loop()
        ticket = await stage.asked()
        version = stage.book.version
        for seen in (0, version + 7):
            assert (await stage.say("pending", since=seen, seconds=5.0))["version"] == version
        began = loop.time()
        assert (await stage.say("pending", since=version, seconds=0.05))["version"] == version
        assert 0.04 < loop.time() - began < 2
        watching = loop.create_task(stage.say("pending", since=version, seconds=5.0))
        await asyncio.sleep(0.01)
        assert not watching.done()
        await stage.say("deny", ident=ticket.ident)
        began = loop.time()
        assert (await watching)["tickets"] == []
        assert loop.time() - began < 2

    play(tmp_path, story)


@pytest.mark.parametrize(
    ("settle", "code", "says"),
    [
        (lambda stage, ticket: stage.book.answer(ticket.ident, YES, time.monotonic_ns()), "answered", "was approved by uid 1000"),
        (lambda stage, ticket: stage.book.answer(ticket.ident, NO, time.monotonic_ns()), "answered", "was denied by uid 1000"),
        (lambda stage, ticket: setattr(ticket, "expires", 0), "expired", "expired"),
        (lambda stage, ticket: stage.book.void("the host ended"), "void", "is void, the host ended"),
        (lambda stage, ticket: setattr(ticket, "ident", "nobody"), "unknown", "no ticket"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("verb", ["pending", "approve", "deny"])
def test_of_a_ticket_that_waits_no_longer_every_verb_says_what_became_of_it(
    tmp_path, settle, code, says, verb
):
    async def story(stage):
        ticket = await stage.asked()
        settle(stage, ticket)
        with pytest.raises(ApprovalError, match=says) as caught:
            await stage.say(verb, ident=ticket.ident)
        assert caught.value.code == code

    play(tmp_path, story)


def test_what_was_recorded_lately_can_be_looked_back_at(tmp_path):
    async def story(stage):
        ticket = await stage.asked()
        await stage.say("deny", ident=ticket.ident)
        found = await stage.say("recent")
        assert [(one["event"], one["ticket"]) for one in found["records"]] == [("denied", ticket.ident)]

    play(tmp_path, story)


# --- approve ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["", "ONCE", "always", "for good", "\x1b[2J" * 20])
def test_a_scope_that_is_none_approves_nothing(tmp_path, scope):
    async def story(stage):
        ticket = await stage.asked()
        with pytest.raises(PeerError, match="no scope") as caught:
            await stage.say("approve", ident=ticket.ident, scope=scope)
        assert caught.value.message.isprintable()
        assert len(caught.value.message) < 150
        assert (ticket.state, stage.spend(ticket)) == (State.OPEN, None)

    play(tmp_path, story)


@pytest.mark.parametrize(
    ("members", "times"), [({}, 1), ({"scope": "for", "seconds": 60.0}, 3), ({"scope": "session"}, 3)]
)
def test_a_yes_goes_as_far_as_was_said(tmp_path, members, times):
    async def story(stage):
        ticket = await stage.asked()
        reply = await stage.say("approve", ident=ticket.ident, **members)
        assert reply["scope"] == members.get("scope", "once")
        assert [bool(stage.spend(ticket)) for _ in range(3)] == [number < times for number in range(3)]

    play(tmp_path, story)


@pytest.mark.parametrize("seconds", [0.0, 0.5, -1.0, 86_401.0, float("inf"), float("nan")])
def test_a_time_that_is_none_approves_nothing(tmp_path, seconds):
    async def story(stage):
        ticket = await stage.asked()
        with pytest.raises(ApprovalError, match="lasts 1 s to 86400 s"):
            await stage.say("approve", ident=ticket.ident, scope="for", seconds=seconds)
        assert (ticket.state, stage.spend(ticket)) == (State.OPEN, None)

    play(tmp_path, story)


# --- presence --------------------------------------------------------------------------------------------------------


def test_where_presence_is_wanted_and_cannot_be_shown_that_is_said(tmp_path):
    async def story(stage):
        ticket = await stage.asked(confirm="presence")
        with pytest.raises(PeerError, match="no way to show it is set up") as caught:
            await stage.say("approve", ident=ticket.ident, proof="friend of 1000")
        assert caught.value.hint == "mcpguard presence set passphrase"
        assert ticket.state is State.OPEN

    play(tmp_path, story)


def test_presence_is_asked_for_shown_and_kept_with_the_yes(tmp_path):
    async def story(stage):
        ticket = await stage.asked(confirm="presence")
        with pytest.raises(PresenceWanted) as caught:
            await stage.say("approve", ident=ticket.ident)
        assert (caught.value.methods, caught.value.challenge) == (["word"], f"say it for {ticket.ident}")
        assert stage.spend(ticket) is None
        with pytest.raises(PeerError, match="that is not it"):
            await stage.say("approve", ident=ticket.ident, proof="enemy")
        with pytest.raises(PeerError, match="that is not it"):
            await stage.say(
                "approve", ident=ticket.ident, proof="friend of 1000"
            )  # the challenge was good once
        assert (ticket.state, stage.listener.heard) == (State.OPEN, [])
        with pytest.raises(PresenceWanted):
            await stage.say("approve", ident=ticket.ident)
        await stage.say("approve", ident=ticket.ident, proof="friend of 1000")
        assert stage.spend(ticket).presence == "a word"

    play(tmp_path, story, "word")


def test_a_proof_that_nobody_wants_is_not_looked_at(tmp_path):
    async def story(stage):
        ticket = await stage.asked()
        await stage.say("approve", ident=ticket.ident, proof="whatever")
        assert stage.spend(ticket).presence == ""

    play(tmp_path, story, "word")


def test_a_no_while_presence_is_shown_counts(tmp_path):
    async def story(stage):
        ticket = await stage.asked(confirm="presence")
        with pytest.raises(PresenceWanted):
            await stage.say("approve", ident=ticket.ident)
        stage.door.pause = asyncio.Event()
        showing = asyncio.get_running_loop().create_task(
            stage.say("approve", ident=ticket.ident, proof="friend of 1000")
        )
        await asyncio.sleep(0.01)
        await stage.say("deny", ident=ticket.ident)
        stage.door.pause.set()
        with pytest.raises(ApprovalError, match="was denied"):
            await showing
        assert stage.spend(ticket) is None
        assert await eventually(lambda: [one["event"] for one in records(stage.log)] == ["denied"])

    play(tmp_path, story, "word")


def test_an_answer_of_a_channel_is_none_where_presence_is_wanted(tmp_path):
    async def story(stage):
        ticket = await stage.asked(confirm="presence")
        stage.approvals.answered(ticket.ident, Answer(granted=True, by="desktop notification"))
        await asyncio.sleep(0)
        assert (ticket.state, stage.listener.heard) == (State.OPEN, [])

    play(tmp_path, story, "word")
