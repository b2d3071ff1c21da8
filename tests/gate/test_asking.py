"""Requests that a person decides on: nothing passes before the answer, and then exactly once."""

import pytest

from mcpguard.approvals.ticket import Answer, Scope
from mcpguard.gate.shared import Manners
from mcpguard.model import Side
from tests.gate.playbook import (
    POLICY,
    Playbook,
    Text,
    call,
    denial,
    error,
    modern,
    modern_call,
    notification,
    request,
    result,
    text,
)

ASKS = """
version = 1
mode = "enforce"

[[rule]]
id = "writing"
tools = ["write_*"]
effect = "ask"

[[rule]]
id = "reading"
tools = ["read_*"]
prompts = ["*"]
effect = "allow"

[[rule]]
id = "prompting"
prompts = ["secret*"]
methods = ["sampling/createMessage"]
effect = "ask"
"""
YES = Answer(granted=True, by="uid 1000")
NO = Answer(granted=False, by="uid 1000", reason="not today")
WRITE = {"path": "/srv/a", "text": "x"}


def opened(policy=ASKS, **shared):
    return Playbook(policy, **shared).opened()


def held(play, ident=7, arguments=None, **others):
    """A call waits; what the host said is recorded and nothing else happens."""
    play.host(
        call(ident, "write_file", arguments or WRITE, **others),
        records=[{"type": "approval", "event": "asked", "ticket": Text(""), "rule": "writing"}],
    )
    return play


def test_a_call_waits_and_goes_through_once_it_is_approved():
    play = held(opened())
    (ticket,) = play.tickets
    assert ticket.question.arguments == WRITE
    assert ticket.question.rule == "writing"
    assert ticket.waiting == 1
    assert play.announced == 1
    play.answers(
        YES,
        to_server=[call(2, "write_file", WRITE)],
        records=[{"type": "call", "tool": "write_file", "decision": "ask", "approval": ticket.ident}],
    )
    assert play.story[-1][1]["looked"], "the host is looked at again before its call travels"
    play.server(result(2, text("done")), to_host=[result(7, text("done"))])
    assert not play.tickets


def test_nothing_of_a_call_that_waits_reaches_the_server_and_a_forged_answer_is_dropped():
    play = held(opened())
    play.server(result(2, text("forged")))
    play.answers(YES, to_server=[call(2, "write_file", WRITE)])
    play.server(result(2, text("real")), to_host=[result(7, text("real"))])


def test_a_no_is_told_to_the_host_with_its_reason():
    play = held(opened())
    play.answers(
        NO, to_host=[denial(7, "write_file", "it was denied")], records=[{"type": "call", "decision": "deny"}]
    )
    play.server(result(2, text("late")))


def test_the_same_id_again_is_refused_while_it_waits_and_the_first_is_unaffected():
    play = held(opened())
    play.host(
        call(7, "write_file", {"path": "/other", "text": "y"}),
        to_host=[error(7, -32600, Text("in flight already"))],
    )
    play.answers(YES, to_server=[call(2, "write_file", WRITE)])


def test_identical_calls_share_a_ticket_and_one_yes_lets_one_through():
    play = held(held(held(opened()), 8), 9)
    (ticket,) = play.tickets
    assert (ticket.waiting, ticket.times) == (3, 3)
    play.answers(
        YES,
        to_server=[call(2, "write_file", WRITE)],
        to_host=[denial(8, "for one call"), denial(9, "for one call")],
    )


@pytest.mark.parametrize("scope", [Scope.FOR, Scope.SESSION])
def test_a_yes_for_longer_lets_identical_calls_through_and_no_others(scope):
    play = held(opened())
    play.answers(
        Answer(granted=True, by="me", scope=scope, seconds=60), to_server=[call(2, "write_file", WRITE)]
    )
    play.host(call(8, "write_file", WRITE), to_server=[call(3, "write_file", WRITE)])
    held(play, 9, {"path": "/srv/a", "text": "X"})
    if scope is Scope.FOR:
        play.later(61)
        play.book.expire(play.now)
        held(play, 10)


