"""Never more calls than yeses permit, nothing after its time, and everybody who asks too much is told so."""

import collections

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    precondition,
    rule,
)

from mcpguard import limits
from mcpguard.approvals.book import NEVER, ApprovalError, Book
from mcpguard.approvals.ticket import Answer, Scope, State
from tests.approvals.questions import NO, SECOND, YES, binding, question

GRANT = int(limits.GRANT_SECONDS) * SECOND


@pytest.fixture
def book():
    return Book(b"key of this daemon")


def refused(book, ident, answer, now):
    with pytest.raises(ApprovalError) as caught:
        book.answer(ident, answer, now)
    return caught.value


# --- one yes, one call --------------------------------------------------------------------------------------


def test_without_a_yes_nothing_passes(book):
    ticket = book.ask(question(), 0)
    assert book.spend(binding(), 1) is None
    book.answer(ticket.ident, NO, 2)
    assert book.spend(binding(), 3) is None


def test_one_yes_is_one_call(book):
    ticket = book.ask(question(), 0)
    answered = book.answer(ticket.ident, YES, 1)
    assert (answered.state, answered.by, answered.scope) == (State.GRANTED, YES.by, Scope.ONCE)
    grant = book.spend(binding(), 2)
    assert (grant.ticket, grant.by) == (ticket.ident, YES.by)
    assert book.spend(binding(), 2) is None


def test_of_identical_calls_exactly_one_passes(book):
    first = book.ask(question(), 0)
    for number in range(2, 51):
        assert book.ask(question(), number) is first
    assert (first.waiting, first.times) == (50, 50)
    assert book.tickets() == [first]
    book.answer(first.ident, YES, 60)
    assert [book.spend(binding(), 61) is not None for _ in range(50)].count(True) == 1


@pytest.mark.parametrize("part", binding().__struct_fields__)
def test_a_yes_is_good_for_nothing_that_differs(book, part):
    book.answer(book.ask(question(), 0).ident, YES, 1)
    assert book.spend(msgspec.structs.replace(binding(), **{part: "other"}), 2) is None
    assert book.spend(binding(), 2) is not None


def test_a_late_yes_lets_one_identical_retry_through(book):
    ticket = book.ask(question(), 0)
    book.leave(ticket.ident)
    book.leave(ticket.ident)
    assert (ticket.waiting, book.tickets()) == (0, [ticket])
    book.answer(ticket.ident, YES, 1)
    assert book.spend(binding(), GRANT) is not None
    assert book.spend(binding(), GRANT) is None


def test_a_yes_that_nobody_used_ends(book):
    book.answer(book.ask(question(), 0).ident, YES, 0)
    assert book.spend(binding(), GRANT) is None
    book.answer(book.ask(question(), 0).ident, YES, 0)
    assert book.expire(GRANT) == []
    assert book.spend(binding(), 0) is None


def test_a_yes_for_a_time_and_its_end(book):
    book.answer(
        book.ask(question(), 0).ident, Answer(granted=True, by="me", scope=Scope.FOR, seconds=600.0), 0
    )
    assert all(book.spend(binding(), moment * SECOND) for moment in range(600))
    assert book.spend(binding(), 600 * SECOND) is None
    assert book.spend(binding(), 0) is None


def test_a_yes_for_the_session_ends_with_the_host(book):
    book.answer(book.ask(question(), 0).ident, Answer(granted=True, by="me", scope=Scope.SESSION), 0)
    assert book.spend(binding(), NEVER - 1) is not None
    book.expire(NEVER - 1)
    assert book.spend(binding(), 1) is not None
    book.void("the host ended", instance="4711@5")
    assert book.spend(binding(), 1) is None


@pytest.mark.parametrize(
    "seconds", [0.0, 0.5, -1.0, float("nan"), float("inf"), limits.GRANT_FOR_SECONDS + 1]
)
def test_an_absurd_time_is_refused_and_the_ticket_waits_on(book, seconds):
    ticket = book.ask(question(), 0)
    answer = Answer(granted=True, by="me", scope=Scope.FOR, seconds=seconds)
    assert refused(book, ticket.ident, answer, 1).code == "invalid"
    assert book.tickets() == [ticket]
    assert book.spend(binding(), 1) is None


