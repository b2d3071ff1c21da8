"""All tickets and grants of one daemon.

Rule 1: for each yes to one call, at most one call passes: a grant is used up by `spend`, and by nothing else.
Rule 2: what differs in anything of its `Binding` is another question, and no grant is good for it.
Rule 3: a bound that is reached is a denial for whoever asks, never a question that is dropped silently.

Times are nanoseconds of one clock, which the caller reads and which never goes back. What is open or granted ends by
that clock: one that goes on while the machine sleeps ends approvals that were given before.

Not here: who may answer, and whether presence was really shown (`daemon`); that an answer is recorded before anybody
acts on it (`daemon.approvals`).
"""

from __future__ import annotations

import hashlib
from collections import deque
from typing import Final

import msgspec

from mcpguard import limits
from mcpguard.approvals.ticket import Answer, Binding, Grant, Question, Scope, State, Ticket
from mcpguard.errors import GuardError

SECOND: Final = 1_000_000_000
NEVER: Final = 2**63 - 1
"""When a grant expires that holds as long as the run of the host."""
_MINUTE: Final = 60 * SECOND
_LETTERS: Final = "bcdfghjkmnpqrstvwxz"
"""Of idents: no vowels, so that no word appears, and nothing that looks like a digit."""
_LETTER_COUNT: Final = 4
_ENDED: Final = {
    State.GRANTED: "was approved",
    State.DENIED: "was denied",
    State.EXPIRED: "expired",
    State.VOID: "is void",
}