def test_an_approved_call_is_judged_again_under_the_policy_of_that_moment():
    play = held(opened())
    play.policy(ASKS.replace('effect = "ask"', 'effect = "deny"'))
    play.answers(YES, to_host=[denial(7, "writing")])


def test_a_policy_that_was_changed_makes_the_yes_worth_nothing():
    play = held(opened())
    play.policy(ASKS + "\n# the same, and another digest\n")
    play.answers(YES, to_host=[denial(7, "has changed since")])


def test_a_policy_that_allows_it_now_lets_it_through_whatever_was_answered():
    play = held(opened())
    play.policy(POLICY + '\n[[rule]]\nid = "w"\ntools = ["write_*"]\neffect = "allow"\n')
    play.answers(NO, to_server=[call(2, "write_file", WRITE)])


def test_a_call_that_its_host_cancels_is_never_sent_and_a_late_yes_lets_the_identical_retry_through_once():
    play = held(opened())
    play.host(
        notification("notifications/cancelled", {"requestId": 7}),
        records=[{"type": "approval", "event": "left"}],
    )
    (ticket,) = play.tickets
    assert ticket.waiting == 0
    play.answers(YES)
    play.host(
        call(8, "write_file", WRITE),
        to_server=[call(2, "write_file", WRITE)],
        records=[{"type": "call", "approval": ticket.ident}],
    )
    held(play, 9)


def test_a_retry_that_differs_in_anything_asks_again():
    play = held(opened())
    play.host(notification("notifications/cancelled", {"requestId": 7}))
    play.answers(YES)
    held(play, 8, {"path": "/srv/a", "text": "x", "mode": 0o777})
    held(play, 9, {"path": "/srv/b", "text": "x"})


def test_arguments_in_another_order_are_the_same_arguments():
    play = held(opened())
    play.host(notification("notifications/cancelled", {"requestId": 7}))
    play.answers(YES)
    turned = dict(reversed(WRITE.items()))
    play.host(call(8, "write_file", turned), to_server=[call(2, "write_file", turned)])


def test_timers_of_the_host_are_kept_alive_where_it_gave_a_token():
    play = held(opened(), 7, _meta={"progressToken": "tok"})
    held(play, 8, {"path": "/srv/b", "text": "x"})
    ident = play.tickets[0].ident
    progress = []
    for _ in range(3):
        out = play.feed_waiting()
        (step,) = out["to_host"]
        assert step["params"]["progressToken"] == "tok"
        assert f"mcpguard approve {ident}" in step["params"]["message"]
        progress.append(step["params"]["progress"])
    assert progress == sorted(set(progress))
    assert progress[-1] < 1
    play.answers(YES, ident, to_server=[call(2, "write_file", WRITE, _meta={"progressToken": 2})])
    play.server(
        notification("notifications/progress", {"progressToken": 2, "progress": 1}),
        to_host=[notification("notifications/progress", {"progressToken": "tok", "progress": 1})],
    )


def test_what_waits_is_answered_when_the_server_ends_and_the_question_stays_open():
    play = held(opened())
    play.ended(Side.SERVER, to_host=[error(7, 50202)])
    assert play.tickets[0].waiting == 0
    play.answers(YES)


def test_what_waits_is_forgotten_with_its_host():
    play = held(opened())
    play.ended(Side.HOST)
    play.answers(YES)


def test_an_approved_call_whose_record_cannot_be_written_does_not_travel():
    play = held(opened())
    play.disk(full=True)
    play.answers(YES, to_host=[denial(7, "no space left")])


def test_too_many_questions_are_a_no_that_says_so():
    play = opened()
    refused = 0
    for number in range(50):
        out = play.feed_call_of("write_file", {"path": f"/srv/{number}", "text": "x"})
        refused += bool(out["to_host"])
        assert not out["to_server"]
    assert refused >= 30
    assert len(play.tickets) + refused == 50