def test_an_endless_reason_is_refused(book):
    ticket = book.ask(question(), 0)
    answer = msgspec.structs.replace(NO, reason="x" * (limits.REASON_CHARS + 1))
    assert refused(book, ticket.ident, answer, 1).code == "invalid"


def test_a_yes_that_could_not_be_recorded_is_taken_back(book):
    ticket = book.ask(question(), 0)
    book.answer(ticket.ident, YES, 1)
    book.revoke(ticket.ident)
    assert book.spend(binding(), 2) is None
    assert refused(book, ticket.ident, YES, 2).code == "void"


# --- presence -----------------------------------------------------------------------------------------------


def test_presence_that_was_not_shown_is_no_yes(book):
    ticket = book.ask(question(confirm="presence"), 0)
    assert refused(book, ticket.ident, YES, 1).code == "presence"
    assert book.spend(binding(), 1) is None
    shown = msgspec.structs.replace(YES, presence="fido2")
    assert book.answer(ticket.ident, shown, 2).state is State.GRANTED
    assert book.spend(binding(), 3, confirm="presence").presence == "fido2"


def test_a_no_needs_no_presence(book):
    ticket = book.ask(question(confirm="presence"), 0)
    assert book.answer(ticket.ident, NO, 1).state is State.DENIED


def test_a_yes_without_presence_is_none_for_a_call_that_wants_it(book):
    session = Answer(granted=True, by="me", scope=Scope.SESSION)
    book.answer(book.ask(question(), 0).ident, session, 1)
    assert book.spend(binding(), 2, confirm="presence") is None
    assert book.spend(binding(), 2) is not None


def test_who_joins_wanting_presence_makes_the_whole_ticket_want_it(book):
    ticket = book.ask(question(), 0)
    book.ask(question(confirm="presence"), 1)
    assert refused(book, ticket.ident, YES, 2).code == "presence"
    book.ask(question(), 3)
    assert refused(book, ticket.ident, YES, 4).code == "presence"


# --- time ---------------------------------------------------------------------------------------------------


def test_silence_is_a_no(book):
    ticket = book.ask(question(timeout=2.0), 0)
    assert book.expire(2 * SECOND - 1) == []
    assert book.expire(2 * SECOND) == [ticket]
    assert (ticket.state, book.tickets()) == (State.EXPIRED, [])
    assert book.expire(2 * SECOND) == []


def test_an_answer_after_the_time_is_none_even_before_anybody_looked(book):
    """A machine that slept: the first that happens after it is the answer."""
    ticket = book.ask(question(timeout=2.0), 0)
    error = refused(book, ticket.ident, YES, 3600 * SECOND)
    assert error.code == "expired"
    assert "the host has to call again" in error.sentence()
    assert book.spend(binding(), 3600 * SECOND) is None
    assert book.expire(3600 * SECOND) == [ticket], "whoever waits is told at the next look"


def test_a_question_after_the_time_of_an_identical_one_is_a_new_one(book):
    first = book.ask(question(timeout=2.0), 0)
    second = book.ask(question(timeout=2.0), 2 * SECOND)
    assert first.ident != second.ident
    assert book.expire(2 * SECOND) == [first]
    assert book.tickets() == [second]


# --- who comes late -----------------------------------------------------------------------------------------


def test_a_second_approver_is_told_by_whom_and_when(book):
    ticket = book.ask(question(), 0)
    book.answer(ticket.ident, YES, SECOND)
    error = refused(book, ticket.ident, NO, 4 * SECOND)
    assert error.sentence() == f"ticket {ticket.ident} was approved by uid 1000 (pid 4711), 3 s ago"
    assert error.code == "answered"
    assert book.spend(binding(), 5 * SECOND) is not None


def test_a_no_is_not_turned_into_a_yes(book):
    ticket = book.ask(question(), 0)
    book.answer(ticket.ident, NO, 1)
    assert "was denied by" in refused(book, ticket.ident, YES, 2).sentence()
    assert book.spend(binding(), 3) is None


