"""`subscriptions/listen`: the filter reduced to what may be had, and notifications under the host's own id."""

import pytest

from tests.gate.playbook import (
    POLICY,
    SUBSCRIPTION,
    TASKS,
    Playbook,
    Text,
    error,
    modern,
    modern_call,
    notification,
    result,
)

SILENT = 'version = 1\nmode = "enforce"\n'
EVERYTHING = {
    "toolsListChanged": True,
    "promptsListChanged": True,
    "resourcesListChanged": True,
    "resourceSubscriptions": ["a:b"],
}


def listen(ident, wanted):
    return modern(ident, "subscriptions/listen", {"notifications": wanted})


def tagged(method, ident, **params):
    return notification(method, {**params, "_meta": {SUBSCRIPTION: ident}})


def listening(ident="L", wanted=None, policy=POLICY):
    wanted = EVERYTHING if wanted is None else wanted
    return Playbook(policy).host(listen(ident, wanted), to_server=[listen(1, wanted)])


@pytest.mark.parametrize("ident", [0, "", 1, "1", "listen:0"])
def test_notifications_come_back_under_the_hosts_own_id(ident):
    play = listening(ident)
    ack = {"notifications": {"toolsListChanged": True}}
    play.server(
        tagged("notifications/subscriptions/acknowledged", 1, **ack),
        tagged("notifications/tools/list_changed", 1),
        tagged("notifications/resources/updated", 1, uri="a:b/c"),
        to_host=[
            tagged("notifications/subscriptions/acknowledged", ident, **ack),
            tagged("notifications/tools/list_changed", ident),
            tagged("notifications/resources/updated", ident, uri="a:b/c"),
        ],
    )
    play.server(
        result(1, {"resultType": "complete", "_meta": {SUBSCRIPTION: 1}}),
        to_host=[result(ident, {"resultType": "complete", "_meta": {SUBSCRIPTION: ident}})],
    )
    play.server(tagged("notifications/tools/list_changed", 1), records=[{"type": "drop"}])


@pytest.mark.parametrize("tag", ["1", 1.0, 2, 0, "L", None, True, [1]])
def test_notification_of_no_subscription_is_dropped(tag):
    listening().server(tagged("notifications/tools/list_changed", tag), records=[{"type": "drop"}])


@pytest.mark.parametrize("params", [None, {}, {"_meta": []}, {"_meta": {}}])
def test_notification_without_a_tag_is_dropped(params):
    listening().server(notification("notifications/tools/list_changed", params), records=[{"type": "drop"}])


def test_call_in_flight_is_no_subscription():
    play = Playbook().host(modern_call(1, "read_file"), to_server=[modern_call(1, "read_file")])
    play.server(tagged("notifications/tools/list_changed", 1), records=[{"type": "drop"}])


@pytest.mark.parametrize(
    "method",
    [
        "notifications/prompts/list_changed",
        "notifications/resources/list_changed",
        "notifications/resources/updated",
        "notifications/tasks",
    ],
)
def test_kind_that_was_not_asked_for_is_dropped(method):
    play = listening(wanted={"toolsListChanged": True, "promptsListChanged": False})
    play.server(tagged(method, 1, uri="a:b", taskId="t"), records=[{"type": "drop"}])


def test_filter_is_reduced_to_what_policy_grants():
    kept = {key: value for key, value in EVERYTHING.items() if key != "resourceSubscriptions"}
    play = Playbook(SILENT).host(listen("L", EVERYTHING), to_server=[listen(1, kept)])
    play.server(tagged("notifications/resources/updated", 1, uri="a:b"), records=[{"type": "drop"}])


def test_filter_of_which_nothing_is_left_is_refused():
    play = Playbook(SILENT)
    play.host(
        listen("L", {"resourceSubscriptions": ["a:b"]}),
        to_host=[error("L", 40301, Text("subscriptions/listen"), data={"rule": "default"})],
        records=[{"type": "call", "method": "resources/subscribe", "decision": "deny"}],
    )
    play.host(listen("M", {"taskIds": ["t1"]}), to_host=[error("M", 40301, data={"rule": "default"})])
    Playbook().host(listen("M", {"taskIds": ["t1"]}), to_host=[error("M", -32602, Text("task"))])


