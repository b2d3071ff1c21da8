"""The console as a program for terminals: four views, one question at a time.

Rule 1: an answer is for the ticket that was on the screen when the key was pressed, whatever arrived since, and it
is taken only after the question could be read.
Rule 2: the console decides nothing: answers are the same requests that `mcpguard approve` and `deny` send, and the
daemon looks at who sends them.
Rule 3: nothing moves by itself: no animation, no timer; it draws when there is news (under 1 % of a core when idle,
`tests/bench/console.py`).
"""

from __future__ import annotations

import asyncio
import time
from typing import ClassVar, Final

import click
from rich.text import Text
from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Footer, Input, OptionList, Static, TabbedContent, TabPane
from textual.widgets.option_list import Option

from mcpguard import limits
from mcpguard.approvals.words import ticket_lines
from mcpguard.cli import answering
from mcpguard.cli.consolefeed import Away, Feed, Happened, News, Standing, Waiting
from mcpguard.cli.consoleview import Happenings, Line, Table, session_table, top_line
from mcpguard.cli.pending import lines as pending_lines
from mcpguard.errors import GuardError
from mcpguard.model import JsonObject, visible

_MINUTES: Final = 10
_MARGIN: Final = 2
_HELP: Final = (
    "Views      1 calls   2 what waits for you   3 connections   4 findings",
    "Choose     up and down choose a ticket; page up and page down scroll",
    "Answer     a  this one call            t  identical calls for ten minutes",
    "           s  while the host runs      A  for good: a rule, shown first",
    "           d  deny, with a reason that the host reads",
    "Leave      q",
    "",
    "Every answer is asked once more, and y counts only after half a second:",
    "what you typed before you could read is no answer.",
    "",
    "(deny) in brackets: policy only watches, the call passed. in flight: the",
    "server has not answered. Silence until the time is over is a no.",
    "",
    "Escape goes back.",
)


class _Heard(Message):
    """News from the feed, handed over from its thread."""

    def __init__(self, news: News) -> None:
        super().__init__()
        self.news = news


class _Question(ModalScreen[bool]):
    """A ticket in full, and whether it is really meant; closes with the answer."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "yes"),
        Binding("n,escape", "answer(False)", "no"),
    ]

    def __init__(self, ticket: JsonObject, question: str) -> None:
        super().__init__()
        self._ticket = ticket
        self._question = question
        self._shown = time.monotonic()

    def compose(self) -> ComposeResult:
        with Vertical(classes="sheet"):
            with VerticalScroll():
                lines = ticket_lines(self._ticket, full=True, width=self.app.size.width - 2 * _MARGIN)
                yield Static(Text("\n".join(lines)))
            yield Static(Text(f"{self._question}  y yes, n no"), classes="ask")

    def on_mount(self) -> None:
        self._shown = time.monotonic()

    def action_answer(self, yes: bool) -> None:
        """A yes that comes before the question could be read is none."""
        if not yes or time.monotonic() - self._shown >= answering.READING_SECONDS:
            _ = self.dismiss(yes)


class _Reason(ModalScreen[str | None]):
    """Why a ticket is denied; None if it is not after all."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "go back")]

    def __init__(self, ticket: JsonObject) -> None:
        super().__init__()
        self._words = (
            f"Deny {visible(ticket['id'])}, {visible(ticket['tool'] or ticket['method'])}? Say why, or nothing; "
            "Enter denies, Escape goes back."
        )

    def compose(self) -> ComposeResult:
        with Vertical(classes="sheet small"):
            yield Static(Text(self._words))
            yield Input(placeholder="the host reads it", max_length=limits.REASON_CHARS)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """The reason is complete."""
        _ = self.dismiss(event.value)

    def action_leave(self) -> None:
        """Nothing is answered."""
        _ = self.dismiss(None)