def test_an_unknown_ticket_gets_a_near_miss(book):
    ticket = book.ask(question(), 0)
    error = refused(book, ticket.ident[:-1] + "7", YES, 1)
    assert (error.code, error.hint) == ("unknown", f"did you mean {ticket.ident}?")
    assert "mcpguard pending" in refused(book, "", YES, 1).hint
    assert "\x1b" not in refused(book, "\x1b[2J" + "x" * 10_000, YES, 1).sentence()


def test_what_is_remembered_of_closed_tickets_is_bounded_and_without_arguments(book):
    for number in range(limits.TICKETS_CLOSED + 5):
        now = number * 60 * SECOND
        ticket = book.ask(question(binding(str(number)), {"text": "x" * 1000}), now)
        book.answer(ticket.ident, NO, now)
        if not number:
            first = ticket
    assert book.find(ticket.ident).question.arguments is None
    assert refused(book, first.ident, YES, now).code == "unknown"


# --- idents -------------------------------------------------------------------------------------------------


def test_idents_are_short_unique_and_another_daemons_own():
    one, other = Book(b"one"), Book(b"other")
    names = [
        [book.ask(question(binding(str(at), instance=str(at))), 0).ident for at in range(100)]
        for book in (one, other)
    ]
    assert len(set(names[0])) == 100
    assert not set(names[0]) & set(names[1])
    assert all(len(name) <= 7 and name.isalnum() for name in names[0])


# --- what changes under a ticket ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("why", "other"),
    [
        ({"instance": "4711@5"}, {"instance": "9@9"}),
        ({"policy": "new"}, {"policy": "new"}),
        ({"server": "files"}, {"server": "mail"}),
    ],
)
def test_void_closes_and_forgets_what_it_names_and_nothing_else(book, why, other):
    granted = book.ask(question(binding("granted")), 0)
    book.answer(granted.ident, Answer(granted=True, by="me", scope=Scope.SESSION), 0)
    open_one = book.ask(question(binding("open")), 0)
    kept = book.ask(question(binding("open", **other)), 0)
    kept_grant = book.ask(question(binding("granted", **other)), 0)
    book.answer(kept_grant.ident, YES, 0)
    version = book.version
    assert book.void("it changed", **why) == [open_one]
    assert book.version > version
    assert (open_one.state, open_one.reason) == (State.VOID, "it changed")
    assert book.spend(binding("granted"), 1) is None
    assert book.tickets() == [kept]
    assert book.spend(binding("granted", **other), 1) is not None
    assert "is void, it changed" in refused(book, open_one.ident, YES, 1).sentence()


def test_void_without_a_subject_is_everything(book):
    book.answer(book.ask(question(), 0).ident, YES, 0)
    ticket = book.ask(question(binding("b")), 0)
    assert book.void("mcpguard ends") == [ticket]
    assert book.spend(binding(), 1) is None


# --- floods -------------------------------------------------------------------------------------------------


def test_fifty_questions_in_a_minute_are_throttled_and_told_when_to_come_back(book):
    """Case 45: different calls, each answered at once, so that only their number stands against them."""
    tickets, sentences = [], []
    for number in range(50):
        now = number * SECOND
        ticket = book.ask(question(binding(str(number))), now)
        if isinstance(ticket, str):
            sentences.append((now, ticket))
        else:
            tickets.append(ticket)
            book.answer(ticket.ident, NO, now)
    assert (len(tickets), len(sentences)) == (limits.TICKETS_MINUTE, 50 - limits.TICKETS_MINUTE)
    assert sentences[0] == (
        20 * SECOND,
        "this host asked 20 questions within a minute, more than a person can answer; try again in 40 s",
    )
    assert isinstance(book.ask(question(binding("x"), timeout=1), 60 * SECOND - 1), str)
    assert not isinstance(book.ask(question(binding("x"), timeout=1), 60 * SECOND), str)