def test_prompts_wait_as_calls_do():
    play = opened()
    asked = {"name": "secret-plan", "arguments": {}}
    play.host(request(7, "prompts/get", asked))
    play.answers(YES, to_server=[request(2, "prompts/get", asked)])
    play.server(result(2, {"messages": []}), to_host=[result(7, {"messages": []})])
    play.host(request(8, "prompts/get", asked))
    play.answers(NO, to_host=[error(8, 40301, Text("it was denied"), data={"rule": "prompting"})])


SAMPLING = {"messages": [], "maxTokens": 5}


def test_requests_of_a_server_wait_as_well():
    play = Playbook(ASKS).opened(capabilities={"sampling": {}})
    play.server(request(3, "sampling/createMessage", SAMPLING))
    play.host(result(1, {"role": "assistant"}))
    play.answers(YES, to_host=[request(1, "sampling/createMessage", SAMPLING)])
    play.host(result(1, {"role": "assistant"}), to_server=[result(3, {"role": "assistant"})])
    play.server(request(4, "sampling/createMessage", SAMPLING))
    play.answers(NO, to_server=[error(4, -1, Text("sampling refused"))])
    play.server(request(5, "sampling/createMessage", {**SAMPLING, "maxTokens": 6}))
    play.server(notification("notifications/cancelled", {"requestId": 5}))
    play.answers(YES)


def asked_back(ident, **others):
    requests = {"k": {"method": "sampling/createMessage", "params": SAMPLING}}
    return result(ident, {"resultType": "input_required", "inputRequests": requests, **others})


def test_an_answer_that_holds_a_request_waits_with_it():
    play = Playbook(ASKS)
    play.feed_host(modern_call(7, "read_file", {}, {"sampling": {}}))
    play.server(asked_back(1, requestState="s"))
    play.answers(YES, to_host=[asked_back(7, requestState="s")])
    play.feed_host(modern_call(8, "read_file", {"a": 1}, {"sampling": {}}))
    play.server(asked_back(2))
    play.answers(NO, to_host=[error(8, 50201, Text("sampling/createMessage"))])
    play.feed_host(modern_call(9, "read_file", {"a": 2}, {"sampling": {}}))
    play.server(asked_back(3))
    play.ended(Side.SERVER, to_host=[error(9, 50202)])


def test_a_call_that_was_approved_and_asks_back_is_not_asked_about_twice():
    policy = ASKS.replace('methods = ["sampling/createMessage"]', "")
    policy += '\n[[rule]]\nid = "sampling"\nsampling = true\neffect = "allow"\n'
    play = Playbook(policy)
    capabilities = {"sampling": {}}
    play.feed_host(modern_call(7, "write_file", WRITE, capabilities))
    play.answers(YES, to_server=[modern_call(1, "write_file", WRITE, capabilities)])
    play.server(asked_back(1, requestState="s1"), to_host=[asked_back(7, requestState="s1")])
    answers = {"inputResponses": {"k": {"role": "assistant"}}}
    retry = {"requestState": "s1", **answers}
    play.host(
        modern_call(8, "write_file", WRITE, capabilities, **retry),
        to_server=[modern_call(2, "write_file", WRITE, capabilities, **retry)],
    )
    play.server(
        result(2, {**text("done"), "resultType": "complete"}),
        to_host=[result(8, {**text("done"), "resultType": "complete"})],
    )
    play.host(modern_call(9, "write_file", WRITE, capabilities, **retry))
    assert len(play.tickets) == 1, "the same state once more is another call, and is asked about"


def test_a_list_shows_what_could_be_approved():
    play = opened()
    tools = [{"name": "write_file", "inputSchema": {}}, {"name": "drop", "inputSchema": {}}]
    out = play.feed_list("tools/list", "tools", tools)
    assert [tool["name"] for tool in out["to_host"][0]["result"]["tools"]] == ["write_file"]