class _Help(ModalScreen[None]):
    """The keys, and how to read what is shown."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,question_mark", "leave", "go back")]

    def compose(self) -> ComposeResult:
        with Vertical(classes="sheet"), VerticalScroll():
            yield Static(Text("\n".join(_HELP)))

    def action_leave(self) -> None:
        """Go back."""
        _ = self.dismiss(None)


class Console(App[None]):
    """The console.

    Args:
        feed: Where news come from.
    """

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Screen { overflow: hidden; }
    TabbedContent { height: 1fr; }
    #top { height: 1; }
    #tickets { height: auto; max-height: 40%; border: none; padding: 0; }
    .head, .ask { height: 1; text-style: bold; }
    TabPane { padding: 0; }
    ModalScreen { align: center middle; }
    .sheet { border: round $foreground; height: 90%; background: $background; padding: 0 1; }
    .small { height: 6; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("1", "view('calls')", show=False),
        Binding("2", "view('waiting')", show=False),
        Binding("3", "view('sessions')", show=False),
        Binding("4", "view('findings')", show=False),
        Binding("a", "approve('once')", "approve"),
        Binding("t", "approve('for')", "10 min"),
        Binding("s", "approve('session')", "session"),
        Binding("A", "always", "for good"),
        Binding("d", "deny", "deny"),
        Binding("question_mark", "explain", "help", key_display="?"),
        Binding("q", "quit", "quit"),
    ]

    def __init__(self, feed: Feed) -> None:
        super().__init__()
        self.animation_level = "none"
        self._feed = feed
        self._happenings = Happenings()
        self._status: JsonObject | None = None
        self._away = ""
        self._tickets: list[JsonObject] = []
        self._written: dict[str, list[Line]] = {}

    def compose(self) -> ComposeResult:
        """What is on the screen."""
        yield Static(id="top")
        with TabbedContent(initial="calls"):
            with TabPane("1 Calls", id="calls"):
                yield Static(id="calls-head", classes="head")
                with VerticalScroll(id="calls-scroll"):
                    yield Static(id="calls-text")
            with TabPane("2 Waiting", id="waiting"):
                yield Static(id="waiting-head", classes="head")
                yield OptionList(id="tickets", markup=False)
                with VerticalScroll():
                    yield Static(id="ticket")
            with TabPane("3 Connections", id="sessions"):
                yield Static(id="sessions-head", classes="head")
                with VerticalScroll(id="sessions-scroll"):
                    yield Static(id="sessions-text")
            with TabPane("4 Findings", id="findings"):
                yield Static(id="findings-head", classes="head")
                with VerticalScroll(id="findings-scroll"):
                    yield Static(id="findings-text")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Draw what is known, which is nothing, and ask for news."""
        self._draw_all()
        self.action_view("calls")
        self._feed.start(self._hear)

    def on_unmount(self) -> None:
        """Nobody listens any more."""
        self._feed.stop()

    def on_resize(self, _event: events.Resize) -> None:
        """Lines are made for the width of the terminal."""
        self._draw_all()

    # --- news ----------------------------------------------------------------------------------------------

    def _hear(self, news: News) -> None:
        """Take news from a thread of the feed."""
        self.post_message(_Heard(news))

    def on__heard(self, message: _Heard) -> None:
        """Take one piece of news and draw what it changes."""
        match message.news:
            case Waiting(tickets=tickets):
                self._take_tickets(tickets)
            case Happened(records=records, afresh=afresh):
                if afresh:
                    self._happenings = Happenings()
                self._happenings.take(records)
                self._draw_happenings()
            case Standing(status=status):
                self._status, self._away = status, ""
                self._draw_standing()
            case Away(sentence=sentence):
                self._status, self._away = None, sentence
                self._take_tickets([])
                self._draw_standing()

    def _take_tickets(self, tickets: list[JsonObject]) -> None:
        known = {ticket["id"] for ticket in self._tickets}
        if any(ticket["id"] not in known for ticket in tickets):
            self.bell()
        chosen = self._chosen()
        self._tickets = tickets
        self._draw_tickets(chosen["id"] if chosen else "")

    # --- drawing -------------------------------------------------------------------------------------------

    def _draw_all(self) -> None:
        self._draw_standing()
        self._draw_happenings()
        chosen = self._chosen()
        self._draw_tickets(chosen["id"] if chosen else "")

    def _draw_standing(self) -> None:
        width = self.size.width
        self._write("#top", [top_line(self._status, self._away, width)])
        self._put("sessions", session_table(self._status, width - _MARGIN))

    def _draw_happenings(self) -> None:
        width = self.size.width - _MARGIN
        tables = {
            "calls": self._happenings.call_table(width),
            "findings": self._happenings.finding_table(width),
        }
        for name, table in tables.items():
            scroll = self.query_one(f"#{name}-scroll", VerticalScroll)
            newest = scroll.is_vertical_scroll_end  # who has scrolled back to read stays there
            self._put(name, table)
            if newest:
                scroll.scroll_end(animate=False)
        found = self._happenings.findings
        self.query_one(TabbedContent).get_tab(
            "findings"
        ).label = f"4 Findings{f' ({found})' if found else ''}"

    def _draw_tickets(self, chosen: str) -> None:
        """The list, with the same ticket chosen as before if it still waits; else the first."""
        many = len(self._tickets)
        self.query_one(TabbedContent).get_tab("waiting").label = f"2 Waiting{f' ({many})' if many else ''}"
        idents = [ticket["id"] for ticket in self._tickets]
        shown = self.query_one("#tickets", OptionList)
        shown.display = bool(idents)
        if [option.id for option in shown.options] != idents:
            shown.clear_options()
            shown.add_options(Option("", id=ident) for ident in idents)
            if idents:
                shown.highlighted = idents.index(chosen) if chosen in idents else 0
        self._draw_chosen()

    def _draw_chosen(self) -> None:
        """The rows, the chosen one with a mark that needs no colour; and all of that ticket."""
        ticket = self._chosen()
        head, *rows = pending_lines(self._tickets, self.size.width - 2 * _MARGIN)
        self._write("#waiting-head", [Line(" " * _MARGIN + head)])
        shown = self.query_one("#tickets", OptionList)
        for one, row in zip(self._tickets, rows, strict=False):
            shown.replace_option_prompt(one["id"], Text(("> " if one is ticket else "  ") + row))
        lines = ticket_lines(ticket, width=self.size.width - _MARGIN) if ticket else []
        self._write("#ticket", [Line(line) for line in lines])

    def _put(self, name: str, table: Table) -> None:
        self._write(f"#{name}-head", [Line(table.head)])
        self._write(f"#{name}-text", table.lines)

    def _write(self, place: str, lines: list[Line]) -> None:
        """Draw what is not there already: the same news comes every few seconds."""
        if self._written.get(place) != lines:
            self._written[place] = lines
            self.query_one(place, Static).update(
                Text("\n").join(Text(line.text, line.colour) for line in lines)
            )

    def on_option_list_option_highlighted(self, _event: OptionList.OptionHighlighted) -> None:
        """Another ticket is chosen."""
        self._draw_chosen()

    # --- answers -------------------------------------------------------------------------------------------

    def _chosen(self) -> JsonObject | None:
        """The ticket that is chosen, while what waits is on the screen."""
        at = self.query_one("#tickets", OptionList).highlighted
        return self._tickets[at] if at is not None and at < len(self._tickets) else None

    def _meant(self) -> JsonObject | None:
        """The ticket that an answer is for; None if none is on the screen, and the person is told."""
        if self.query_one(TabbedContent).active != "waiting":
            self.action_view("waiting")
            self.notify("choose what to answer, then press the key again")
            return None
        ticket = self._chosen()
        if ticket is None:
            self.notify("nothing waits for approval")
        return ticket

    def action_approve(self, scope: str) -> None:
        """Ask whether the chosen ticket is to be approved, and approve it."""
        ticket = self._meant()
        if ticket is not None:
            self.run_worker(self._approve(ticket, scope), exclusive=True)

    async def _approve(self, ticket: JsonObject, scope: str) -> None:
        question = {
            "once": "Approve this call?",
            "for": f"Approve this call, and those identical for {_MINUTES} minutes?",
            "session": "Approve this call, and those identical while the host runs?",
        }[scope]
        if not await self.push_screen_wait(_Question(ticket, question)):
            self.notify("it was not answered, and still waits")
            return
        try:
            await self._say_yes(ticket, scope, _MINUTES * 60.0 if scope == "for" else 0.0)
        except GuardError as error:
            self.notify(error.sentence(), severity="error", markup=False)
        else:
            self.notify(f"approved {ticket['id']}", markup=False)

    async def _say_yes(self, ticket: JsonObject, scope: str, seconds: float) -> None:
        """Approve; where presence is wanted, on the plain terminal, where a passphrase is not drawn by anybody.

        Raises:
            GuardError: It was answered in the meantime, has expired, or is refused.
        """
        if not ticket["confirm"]:
            await asyncio.to_thread(answering.approve, ticket, scope, seconds)
            return
        refused: GuardError | None = None
        with self.suspend():
            try:
                answering.approve(ticket, scope, seconds)
            except GuardError as error:  # one that leaves this block would leave the screen suspended
                refused = error
        if refused is not None:
            raise refused

    def action_always(self) -> None:
        """Leave the screen to `mcpguard approve --always`, which shows the rule and asks."""
        ticket = self._meant()
        if ticket is None:
            return
        from mcpguard.cli.approve import approve

        with self.suspend():
            try:
                approve.main([ticket["id"], "--always"], standalone_mode=False)
            except (SystemExit, click.ClickException, click.Abort) as end:
                click.echo(f"mcpguard: {end}" if isinstance(end, click.ClickException) else "", err=True)
            click.prompt("Enter goes back to the console", default="", show_default=False, err=True)

    def action_deny(self) -> None:
        """Ask for a reason, and deny the chosen ticket."""
        ticket = self._meant()
        if ticket is not None:
            self.run_worker(self._deny(ticket), exclusive=True)

    async def _deny(self, ticket: JsonObject) -> None:
        reason = await self.push_screen_wait(_Reason(ticket))
        if reason is None:
            return
        try:
            await asyncio.to_thread(answering.deny, ticket, reason)
        except GuardError as error:
            self.notify(error.sentence(), severity="error", markup=False)
        else:
            self.notify(f"denied {ticket['id']}", markup=False)

    # --- views ---------------------------------------------------------------------------------------------

    def action_view(self, name: str) -> None:
        """Show one of the four views."""
        self.query_one(TabbedContent).active = name
        self.query_one("#tickets" if name == "waiting" else f"#{name}-scroll").focus()

    def action_explain(self) -> None:
        """Show the keys."""
        _ = self.push_screen(_Help())
