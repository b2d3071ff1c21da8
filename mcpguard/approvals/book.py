"""All tickets and grants of one daemon."""

from __future__ import annotations

from mcpguard.approvals.ticket import Answer, Binding, Grant, Question, Ticket
from mcpguard.errors import GuardError


class ApprovalError(GuardError):
    """There is no such ticket, or it waits no longer."""


class Book:
    """Tickets that wait, grants that hold.

    Attributes:
        version: Grows with every change, so that whoever watches can tell.
    """

    def __init__(self) -> None:
        self.version = 0

    def spend(self, binding: Binding, now: int) -> Grant | None:
        """Use a grant for one call; None if there is none."""
        raise NotImplementedError

    def ask(self, question: Question, now: int) -> Ticket | str:
        """The ticket of a question: a new one, or the open one of an identical call, in which one more call waits.

        A sentence instead: why it is denied at once (too many, too often).
        """
        raise NotImplementedError

    def leave(self, ident: str) -> None:
        """A call that waited waits no longer: cancelled, or its connection ended. The ticket stays open."""
        raise NotImplementedError

    def answer(self, ident: str, answer: Answer, now: int) -> Ticket:
        """A person answered.

        Raises:
            ApprovalError: There is no such ticket, it was answered, it expired, or presence is wanted and not shown.
        """
        raise NotImplementedError

    def expire(self, now: int) -> list[Ticket]:
        """Close the tickets, and forget the grants, whose time is up; the tickets that were closed."""
        raise NotImplementedError

    def void(self, reason: str, *, instance: str = "", policy: str = "", server: str = "") -> list[Ticket]:
        """Close open tickets and forget grants: of a run of a host that ended, of any policy but this one, of a
        server whose definitions changed. The tickets that were closed."""
        raise NotImplementedError

    def went_through(self, binding: Binding, arguments: object) -> None:
        """Remember the arguments of a call that a rule asked about and that went through, for `Ticket.before`."""
        raise NotImplementedError

    def tickets(self) -> list[Ticket]:
        """The open tickets, oldest first."""
        raise NotImplementedError

    def find(self, ident: str) -> Ticket:
        """A ticket, open or lately closed.

        Raises:
            ApprovalError: There is none.
        """
        raise NotImplementedError
