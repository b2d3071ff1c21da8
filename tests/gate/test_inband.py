"""Questions that the host puts to its user: who is asked, what is shown, and what does not count as an answer."""

import pytest

from mcpguard.approvals.ticket import Answer, State
from mcpguard.gate.inband import KEY
from mcpguard.gate.shared import Manners
from mcpguard.model import Side
from tests.gate.playbook import (
    Playbook,
    Text,
    call,
    denial,
    error,
    modern_call,
    notification,
    request,
    result,
    text,
)
from tests.gate.test_asking import ASKS, NO, SAMPLING, WRITE, YES, reply, sealed

FORMS = {"elicitation": {"form": {}}}
ALLOWED = {"action": "accept", "content": {"decision": "allow once"}}


def playbook(policy=ASKS, *, timeout=120.0, **shared):
    return Playbook(policy, manners=Manners(timeout=timeout, in_band=True), **shared)


def legacy(capabilities=FORMS, **more):
    return playbook(**more).opened(capabilities=capabilities)


def questions(out):
    return [said for said in out["to_host"] if said.get("method") == "elicitation/create"]


def withdrawn(number):
    return notification("notifications/cancelled", {"requestId": number, "reason": Text("settled")})


# --- who is asked, and what is shown ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declared", "asked"),
    [
        ({"elicitation": {}}, True), ({"elicitation": {"form": {}}}, True), ({"elicitation": {"form": {}, "url": {}}}, True),
        ({"elicitation": {"other": {}}}, True), ({"elicitation": {"url": {}}}, False), ({}, False), ({"elicitation": None}, False),
        ({"elicitation": True}, False), ({"elicitation": ["form"]}, False), ({"elicitation": "form"}, False), ({"Elicitation": {}}, False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_only_a_host_that_declared_forms_is_asked(declared, asked, era):
    if era == "legacy":
        play = legacy(declared)
        assert bool(questions(play.feed_call_of("write_file", WRITE))) is asked
    else:
        play = playbook()
        play.feed_host(modern_call(7, "write_file", WRITE, declared))
        assert bool(play.story[-1][1]["to_host"]) is asked
    assert len(play.tickets) == 1, "a person can answer all the same"


def test_the_form_names_the_call_and_a_no_is_what_it_begins_with():
    play = legacy()
    (asked,) = questions(
        play.feed_call_of("write_file", {"path": "/srv/\u202egpj.exe", "text": "x" * 100_000})
    )
    message, schema = asked["params"]["message"], asked["params"]["requestedSchema"]
    (ticket,) = play.tickets
    for part in (
        ticket.ident,
        "server files: write_file",
        "writing at policy.toml:",
        "\\u202egpj.exe",
        "not all of it is shown",
    ):
        assert part in message
    assert "\u202e" not in message
    assert len(message) < 4000
    assert schema["required"] == ["decision"]
    decision = schema["properties"]["decision"]
    assert (decision["enum"], decision["default"]) == (["deny", "allow once"], "deny")


def test_both_eras_ask_the_same():
    play, other = legacy(), playbook()
    (asked,) = questions(play.feed_call_of("write_file", WRITE))
    other.feed_host(modern_call(7, "write_file", WRITE, FORMS))
    (answer,) = other.story[-1][1]["to_host"]
    shown = answer["result"]["inputRequests"][KEY]["params"]
    assert shown["mode"] == "form"
    assert shown["requestedSchema"] == asked["params"]["requestedSchema"]
    for played, said in ((play, asked["params"]), (other, shown)):
        assert played.tickets[0].ident in said["message"]


def test_identical_calls_are_one_question_and_different_ones_are_two():
    play = legacy()
    assert len(questions(play.feed_call_of("write_file", WRITE))) == 1
    assert len(questions(play.feed_call_of("write_file", dict(reversed(WRITE.items()))))) == 0
    assert len(questions(play.feed_call_of("write_file", {**WRITE, "text": "y"}))) == 1


def test_a_prompt_is_asked_about_as_a_call_is():
    play = legacy()
    play.feed_host(request(7, "prompts/get", {"name": "secret-plan", "arguments": {}}))
    (asked,) = questions(play.story[-1][1])
    assert "secret-plan" in asked["params"]["message"]


def test_what_a_server_asks_for_is_never_put_to_the_user_of_the_host_in_our_name():
    play = legacy({**FORMS, "sampling": {}})
    assert not play.feed_server(request(3, "sampling/createMessage", SAMPLING))["to_host"]
    assert len(play.tickets) == 1


# --- legacy: answers and ends -----------------------------------------------------------------------------------


def asked(play, ident=7):
    play.feed_host(call(ident, "write_file", WRITE))
    (question,) = questions(play.story[-1][1])
    return question["id"]


@pytest.mark.parametrize(
    "said",
    [
        lambda number: error(number, -32601, "Method not found"), lambda number: result(number, {"decision": "allow once"}),
        lambda number: result(number, {**ALLOWED, "content": [{"decision": "allow once"}]}), lambda number: result(number, {**ALLOWED, "content": {"decision": ["allow once"]}}),
        lambda number: result(number, {**ALLOWED, "action": ["accept"]}), lambda number: result(number, {**ALLOWED, "content": {"decision": "allow once "}}),
    ],
)  # fmt: skip
def test_anything_else_that_the_host_says_is_a_no(said):
    play = legacy()
    number, ticket = asked(play), play.tickets[0].ident
    play.feed_host(said(number))
    assert play.book.find(ticket).state is State.DENIED
    play.settles(ticket, to_host=[denial(7, "it was denied")])


def test_an_answer_says_by_which_channel_it_came_and_no_reason_but_a_plain_one():
    for answer, state, reason in (
        (ALLOWED, State.GRANTED, ""),
        ({"action": "decline"}, State.DENIED, "the user declined"),
    ):
        play = legacy()
        number, ticket = asked(play), play.tickets[0].ident
        before = play.announced
        play.feed_host(result(number, answer))
        found = play.book.find(ticket)
        assert (found.state, found.by, found.reason) == (state, "elicitation", reason)
        assert play.announced == before + 1, "others are told that the book has changed"


@pytest.mark.parametrize("ident", [2, 3, "2", None])
def test_an_answer_under_another_id_is_none(ident):
    play = legacy()
    number, ticket = asked(play), play.tickets[0].ident
    assert number not in (2, 3, "2")
    play.feed_host(result(ident, ALLOWED))
    assert play.book.find(ticket).state is State.OPEN


def test_silence_is_no_answer_and_the_question_is_taken_back_when_its_time_is_over():
    play = legacy(timeout=30.0)
    number, ticket = asked(play), play.tickets[0].ident
    play.later(31).book.expire(play.now)
    play.settles(ticket, to_host=[withdrawn(number), denial(7, "it was expired")])
    play.host(result(number, ALLOWED))
    assert play.book.find(ticket).state is State.EXPIRED


def test_a_late_yes_of_the_host_does_not_undo_the_no_of_a_person():
    play = legacy()
    number, ticket = asked(play), play.tickets[0].ident
    play.book.answer(ticket, NO, play.now)
    play.host(result(number, ALLOWED))
    assert play.book.find(ticket).state is State.DENIED
    play.settles(ticket, to_host=[denial(7, "it was denied")])


def test_a_host_that_gives_up_its_call_need_not_ask_any_more():
    play = legacy()
    number = asked(play)
    play.host(notification("notifications/cancelled", {"requestId": 7}), to_host=[withdrawn(number)])
    assert play.tickets[0].waiting == 0
    play.host(result(number, ALLOWED))
    assert len(play.tickets) == 1, "an answer to a question that was taken back is none"


def test_a_question_goes_on_while_another_identical_call_waits_for_it():
    play = legacy()
    number, ticket = asked(play), play.tickets[0].ident
    play.feed_host(call(8, "write_file", WRITE))
    play.host(notification("notifications/cancelled", {"requestId": 7}))
    assert play.tickets[0].waiting == 1
    play.host(result(number, ALLOWED))
    play.settles(ticket, to_server=[call(2, "write_file", WRITE)])
    play.server(result(2, text("done")), to_host=[result(8, text("done"))])


def test_a_server_that_ends_takes_its_questions_with_it():
    play = legacy()
    number = asked(play)
    play.feed_host(call(8, "write_file", WRITE))
    play.ended(Side.SERVER, to_host=[withdrawn(number), error(7, 50202), error(8, 50202)])


def test_the_next_identical_call_is_a_question_of_its_own():
    play = legacy()
    number, ticket = asked(play), play.tickets[0].ident
    play.feed_host(result(number, {"action": "decline"}))
    play.settles(ticket, to_host=[denial(7, "it was denied")])
    assert asked(play, 8) != number
    assert play.tickets[0].ident != ticket


# --- modern: states and retries -----------------------------------------------------------------------------------


def retry(ident, **more):
    return modern_call(ident, "write_file", WRITE, FORMS, **more)


def asked_modern(**more):
    play = playbook(**more)
    play.feed_host(retry(7))
    return play, sealed(play, 7), play.tickets[0].ident


def test_nobody_waits_on_the_line_for_a_question_that_was_handed_to_the_host():
    play, _, ticket = asked_modern()
    assert play.tickets[0].waiting == 0
    play.answers(YES)
    play.host(retry(8), to_server=[modern_call(1, "write_file", WRITE, {})])
    assert play.book.find(ticket).by == "uid 1000"


@pytest.mark.parametrize("seconds", [30.0, 31.0, 3600.0])
def test_a_state_is_nothing_once_its_question_has_expired(seconds):
    play, state, _ = asked_modern(timeout=30.0)
    play.later(seconds)
    play.host(retry(8, **reply(state)), to_host=[error(8, -32602, Text("has expired"))])


def test_a_state_without_an_answer_leaves_the_question_open_and_asks_again():
    for responses in (
        {},
        {"inputResponses": {}},
        {"inputResponses": {"other": ALLOWED}},
        {"inputResponses": [ALLOWED]},
        {"inputResponses": None},
    ):
        play, state, ticket = asked_modern()
        out = play.feed_said(retry(8, requestState=state, **responses))
        assert not out["to_server"]
        assert sealed(play, 8)
        assert [each.ident for each in play.tickets] == [ticket]


@pytest.mark.parametrize(
    ("settle", "says"),
    [
        (lambda play, ticket: play.book.answer(ticket, Answer(granted=False, by="me"), play.now), "the question was denied"),
        (lambda play, ticket: play.book.answer(ticket, NO, play.now), "not today"),
        (lambda play, ticket: play.book.void("the server was pinned anew"), "the server was pinned anew"),
    ],
)  # fmt: skip
def test_a_retry_of_what_was_refused_meanwhile_says_why_whatever_it_brings(settle, says):
    play, state, ticket = asked_modern()
    settle(play, ticket)
    play.host(retry(8, **reply(state)), to_host=[error(8, -32602, Text(says))])
    assert not play.tickets


def test_a_no_in_a_retry_is_a_denial_and_a_yes_after_it_is_too_late():
    play, state, ticket = asked_modern()
    play.host(retry(8, **reply(state, "deny")), to_host=[error(8, -32602, Text("the user declined"))])
    play.host(retry(9, **reply(state)), to_host=[error(9, -32602, Text("the user declined"))])
    assert play.book.find(ticket).state is State.DENIED


def test_a_retry_of_what_a_person_approved_meanwhile_passes_once_and_nothing_of_ours_reaches_the_server():
    play, state, _ = asked_modern()
    play.answers(YES)
    play.host(retry(8, **reply(state, "deny")), to_server=[modern_call(1, "write_file", WRITE, {})])


def test_the_state_of_a_server_is_the_servers_and_its_answers_too():
    policy = ASKS.replace('methods = ["sampling/createMessage"]', "")
    policy += '\n[[rule]]\nid = "sampling"\nsampling = true\neffect = "allow"\n'
    play, able = playbook(policy), {"sampling": {}}
    play.feed_host(modern_call(7, "read_file", {}, able))
    wanted = {"k": {"method": "sampling/createMessage", "params": SAMPLING}}
    back = {"resultType": "input_required", "inputRequests": wanted, "requestState": "theirs"}
    play.server(result(1, back), to_host=[result(7, back)])
    late = {"requestState": "theirs", "inputResponses": {"k": {"role": "assistant"}}}
    play.host(
        modern_call(8, "read_file", {}, able, **late),
        to_server=[modern_call(2, "read_file", {}, able, **late)],
    )


def test_a_state_that_only_looks_like_ours_is_nobodys():
    play = playbook()
    out = play.feed_said(modern_call(8, "read_file", {}, {}, requestState="mcpguard-approval.1.AAAA"))
    assert not out["to_server"]
    assert out["to_host"][0]["error"]["code"] == -32602