def test_a_flood_of_one_host_is_not_in_the_way_of_another(book):
    while not isinstance(book.ask(question(binding(str(book.version))), 0), str):
        pass
    assert not isinstance(book.ask(question(binding(instance="other")), 0), str)


def test_identical_calls_are_one_question_however_many(book):
    assert len({book.ask(question(), 0).ident for _ in range(1000)}) == 1


def test_open_questions_of_one_host_are_bounded(book):
    for number in range(limits.TICKETS_INSTANCE):
        assert not isinstance(book.ask(question(binding(str(number))), 0), str)
    sentence = book.ask(question(binding("x")), SECOND)
    assert sentence.startswith("16 questions of this host wait for a person already")
    assert sentence.endswith("at the latest in 119 s")
    assert not isinstance(book.ask(question(binding("0")), 0), str), "who asks the same may join"


def test_open_questions_of_all_hosts_are_bounded(book):
    asked = [book.ask(question(binding(instance=str(number))), 0) for number in range(limits.TICKETS + 1)]
    assert "128 questions of all hosts" in asked[-1]
    assert not any(isinstance(ticket, str) for ticket in asked[:-1])


def test_arguments_that_are_held_are_bounded_in_bytes(book):
    big = {"text": "x" * (limits.TICKETS_INSTANCE_BYTES // 2 - 100)}
    asked = [book.ask(question(binding(str(number)), big), 0) for number in range(3)]
    assert [isinstance(ticket, str) for ticket in asked] == [False, False, True]
    for instance in "bcdefghijk":
        asked += [book.ask(question(binding(str(at), instance=instance), big), 0) for at in range(2)]
    held = sum(len(msgspec.json.encode(ticket.question.arguments)) for ticket in book.tickets())
    assert limits.TICKETS_BYTES * 0.8 < held <= limits.TICKETS_BYTES


def test_hosts_whose_questions_are_counted_are_bounded_and_forgotten(book):
    for number in range(limits.ASKING):
        ticket = book.ask(question(binding(instance=str(number))), 0)
        book.answer(ticket.ident, NO, 0)
    assert "too many hosts" in book.ask(question(binding(instance="x")), 0)
    book.expire(60 * SECOND)
    assert not isinstance(book.ask(question(binding(instance="x")), 60 * SECOND), str)


def test_yeses_that_hold_are_bounded_by_forgetting_the_oldest(book):
    session = Answer(granted=True, by="me", scope=Scope.SESSION)
    for number in range(limits.GRANTS + 1):
        ticket = book.ask(question(binding(str(number))), number * 60 * SECOND)
        book.answer(ticket.ident, session, number * 60 * SECOND)
    assert book.spend(binding("0"), NEVER - 1) is None
    assert book.spend(binding("1"), NEVER - 1) is not None


# --- the last call ------------------------------------------------------------------------------------------


def test_a_ticket_shows_the_last_call_that_went_through(book):
    assert book.ask(question(binding("a")), 0).before is None
    book.went_through(binding("b"), {"path": "/1"})
    book.went_through(binding("c", instance="other host"), {"path": "/2"})
    book.went_through(binding("d", server="mail"), {"path": "/3"})
    book.went_through(binding("e", target="read_file"), {"path": "/4"})
    assert book.ask(question(binding("f")), 0).before == {"path": "/2"}


def test_the_last_call_is_a_copy_and_too_long_a_one_hides_older_ones(book):
    arguments = {"path": "/1"}
    book.went_through(binding(), arguments)
    arguments["path"] = "/changed"
    assert book.ask(question(binding("a")), 0).before == {"path": "/1"}
    book.went_through(binding(), {"text": "x" * limits.BEFORE_BYTES})
    assert book.ask(question(binding("b")), 0).before is None


def test_tools_whose_last_call_is_remembered_are_bounded(book):
    for number in range(limits.BEFORE + 1):
        book.went_through(binding(target=str(number)), {"n": number})
    assert book.ask(question(binding(target="0")), 0).before is None
    assert book.ask(question(binding(target="1")), 0).before == {"n": 1}


# --- any order of events ------------------------------------------------------------------------------------


class Story(RuleBasedStateMachine):
    """Whatever happens in whatever order: a model that counts yeses is never contradicted."""

    tickets = Bundle("tickets")

    def __init__(self):
        super().__init__()
        self.book = Book(b"story")
        self.now = 0
        self.once = collections.Counter()
        self.lasting = collections.defaultdict(int)
        self.last_yes = {}
        self.version = 0

    bindings = st.builds(
        binding, st.sampled_from("ab"), instance=st.sampled_from("12"), policy=st.sampled_from(["p", "q"])
    )

    @rule(target=tickets, bound=bindings, timeout=st.integers(1, 400))
    def ask(self, bound, timeout):
        waiting = {ticket.question.binding: ticket for ticket in self.book.tickets()}
        ticket = self.book.ask(question(bound, timeout=float(timeout)), self.now)
        if isinstance(ticket, str):
            return multiple()
        assert ticket.state is State.OPEN
        assert ticket.expires > self.now
        if bound in waiting and waiting[bound].expires > self.now:
            assert ticket is waiting[bound]
        return ticket

    @rule(ticket=tickets, scope=st.sampled_from(Scope), seconds=st.integers(1, 1000))
    def approve(self, ticket, scope, seconds):
        bound, was = ticket.question.binding, ticket.state
        try:
            self.book.answer(ticket.ident, Answer(True, "me", scope=scope, seconds=float(seconds)), self.now)
        except ApprovalError:
            assert was is not State.OPEN or self.now >= ticket.expires
            return
        assert was is State.OPEN
        assert self.now < ticket.expires
        if scope is Scope.ONCE:
            self.once[bound] += 1
            self.last_yes[bound] = self.now
        else:
            until = self.now + seconds * SECOND if scope is Scope.FOR else NEVER
            self.lasting[bound] = max(self.lasting[bound], until)

    @rule(ticket=consumes(tickets))
    def deny(self, ticket):
        if ticket.state is State.OPEN and self.now < ticket.expires:
            self.book.answer(ticket.ident, NO, self.now)

    @rule(ticket=tickets)
    def leave(self, ticket):
        self.book.leave(ticket.ident)

    @rule(bound=bindings)
    def spend(self, bound):
        grant = self.book.spend(bound, self.now)
        if grant is None:
            return
        assert grant.binding == bound
        assert self.now < grant.expires
        if self.now < self.lasting[bound]:
            return
        self.once[bound] -= 1
        assert self.once[bound] >= 0, "more calls than yeses"
        assert self.now - self.last_yes[bound] < GRANT

    @rule(seconds=st.integers(1, 200))
    def wait(self, seconds):
        self.now += seconds * SECOND

    @precondition(lambda self: self.book.tickets())
    @rule()
    def expire(self):
        due = {ticket.ident for ticket in self.book.tickets() if self.now >= ticket.expires}
        assert due <= {ticket.ident for ticket in self.book.expire(self.now)}
        assert all(self.now < ticket.expires for ticket in self.book.tickets())

    @rule(instance=st.sampled_from("12"))
    def ended(self, instance):
        self._forget(lambda bound: bound.instance == instance)
        closed = self.book.void("it ended", instance=instance)
        assert all(ticket.question.binding.instance == instance for ticket in closed)

    @rule(policy=st.sampled_from(["p", "q"]))
    def applied(self, policy):
        self._forget(lambda bound: bound.policy != policy)
        self.book.void("another policy", policy=policy)
        assert {ticket.question.binding.policy for ticket in self.book.tickets()} <= {policy}

    def _forget(self, concerned):
        for bound in [*self.once, *self.lasting]:
            if concerned(bound):
                self.once[bound] = 0
                self.lasting[bound] = 0

    @invariant()
    def bounded_and_one_ticket_each(self):
        tickets = self.book.tickets()
        assert len({ticket.question.binding for ticket in tickets}) == len(tickets) <= limits.TICKETS
        assert all(ticket.state is State.OPEN for ticket in tickets)
        assert self.book.version >= self.version
        self.version = self.book.version


TestStory = Story.TestCase
TestStory.settings = settings(max_examples=150, stateful_step_count=40)