def test_while_policy_only_watches_nobody_is_asked():
    play = opened(ASKS.replace("enforce", "observe"))
    play.host(call(7, "write_file", WRITE), to_server=[call(2, "write_file", WRITE)])
    assert not play.tickets


# --- questions that the host puts to its user ---------------------------------------------------------------


IN_BAND = {"manners": Manners(in_band=True)}
FORMS = {"elicitation": {}}


def elicited(play):
    (question,) = [
        said for said in play.story[-1][1]["to_host"] if said.get("method") == "elicitation/create"
    ]
    assert "write_file" in question["params"]["message"]
    return question["id"]


def test_a_host_that_may_asks_its_own_user_in_the_legacy_era():
    play = Playbook(ASKS, **IN_BAND).opened(capabilities=FORMS)
    play.feed_host(call(7, "write_file", WRITE))
    number, ticket = elicited(play), play.tickets[0].ident
    play.host(result(number, {"action": "accept", "content": {"decision": "allow once"}}))
    play.settles(ticket, to_server=[call(2, "write_file", WRITE)])


@pytest.mark.parametrize(
    "answer",
    [
        {"action": "decline"},
        {"action": "cancel"},
        {"action": "accept"},
        {"action": "accept", "content": {}},
        {"action": "accept", "content": {"decision": "deny"}},
        {"action": "accept", "content": {"decision": "Allow once"}},
        {"action": "accept", "content": {"decision": True}},
        {"action": "Accept", "content": {"decision": "allow once"}},
        {"content": {"decision": "allow once"}},
        {},
    ],
)
def test_anything_but_the_word_is_a_no(answer):
    play = Playbook(ASKS, **IN_BAND).opened(capabilities=FORMS)
    play.feed_host(call(7, "write_file", WRITE))
    number, ticket = elicited(play), play.tickets[0].ident
    play.host(result(number, answer))
    play.settles(ticket, to_host=[denial(7, "it was denied")])


def test_the_server_sees_nothing_of_our_question_and_its_answer_counts_once():
    play = Playbook(ASKS, **IN_BAND).opened(capabilities=FORMS)
    play.feed_host(call(7, "write_file", WRITE))
    number, ticket = elicited(play), play.tickets[0].ident
    yes = {"action": "accept", "content": {"decision": "allow once"}}
    play.host(result(number, {"action": "decline"}))
    play.host(result(number, yes))
    play.settles(ticket, to_host=[denial(7, "it was denied")])


def test_a_question_settled_elsewhere_is_taken_back_from_the_host():
    play = Playbook(ASKS, **IN_BAND).opened(capabilities=FORMS)
    play.feed_host(call(7, "write_file", WRITE))
    number = elicited(play)
    play.answers(
        YES,
        to_server=[call(2, "write_file", WRITE)],
        to_host=[notification("notifications/cancelled", {"requestId": number, "reason": Text("settled")})],
    )


@pytest.mark.parametrize(
    ("manners", "capabilities", "policy"),
    [
        (Manners(), FORMS, ASKS),
        (Manners(in_band=True), {}, ASKS),
        (Manners(in_band=True), {"elicitation": {"url": {}}}, ASKS),
        (
            Manners(in_band=True),
            FORMS,
            ASKS.replace('effect = "ask"', 'effect = "ask"\nconfirm = "presence"'),
        ),
    ],
)
def test_a_host_is_not_asked_unless_policy_permits_it_and_it_can(manners, capabilities, policy):
    play = Playbook(policy, manners=manners).opened(capabilities=capabilities)
    out = play.feed_call_of("write_file", WRITE)
    assert not out["to_host"]
    assert len(play.tickets) == 1


def sealed(play, ident):
    (answer,) = play.story[-1][1]["to_host"]
    assert answer["id"] == ident
    assert answer["result"]["resultType"] == "input_required"
    assert answer["result"]["inputRequests"]["dev.mcpguard.approval"]["method"] == "elicitation/create"
    return answer["result"]["requestState"]