@pytest.mark.parametrize(
    "wanted",
    [
        None,
        [],
        "tools",
        {"resourceSubscriptions": "a:b"},
        {"resourceSubscriptions": [5]},
        {"resourceSubscriptions": ["a" * 9000]},
        {"taskIds": "t"},
    ],
)
def test_malformed_filter_is_refused(wanted):
    Playbook().host(listen("L", wanted), to_host=[error("L", -32602)])


def test_rule_against_listening_binds():
    rule = '[[rule]]\nid = "deaf"\nmethods = ["subscriptions/listen"]\neffect = "deny"\n'
    Playbook(POLICY + rule).host(listen("L", EVERYTHING), to_host=[error("L", 40301, data={"rule": "deaf"})])


def test_tasks_on_a_subscription_are_those_asked_for_and_their_contents_are_judged():
    extension = {"extensions": {TASKS: {}}}
    play = Playbook()
    for number, task in ((1, "t1"), (2, "t2")):
        play.host(
            modern_call(number, "read_file", capabilities=extension),
            to_server=[modern_call(number, "read_file", capabilities=extension)],
        )
        made = {"resultType": "task", "taskId": task}
        play.server(result(number, made), to_host=[result(number, made)])
    play.host(listen("L", {"taskIds": ["t1", "t9", 5, ["t1"]]}), to_server=[listen(3, {"taskIds": ["t1"]})])
    done = {"taskId": "t1", "status": "completed", "result": {"content": []}}
    play.server(
        tagged("notifications/tasks", 3, **done), to_host=[tagged("notifications/tasks", "L", **done)]
    )
    bad = {"result": {"content": [{"type": "image", "data": "!"}]}}
    asks = {"inputRequests": {"k": {"method": "sampling/createMessage", "params": {}}}}
    for wrong in ({"taskId": "t2"}, {"taskId": ["t1"]}, {}, {**done, **bad}, {**done, **asks}):
        play.server(tagged("notifications/tasks", 3, **wrong), records=None)
    dropped = [body for body in play.records if body["type"] == "drop"]
    assert len(dropped) == 5


def test_host_ends_a_subscription_by_cancelling_and_the_server_by_cancelling_or_answering():
    play = listening()
    cancel = notification("notifications/cancelled", {"requestId": "L"})
    play.host(cancel, to_server=[notification("notifications/cancelled", {"requestId": 1})])
    play.host(listen("M", EVERYTHING), to_server=[listen(2, EVERYTHING)])
    play.server(
        notification("notifications/cancelled", {"requestId": 2}),
        to_host=[notification("notifications/cancelled", {"requestId": "M"})],
    )
    play.server(notification("notifications/cancelled", {"requestId": 2}), records=[{"type": "drop"}])
    play.server(result(2, {"resultType": "complete"}), records=[{"type": "drop"}])


def test_end_of_a_subscription_without_a_tag_passes_as_it_is():
    listening().server(
        result(1, {"resultType": "complete"}), to_host=[result("L", {"resultType": "complete"})]
    )


def test_change_of_policy_is_told_on_subscriptions_that_want_it():
    play = listening("L", {"toolsListChanged": True})
    play.host(listen("M", {"promptsListChanged": True}), to_server=[listen(2, {"promptsListChanged": True})])
    play.policy(SILENT)
    play.policy(POLICY)
    play.host(modern("a", "tools/list"), to_server=[modern(3, "tools/list")])
    shown = {"resultType": "complete", "tools": [{"name": "read_a"}], "cacheScope": "private", "ttlMs": 1}
    play.server(result(3, shown), to_host=[result("a", shown)])
    play.policy(POLICY.replace("other_tool", "another"))
    play.policy(SILENT, to_host=[tagged("notifications/tools/list_changed", "L")])
