"""Questions to people: who is told of them, who answers, and what follows.

Rule 1: the answer is recorded, on stable storage, before any connection hears of it. If that fails, it is a no.
Rule 2: every ticket ends: by an answer, by its time, by a change of what it is about, or with the daemon.

Not here: who may answer (`daemon.control`, which looks at the caller first); what a yes is good for
(`approvals.book`); how presence is shown (`daemon.presence`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol

from mcpguard.approvals.book import ApprovalError, Book
from mcpguard.approvals.ticket import Answer, Scope, State, Ticket
from mcpguard.approvals.words import describe
from mcpguard.audit import record, redact
from mcpguard.daemon.control import Caller, Personal, PresenceWanted, Verb
from mcpguard.daemon.recent import Bell
from mcpguard.daemon.recorder import Recorder
from mcpguard.daemon.session import Session
from mcpguard.errors import JournalError, PeerError
from mcpguard.gate.events import TicketSettled
from mcpguard.model import JsonObject
from mcpguard.protocol.control import Request

_log: Final = logging.getLogger("mcpguard")


class Channel(Protocol):
    """A way to tell a person, beside the command line."""

    def show(self, ticket: JsonObject) -> None:
        """A ticket was opened, or more calls wait for it."""

    def withdraw(self, ident: str) -> None:
        """A ticket was settled."""


class Presence(Protocol):
    """How an approver shows to be a person."""

    def methods(self) -> list[str]:
        """The ways that are set up."""

    def challenge(self, ticket: str) -> str:
        """What is to be answered, for one ticket, once."""

    async def check(self, ticket: str, proof: str, caller: Caller) -> str:
        """How presence was shown.

        Raises:
            PeerError: It was not.
        """


class Approvals:
    """The questions of one daemon.

    Args:
        book: Tickets and grants.
        recorder: Where answers are recorded.
        sessions: The connections that are open now, by id.
        presence: How presence is shown.
        opened: Told the idents of open tickets whenever they change.
    """

    def __init__(
        self,
        book: Book,
        recorder: Recorder,
        sessions: Mapping[str, Session],
        presence: Presence,
        opened: Callable[[Iterable[str]], None],
    ) -> None:
        self._book = book
        self._recorder = recorder
        self._sessions = sessions
        self._presence = presence
        self._opened = opened
        self._open: dict[str, Ticket] = {}
        self._channels: list[Channel] = []
        self._bell = Bell()
        self._due = False

    def add(self, channel: Channel) -> None:
        """Tell people by this channel, too."""
        self._channels.append(channel)

    def reading(self) -> dict[str, Verb]:
        """Verbs that change nothing."""
        return {"pending": self._pending, "recent": self._looked_back}

    def approving(self) -> dict[str, Personal]:
        """Verbs that answer for a person."""
        return {"approve": self._approve, "deny": self._deny}

    # --- what happens to tickets ---------------------------------------------------------------------------

    def changed(self) -> None:
        """The book has changed: settle what is settled, soon, when whoever changed it is done."""
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self._look)

    def tick(self) -> None:
        """Time has gone by."""
        if self._book.expire(time.monotonic_ns()):
            self._look()
        waiting = [session for session in self._sessions.values() if session.waiting]
        for session in waiting:
            session.still_waiting()

    def void(self, reason: str, *, instance: str = "", policy: str = "", server: str = "") -> None:
        """Close tickets whose subject has changed; see `Book.void`."""
        if self._book.void(reason, instance=instance, policy=policy, server=server):
            self._look()

    def close(self) -> None:
        """The daemon ends: every open question is a no."""
        self._book.void("mcpguard ends")
        self._look()

    def abandoned(self, idents: Iterable[str]) -> None:
        """Record the end of questions that were open when the last daemon ended without closing them."""
        bodies = [record.approval("void", ident, reason="the daemon was restarted") for ident in idents]
        if bodies:
            self._recorder.append(bodies, durable=True)

    def answered(self, ident: str, answer: Answer) -> None:
        """A channel of the daemon's own brought an answer; one that comes too late is nothing."""
        try:
            self._book.answer(ident, answer, time.monotonic_ns())
        except ApprovalError as error:
            _log.info("an answer by %s is not taken: %s", answer.by, error.sentence())
        self.changed()

    def _look(self) -> None:
        """Compare the book with what was open before: tell who waits, who watches, and the log."""
        self._due = False
        now = {ticket.ident: ticket for ticket in self._book.tickets()}
        settled = [ticket for ident, ticket in self._open.items() if ident not in now]
        fresh = [ticket for ident, ticket in now.items() if ident not in self._open]
        self._open = now
        if settled or fresh:
            self._opened(now)
        for ticket in settled:
            self._settle(ticket)
        for ticket in fresh:
            shown = _described(ticket)
            for channel in self._channels:
                channel.show(shown)
        self._bell.ring()

    def _settle(self, ticket: Ticket) -> None:
        granted, sentence = ticket.state is State.GRANTED, ""
        members: JsonObject = {"by": ticket.by} if ticket.by else {}
        if ticket.reason:
            members["reason"] = ticket.reason
        question, bound = ticket.question, ticket.question.binding
        start = record.prefix(question.conn, question.host, bound.server)
        body = record.approval(
            ticket.state.value, ticket.ident, start,
            method=bound.method, target=bound.target, rule=question.rule, **members,
        )  # fmt: skip
        try:
            self._recorder.append([body], durable=True)
        except JournalError as error:
            self._book.revoke(ticket.ident)
            granted, sentence = False, error.sentence()
        if not granted:
            sentence = sentence or _sentence(ticket)
        event = TicketSettled(
            ticket.ident, granted, sentence, ticket.state.value, ticket.by, time.monotonic_ns()
        )
        for session in list(self._sessions.values()):
            session.settled(event)
        for channel in self._channels:
            channel.withdraw(ticket.ident)

    @property
    def open_count(self) -> int:
        """Questions that wait."""
        return len(self._open)

    # --- verbs ---------------------------------------------------------------------------------------------

    async def _pending(self, request: Request) -> JsonObject:
        if request.ident:
            self._book.waiting(request.ident, time.monotonic_ns())
        if request.since >= 0:
            await self._bell.wait(lambda: self._book.version != request.since, request.seconds)
        tickets = [_described(ticket) for ticket in self._book.tickets()]
        return {"tickets": tickets, "version": self._book.version}

    async def _looked_back(self, request: Request) -> JsonObject:
        return await self._recorder.since(request.since, request.seconds)

    async def _approve(self, request: Request, caller: Caller) -> JsonObject:
        ticket = self._book.find(request.ident)
        shown = ""
        if ticket.question.confirm:
            shown = await self._shown(ticket, request, caller)
        answer = Answer(
            granted=True,
            by=caller.words,
            scope=_scope(request.scope),
            seconds=request.seconds,
            presence=shown,
        )
        settled = self._book.answer(ticket.ident, answer, time.monotonic_ns())
        self._look()
        return {"ticket": _described(settled), "scope": answer.scope.value}

    async def _shown(self, ticket: Ticket, request: Request, caller: Caller) -> str:
        methods = self._presence.methods()
        if not methods:
            raise PeerError(
                f"rule {ticket.question.rule} wants presence, and no way to show it is set up",
                hint="mcpguard presence set passphrase",
            )
        if not request.proof:
            raise PresenceWanted(methods, self._presence.challenge(ticket.ident))
        return await self._presence.check(ticket.ident, request.proof, caller)

    async def _deny(self, request: Request, caller: Caller) -> JsonObject:
        answer = Answer(granted=False, by=caller.words, reason=redact.current().text(request.reason))
        settled = self._book.answer(request.ident, answer, time.monotonic_ns())
        self._look()
        return {"ticket": _described(settled)}


def _described(ticket: Ticket) -> JsonObject:
    """A ticket as it may be shown anywhere; its arguments hold no secret since it was opened."""
    described = describe(ticket, time.monotonic_ns())
    asked = {name: described.pop(name) for name in ("arguments", "before")}
    shown: JsonObject = redact.current().value(described, names=False)
    return shown | asked


def _sentence(ticket: Ticket) -> str:
    """Why a call was not approved, for the host."""
    if ticket.state is State.DENIED:
        why = f": {ticket.reason}" if ticket.reason else ""
        return f"a person denied it{why}. Do not try the same call again"
    if ticket.state is State.EXPIRED:
        return "nobody answered in time; a person can see what is asked with: mcpguard pending"
    return f"{ticket.reason or 'what it was asked for has changed'}; call again to ask again"


def _scope(word: str) -> Scope:
    """The scope that a request names.

    Raises:
        PeerError: There is no such scope.
    """
    try:
        return Scope(word)
    except ValueError as error:
        raise PeerError(f"an approval has no scope {word[:20]!a}", hint="once, for or session") from error