def reply(state, decision="allow once"):
    answer = {"action": "accept", "content": {"decision": decision}}
    return {"inputResponses": {"dev.mcpguard.approval": answer}, "requestState": state}


def test_a_host_that_may_asks_its_own_user_in_the_modern_era():
    play = Playbook(ASKS, **IN_BAND)
    play.feed_host(modern_call(7, "write_file", WRITE, FORMS))
    state = sealed(play, 7)
    play.host(
        modern_call(8, "write_file", WRITE, FORMS, **reply(state)),
        to_server=[modern_call(1, "write_file", WRITE, {})],
    )
    assert not play.tickets


@pytest.mark.parametrize(
    "twist",
    [
        lambda state: modern_call(8, "write_file", {**WRITE, "path": "/etc"}, FORMS, **reply(state)),
        lambda state: modern_call(8, "write_other", WRITE, FORMS, **reply(state)),
        lambda state: modern_call(8, "write_file", WRITE, FORMS, **reply(state + "x")),
        lambda state: modern_call(8, "write_file", WRITE, FORMS, **reply(state, "deny")),
        lambda state: modern_call(8, "write_file", WRITE, FORMS, **reply(state.upper())),
    ],
)
def test_a_retry_that_is_not_the_call_that_was_asked_about_is_refused(twist):
    play = Playbook(ASKS, **IN_BAND)
    play.feed_host(modern_call(7, "write_file", WRITE, FORMS))
    out = play.feed_said(twist(sealed(play, 7)))
    assert not out["to_server"]
    assert out["to_host"][0]["error"]["code"] == -32602


def test_the_state_of_one_approval_is_good_for_one_call():
    play = Playbook(ASKS, **IN_BAND)
    play.feed_host(modern_call(7, "write_file", WRITE, FORMS))
    state = sealed(play, 7)
    play.feed_host(modern_call(8, "write_file", WRITE, FORMS, **reply(state)))
    out = play.feed_said(modern_call(9, "write_file", WRITE, FORMS, **reply(state)))
    assert not out["to_server"]


def test_another_connection_cannot_use_the_state():
    play, other = Playbook(ASKS, **IN_BAND), Playbook(ASKS, **IN_BAND, instance="4712-3")
    play.feed_host(modern_call(7, "write_file", WRITE, FORMS))
    out = other.feed_said(modern_call(8, "write_file", WRITE, FORMS, **reply(sealed(play, 7))))
    assert not out["to_server"]


# --- labels -------------------------------------------------------------------------------------------------

FLOWS = """
version = 1
mode = "enforce"
[[label]]
server = "*"
tools = ["read_web"]
reads = ["untrusted"]
[[rule]]
id = "all"
tools = ["*"]
effect = "allow"
[[rule]]
id = "no-posting"
tools = ["post"]
effect = "deny"
when = { after = ["untrusted"] }
"""


def test_what_an_answer_brings_is_remembered_over_all_connections_of_a_host():
    one = opened(FLOWS)
    other = opened(FLOWS, circumstances=one.shared.circumstances)
    stranger = opened(FLOWS)
    other.host(call(1, "post"), to_server=[call(2, "post")])
    one.host(call(1, "read_web"), to_server=[call(2, "read_web")])
    other.host(call(2, "post"), to_server=[call(3, "post")])
    one.server(
        result(2, text("page")),
        to_host=[result(1, text("page"))],
        records=[{"type": "flow", "labels": ["untrusted"]}, {"type": "outcome"}],
    )
    assert one.story[-1][1]["remembered"]
    other.host(call(3, "post"), to_host=[denial(3, "no-posting")])
    stranger.host(call(1, "post"), to_server=[call(2, "post")])