class ApprovalError(GuardError):
    """There is no such ticket, or it waits no longer, or the answer is not one.

    `code`: `unknown`, `answered`, `expired` (by time), `void`, `presence` (it is wanted and was not shown),
    `invalid` (the answer says what cannot be).
    """

    def __init__(self, message: str, *, code: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code


class Book:
    """Tickets that wait, grants that hold.

    Args:
        key: What idents are derived from, at most 64 bytes. With another key for each daemon, an ident that a person
            saw before a restart is not the ident of another question after it.

    Attributes:
        version: Grows with every change, so that whoever watches can tell.
    """

    def __init__(self, key: bytes = b"") -> None:
        self.version = 0
        self._key = key
        self._count = 0
        self._open: dict[str, Ticket] = {}
        self._sizes: dict[str, int] = {}
        self._asked: dict[Binding, Ticket] = {}
        self._closed: dict[str, Ticket] = {}
        self._lapsed: list[Ticket] = []
        self._grants: dict[Binding, Grant] = {}
        self._lately: dict[str, deque[int]] = {}
        self._before: dict[tuple[str, str, str], bytes] = {}

    def spend(self, binding: Binding, now: int, *, confirm: str = "") -> Grant | None:
        """Use a grant for one call; None if there is none.

        `confirm` is what the call wants of whoever approved it: a grant without presence is none for a call that
        wants presence.
        """
        grant = self._grants.get(binding)
        if grant is None or (confirm and not grant.presence):
            return None
        if now >= grant.expires:
            del self._grants[binding]
            self.version += 1
            return None
        if grant.count > 0:
            grant.count -= 1
            if not grant.count:
                del self._grants[binding]
        self.version += 1
        return grant

    def ask(self, question: Question, now: int) -> Ticket | str:
        """The ticket of a question: a new one, or the open one of an identical call, in which one more call waits.

        A sentence instead: why it is denied at once (too many, too often).
        """
        self._lapse(now)
        ticket = self._asked.get(question.binding)
        if ticket is not None:
            self._join(ticket, question)
            return ticket
        size = len(msgspec.json.encode(question.arguments))
        flood = self._flood(question.binding.instance, size, now)
        if flood:
            return flood
        bound = question.binding
        before = self._before.get((bound.server, bound.method, bound.target))
        ticket = Ticket(
            ident=self._ident(),
            question=question,
            asked=now,
            expires=now + int(question.timeout * SECOND),
            before=None if before is None else msgspec.json.decode(before),
        )
        self._open[ticket.ident] = ticket
        self._sizes[ticket.ident] = size
        self._asked[bound] = ticket
        self._lately.setdefault(bound.instance, deque(maxlen=limits.TICKETS_MINUTE)).append(now)
        self.version += 1
        return ticket

    def leave(self, ident: str) -> None:
        """A call that waited waits no longer: cancelled, or its connection ended. The ticket stays open."""
        ticket = self._open.get(ident)
        if ticket is not None and ticket.waiting:
            ticket.waiting -= 1
            self.version += 1

    def answer(self, ident: str, answer: Answer, now: int) -> Ticket:
        """A person answered.

        Raises:
            ApprovalError: There is no such ticket, it was answered, it expired, or presence is wanted and not shown.
        """
        ticket = self.waiting(ident, now)
        if len(answer.reason) > limits.REASON_CHARS:
            raise ApprovalError(
                f"the reason has more than {limits.REASON_CHARS} characters",
                code="invalid",
                hint="shorten it",
            )
        if answer.granted:
            self._grant(ticket, answer, now)
        ticket.scope = answer.scope if answer.granted else None
        self._close(ticket, State.GRANTED if answer.granted else State.DENIED, now, answer.by, answer.reason)
        return ticket

    def expire(self, now: int) -> list[Ticket]:
        """Close the tickets, and forget the grants, whose time is up; the tickets that were closed.

        Among them are those that were found to be overdue by another question since the last call.
        """
        self._lapse(now)
        over = [binding for binding, grant in self._grants.items() if now >= grant.expires]
        for binding in over:
            del self._grants[binding]
        self.version += bool(over)
        quiet = [instance for instance, times in self._lately.items() if now - times[-1] >= _MINUTE]
        for instance in quiet:
            del self._lately[instance]
        lapsed, self._lapsed = self._lapsed, []
        return lapsed

    def void(self, reason: str, *, instance: str = "", policy: str = "", server: str = "") -> list[Ticket]:
        """Close open tickets and forget grants whose subject has changed; the tickets that were closed.

        That is what belongs to a run of a host that ended, to any policy but this one, to a server whose definitions
        changed; with none of these, everything.
        """
        everything = not (instance or policy or server)

        def concerned(binding: Binding) -> bool:
            return (
                everything
                or (bool(instance) and binding.instance == instance)
                or (bool(policy) and binding.policy != policy)
                or (bool(server) and binding.server == server)
            )

        gone = [binding for binding in self._grants if concerned(binding)]
        for binding in gone:
            del self._grants[binding]
        self.version += bool(gone)
        closed = [ticket for ticket in self._open.values() if concerned(ticket.question.binding)]
        for ticket in closed:
            self._close(ticket, State.VOID, 0, "", reason)
        self._lately.pop(instance, None)
        return closed

    def revoke(self, ident: str, reason: str = "the answer could not be recorded") -> None:
        """Take back the yes to a ticket: what it permits and was not used yet is forbidden again."""
        gone = [binding for binding, grant in self._grants.items() if grant.ticket == ident]
        for binding in gone:
            del self._grants[binding]
        closed = self._closed.get(ident)
        if closed is not None and closed.state is State.GRANTED:
            closed.state, closed.reason = State.VOID, reason
        self.version += 1

    def went_through(self, binding: Binding, arguments: object) -> None:
        """Remember the arguments of a call that a rule asked about and that went through, for `Ticket.before`.

        They are remembered for the tool, whichever host called it. Too long ones are not, nor are older ones then:
        a comparison with any but the last call would mislead.
        """
        place = (binding.server, binding.method, binding.target)
        self._before.pop(place, None)
        data = msgspec.json.encode(arguments)
        if len(data) > limits.BEFORE_BYTES:
            return
        while len(self._before) >= limits.BEFORE:
            del self._before[next(iter(self._before))]
        self._before[place] = data

    def tickets(self) -> list[Ticket]:
        """The open tickets, oldest first."""
        return list(self._open.values())

    def find(self, ident: str) -> Ticket:
        """A ticket, open or lately closed; of one that is closed, the arguments are not kept.

        Raises:
            ApprovalError: There is none.
        """
        ticket = self._open.get(ident) or self._closed.get(ident)
        if ticket is None:
            from difflib import get_close_matches  # noqa: PLC0415 (0.2 MiB, for a slip of the hand)

            near = get_close_matches(ident[: limits.NAME_CHARS], self._open, n=1, cutoff=0.7)
            hint = f"did you mean {near[0]}?" if near else "what waits is shown by: mcpguard pending"
            raise ApprovalError(f"there is no ticket {ident[:40]!a}", code="unknown", hint=hint)
        return ticket

    def waiting(self, ident: str, now: int) -> Ticket:
        """A ticket that waits.

        Raises:
            ApprovalError: There is none, or it waits no longer: by whom it was answered, and how long ago.
        """
        self._lapse(now)
        ticket = self.find(ident)
        if ticket.state is not State.OPEN:
            raise _too_late(ticket, now)
        return ticket

    # --- inside ----------------------------------------------------------------------------------------------

    def _ident(self) -> str:
        """Letters of this daemon and a number: unique, short, and not what another daemon would call a ticket."""
        self._count += 1
        drawn = hashlib.blake2b(str(self._count).encode(), key=self._key, digest_size=8).digest()
        number, letters = int.from_bytes(drawn, "big"), ""
        for _ in range(_LETTER_COUNT):
            number, at = divmod(number, len(_LETTERS))
            letters += _LETTERS[at]
        return f"{letters}{self._count}"

    def _join(self, ticket: Ticket, question: Question) -> None:
        """One more identical call waits. If it wants presence and the first did not, both do from now on."""
        ticket.waiting += 1
        ticket.times += 1
        if question.confirm and not ticket.question.confirm:
            ticket.question = question
        self.version += 1

    def _flood(self, instance: str, size: int, now: int) -> str:
        """Why there is no room for one more question; empty if there is."""
        lately = self._lately.get(instance)
        if lately is not None and len(lately) == limits.TICKETS_MINUTE and now - lately[0] < _MINUTE:
            return (
                f"this host asked {limits.TICKETS_MINUTE} questions within a minute, more than a person can "
                f"answer; try again in {_seconds(lately[0] + _MINUTE - now)} s"
            )
        if lately is None and len(self._lately) >= limits.ASKING:
            return "too many hosts ask for approval at once; try again in 60 s"
        mine = [ticket for ticket in self._open.values() if ticket.question.binding.instance == instance]
        for tickets, most, most_bytes, whose in (
            (mine, limits.TICKETS_INSTANCE, limits.TICKETS_INSTANCE_BYTES, "of this host"),
            (list(self._open.values()), limits.TICKETS, limits.TICKETS_BYTES, "of all hosts"),
        ):
            held = sum(self._sizes[ticket.ident] for ticket in tickets)
            if len(tickets) < most and held + size <= most_bytes:
                continue
            soonest = min((ticket.expires for ticket in tickets), default=now)
            return (
                f"{len(tickets)} questions {whose} wait for a person already, with {held} bytes of arguments; "
                f"try again when one is answered, at the latest in {_seconds(soonest - now)} s"
            )
        return ""

    def _grant(self, ticket: Ticket, answer: Answer, now: int) -> None:
        question = ticket.question
        if question.confirm and not answer.presence:
            raise ApprovalError(
                f"rule {question.rule} wants whoever approves to show presence", code="presence"
            )
        expires, count = now + int(limits.GRANT_SECONDS * SECOND), 1
        if answer.scope is Scope.FOR:
            if not 1 <= answer.seconds <= limits.GRANT_FOR_SECONDS:
                raise ApprovalError(
                    f"an approval for a time lasts 1 s to {limits.GRANT_FOR_SECONDS:.0f} s",
                    code="invalid",
                    hint="for good: mcpguard approve ID --always",
                )
            expires, count = now + int(answer.seconds * SECOND), -1
        elif answer.scope is Scope.SESSION:
            expires, count = NEVER, -1
        self._grants.pop(question.binding, None)
        while len(self._grants) >= limits.GRANTS:
            del self._grants[next(iter(self._grants))]
        self._grants[question.binding] = Grant(
            ticket.ident, question.binding, expires, count, answer.by, answer.presence
        )

    def _lapse(self, now: int) -> None:
        """Close what is overdue."""
        overdue = [ticket for ticket in self._open.values() if now >= ticket.expires]
        for ticket in overdue:
            self._close(ticket, State.EXPIRED, now, "", "nobody answered in time")
        self._lapsed += overdue

    def _close(self, ticket: Ticket, state: State, now: int, by: str, reason: str) -> None:
        """End a ticket, and keep what tells whoever comes late."""
        ticket.state, ticket.settled, ticket.by, ticket.reason = state, now, by, reason
        del self._open[ticket.ident], self._sizes[ticket.ident], self._asked[ticket.question.binding]
        while len(self._closed) >= limits.TICKETS_CLOSED:
            del self._closed[next(iter(self._closed))]
        question = msgspec.structs.replace(ticket.question, arguments=None)
        self._closed[ticket.ident] = msgspec.structs.replace(ticket, question=question, before=None)
        self.version += 1


def _too_late(ticket: Ticket, now: int) -> ApprovalError:
    """What a second approver is told."""
    words = f"ticket {ticket.ident} {_ENDED[ticket.state]}"
    if ticket.by:
        words += f" by {ticket.by}"
    if ticket.state is State.VOID:
        words += f", {ticket.reason}" if ticket.reason else ""
    else:
        words += f", {max(0, now - ticket.settled) // SECOND} s ago"
    code = {State.EXPIRED: "expired", State.VOID: "void"}.get(ticket.state, "answered")
    hint = "" if code == "answered" else "the host has to call again"
    return ApprovalError(words, code=code, hint=hint)


def _seconds(span: int) -> int:
    """Whole seconds, rounded up, at least one."""
    return max(1, -(-span // SECOND))