def test_progress_of_a_tool_brings_its_labels_too():
    play = opened(FLOWS)
    play.feed_host(call(1, "read_web", _meta={"progressToken": 5}))
    play.feed_server(
        notification("notifications/progress", {"progressToken": 2, "progress": 1, "message": "page"})
    )
    play.host(call(3, "post"), to_host=[denial(3, "no-posting")])


def test_an_error_brings_the_labels_of_its_tool():
    play = opened(FLOWS)
    play.feed_host(call(1, "read_web"))
    play.feed_server(error(2, -32000, "page"))
    play.host(call(3, "post"), to_host=[denial(3, "no-posting")])


def test_a_rate_is_taken_when_a_call_travels_and_concurrency_is_given_back():
    policy = """
version = 1
mode = "enforce"
[[rule]]
id = "slow"
tools = ["*"]
effect = "allow"
rate = "3/min"
concurrency = 1
"""
    play = opened(policy)
    play.host(call(1, "a"), to_server=[call(2, "a")])
    play.host(call(2, "a"), to_host=[denial(2, "slow")])
    play.server(result(2, text("x")), to_host=[result(1, text("x"))])
    play.host(call(3, "a"), to_server=[call(3, "a")])
    play.host(
        notification("notifications/cancelled", {"requestId": 3}),
        to_server=[notification("notifications/cancelled", {"requestId": 3})],
    )
    play.host(call(4, "a"), to_server=[call(4, "a")])
    play.server(result(4, text("x")), to_host=[result(4, text("x"))])
    play.host(call(5, "a"), to_host=[denial(5, "slow")])


def test_a_result_that_is_longer_than_its_rule_permits_is_withheld():
    play = opened(
        'version = 1\nmode = "enforce"\n[[rule]]\nid = "short"\ntools = ["*"]\neffect = "allow"\nresult_bytes = 100\n'
    )
    play.feed_host(call(1, "a"))
    play.server(result(2, text("x" * 100)), to_host=[error(1, 50201, Text("rule short permits 100"))])
    play.feed_host(call(2, "a"))
    play.server(result(3, text("x")), to_host=[result(2, text("x"))])


def test_arguments_that_no_rule_allows_are_told_from_an_unknown_tool():
    policy = """
version = 1
mode = "enforce"
[[rule]]
id = "mine"
tools = ["read"]
effect = "allow"
args.path = { under = ["/srv"] }
"""
    play = opened(policy)
    play.host(
        call(1, "read", {"path": "/etc/passwd"}),
        to_host=[denial(1, "rule mine would allow it only if", "policy explain files read")],
    )
    play.host(call(2, "other", {}), to_host=[error(2, -32602, "Unknown tool: other")])


def test_a_resource_is_judged_and_forwarded_in_its_normal_form():
    policy = """
version = 1
mode = "enforce"
[[rule]]
id = "docs"
resources = ["file:///srv/**"]
effect = "allow"
"""
    play = opened(policy)
    play.host(
        request(1, "resources/read", {"uri": "FILE:///srv/./a/../b"}),
        to_server=[request(2, "resources/read", {"uri": "file:///srv/b"})],
    )
    play.host(
        request(2, "resources/read", {"uri": "file:///srv/../etc/passwd"}),
        to_host=[error(2, 40301, data={"rule": "default"})],
    )
    play.host(request(3, "resources/read", {"uri": "file:///srv/%2e%2e%2fetc"}), to_host=[error(3, -32602)])


def test_modern_subscriptions_follow_only_the_resources_that_policy_grants():
    policy = """
version = 1
mode = "enforce"
[[rule]]
id = "docs"
resources = ["file:///srv/**"]
methods = ["subscriptions/listen"]
effect = "allow"
"""
    play = Playbook(policy)
    uris = ["file:///srv/a", "file:///etc/passwd"]
    wanted = {"notifications": {"resourceSubscriptions": uris}}
    left = {"notifications": {"resourceSubscriptions": uris[:1]}}
    play.host(modern(1, "subscriptions/listen", wanted), to_server=[modern(1, "subscriptions/listen", left)])
