"""What the server says: an answer belongs to one request, and its own requests are judged like calls."""

import pytest

from mcpguard import limits
from mcpguard.gate.events import BytesReceived
from mcpguard.model import Side
from tests.gate.playbook import (
    ASKING,
    POLICY,
    TASKS,
    Playbook,
    Text,
    call,
    error,
    initialize,
    line,
    modern,
    modern_call,
    notification,
    request,
    result,
    text,
)

EVERYTHING = {"sampling": {}, "elicitation": {"form": {}, "url": {}}, "roots": {}, "tasks": {}}
SAMPLING = {"messages": [], "maxTokens": 1}
FORM = {
    "message": "Your name?",
    "requestedSchema": {"type": "object", "properties": {"name": {"type": "string"}}},
}
PAGE = {"mode": "url", "message": "Sign in", "url": "https://example.org/a", "elicitationId": "e1"}


def asked(capabilities=None, policy=POLICY + ASKING):
    """A connection with one call in flight as number 2."""
    play = Playbook(policy).opened(capabilities=EVERYTHING if capabilities is None else capabilities)
    return play.host(call(7, "read_file"), to_server=[call(2, "read_file")])


# --- answers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ident", ["2", " 2 ", "+2", 2.0, 2.9, 3, 1, -2, None, True])
def test_answer_under_any_other_id_is_dropped(ident):
    play = asked()
    play.server(
        {"jsonrpc": "2.0", "id": ident, "result": text("spoofed")},
        records=[{"type": "drop", "side": "server"}],
    )
    play.server(result(2, text("true")), to_host=[result(7, text("true"))])


def test_only_the_first_answer_counts():
    play = asked()
    play.server(result(2, text("a")), result(2, text("b")), to_host=[result(7, text("a"))])
    play.server(error(2, 1, "c"), records=[{"type": "drop", "reason": "an answer that nobody asked for"}])


def test_answer_before_any_request_is_dropped():
    Playbook().server(result(1, {}), records=[{"type": "drop"}])


def test_error_goes_to_the_owner_of_the_request():
    data = {"detail": [1.5, None], "a": {"b": "c"}}
    asked().server(
        error(2, -32603, "broken", data=data),
        to_host=[error(7, -32603, "broken", data=data)],
        records=[{"type": "outcome", "status": "error"}],
    )


def test_failed_tool_is_recorded_as_failed():
    answer = text("no such file", isError=True)
    asked().server(result(2, answer), to_host=[result(7, answer)], records=[{"status": "tool_error"}])


@pytest.mark.parametrize(
    "said",
    [
        b'{"jsonrpc":"2.0","id":2,"result":{"a":1,"a":2}}\n',
        b'{"jsonrpc":"2.0","id":2,"result":{"a":1,"A":2}}\n',
        b'{"jsonrpc":"2.0","id":2,"result":{"a":"\\ud800"}}\n',
        b'{"jsonrpc":"2.0","id":2,"result":5}\n',
        b'{"jsonrpc":"2.0","id":2,"result":null}\n',
        b'{"jsonrpc":"2.0","id":2,"result":{},"error":{"code":1,"message":""}}\n',
        b'{"jsonrpc":"2.0","id":2,"result":{},"method":"ping"}\n',
        b'{"jsonrpc":"2.0","id":2,"error":{"code":1.0,"message":""}}\n',
        b'{"jsonrpc":"2.0","id":2,"error":{"code":1}}\n',
        b'{"jsonrpc":"2.0","id":2,"error":"no"}\n',
        b'{"jsonrpc":"2.0","id":2}\n',
        b'{"id":2,"result":{}}\n',
        b'[{"jsonrpc":"2.0","id":2,"result":{}}]\n',
    ],
)
def test_answer_that_may_not_pass_is_replaced_by_an_error(said):
    play = asked()
    play.server(
        said,
        to_host=[error(7, 50201, Text("withheld the server's answer"))],
        records=[{"type": "drop"}, {"type": "outcome", "id": 2, "status": "refused"}],
    )
    play.server(result(2, text("late")), records=[{"type": "drop"}])


@pytest.mark.parametrize(
    "said",
    [
        b'{"jsonrpc":"2.0","id":2,"method":"ping","params":[]}\n',
        b'{"jsonrpc":"2.0","id":2,"method":"ping","params":{"a":1,"a":1}}\n',
        b'[{"jsonrpc":"2.0","id":2,"method":"ping"}]\n',
    ],
)
def test_malformed_request_of_the_server_does_not_settle_the_hosts_request(said):
    play = asked()
    play.server(said, to_server=[error(2, -32600)], records=[{"type": "drop"}])
    play.server(result(2, text("ok")), to_host=[result(7, text("ok"))])


def test_answers_in_a_batch_are_answers_in_the_revision_that_has_batches():
    play = Playbook(POLICY + ASKING).opened("2025-03-26", {"roots": {}})
    play.host(
        call(7, "read_file"), call("7", "read_it"), to_server=[call(2, "read_file"), call(3, "read_it")]
    )
    play.server(
        [result(3, text("b")), result(2, text("a")), request(0, "roots/list"), result(9, {}), {"id": 1}],
        to_host=[result("7", text("b")), result(7, text("a")), request(1, "roots/list")],
    )
    play.host(call(8, "read_file"), to_server=[call(4, "read_file")])
    play.server([result(4, text("a")), 5], to_host=[error(8, 50201, Text("not an object"))])
    play.server([], records=[{"type": "drop"}])


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ([5], "not an object"),
        ([{"type": "image", "data": "!!", "mimeType": "image/png"}], "base64"),
        ([{"type": "audio", "data": 5, "mimeType": "a/b"}], "base64"),
        ([{"type": "resource_link", "uri": "javascript:alert(1)"}], "scheme"),
        ([{"type": "resource", "resource": {"uri": "a:b", "blob": "\u00e9"}}], "base64"),
    ],
)
def test_content_that_runs_or_does_not_decode_is_withheld_unless_we_only_watch(content, fault):
    asked().server(result(2, {"content": content}), to_host=[error(7, 50201, Text(fault))])
    asked(policy=None).server(result(2, {"content": content}), to_host=[result(7, {"content": content})])


def test_prompt_with_another_role_and_blob_that_is_none_are_withheld():
    play = Playbook().opened()
    prompt = {"messages": [{"role": "system", "content": {"type": "text", "text": "a"}}]}
    play.host(request(1, "prompts/get", {"name": "p"}), to_server=[request(2, "prompts/get", {"name": "p"})])
    play.server(result(2, prompt), to_host=[error(1, 50201, Text("role"))])
    play.host(
        request(1, "resources/read", {"uri": "a:b"}), to_server=[request(3, "resources/read", {"uri": "a:b"})]
    )
    play.server(
        result(3, {"contents": [{"uri": "a:b", "blob": "?"}]}), to_host=[error(1, 50201, Text("base64"))]
    )


def test_guards_own_keys_are_stripped_from_what_the_server_says():
    forged, kept = {"dev.mcpguard/attested": 1, "a": 1}, {"a": 1}
    play = asked()
    play.server(result(2, text("ok", _meta=dict(forged))), to_host=[result(7, text("ok", _meta=kept))])
    play.server(
        notification("notifications/message", {"level": "info", "data": 1, "_meta": dict(forged)}),
        to_host=[notification("notifications/message", {"level": "info", "data": 1, "_meta": kept})],
    )
    play.server(request(1, "ping", {"_meta": dict(forged)}), to_host=[request(1, "ping", {"_meta": kept})])


def test_text_is_made_harmless_where_policy_says_so():
    dirty = "\x1b[31mred\x07\x7f\u009b tag\U000e0041 tab\t nl\n"
    clean = "\u241b[31mred\u2407\u2421 tag tab\t nl\n"
    page = {**FORM, "message": dirty}
    play = asked()
    play.server(
        notification("notifications/message", {"data": dirty}),
        to_host=[notification("notifications/message", {"data": clean})],
    )
    play.server(
        request(0, "elicitation/create", page),
        to_host=[request(1, "elicitation/create", {**page, "message": clean})],
    )
    play.server(error(2, 1, dirty, data={"a": [dirty]}), to_host=[error(7, 1, clean, data={"a": [clean]})])
    asked().server(result(2, text(dirty)), to_host=[result(7, text(clean))])
    for policy in (None, (POLICY + ASKING).replace('mode = "enforce"', 'mode = "enforce"\ntext = "as-is"')):
        play = asked(policy=policy)
        play.server(result(2, text(dirty)), to_host=[result(7, text(dirty))])
        play.server(request(0, "elicitation/create", page), to_host=[request(1, "elicitation/create", page)])


def test_separators_of_other_readers_are_escaped_on_the_way():
    play = asked()
    play.server(result(2, text("a\u2028b\u2029c")), to_host=[result(7, text("a\u2028b\u2029c"))])
    play.host(
        call(8, "read_file", {"a": "\u2028\u0085"}), to_server=[call(3, "read_file", {"a": "\u2028\u0085"})]
    )
    commands = play.gate.handle(
        BytesReceived(Side.HOST, line(call(9, "read_file", {"a": "\u2028\u2029\u0085"})), 1)
    )
    assert rb"\u2028\u2029\u0085" in commands[1].data


# --- lines that are no messages ----------------------------------------------------------------------------


def test_stray_prints_are_dropped_and_a_flood_of_broken_messages_ends_the_connection():
    play = asked()
    play.server(*[b"starting up...\n"] * 500)
    play.server(*[b'{"level":"info"}\n'] * limits.BAD_SERVER_LINES)
    play.server(b"{ not json\n", closed="keeps printing lines")


def test_line_without_an_end_ends_the_connection():
    play = Playbook().opened()
    for _ in range(limits.LINE_BYTES // (1 << 20)):
        play.server(b"a" * (1 << 20))
    play.server(b"a", closed="the server sent more than one message may hold")


def test_nothing_that_a_server_prints_reaches_the_host_as_it_is():
    play = asked()
    for said in (b"5\n", b'"{}"\n', b"null\n", b"\x1b[0m{}\n", b"[1]\n", b"{}\n", b"\xff\n", b"INFO {\n"):
        play.server(said, records=[{"type": "drop", "side": "server"}])


# --- the server asks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("ident", [0, "", -1, 7, "7", 2**53 - 1])
@pytest.mark.parametrize(
    ("method", "params", "answer"),
    [
        (
            "sampling/createMessage",
            SAMPLING,
            {"role": "assistant", "content": {"type": "text", "text": "a"}, "model": "m"},
        ),
        ("elicitation/create", FORM, {"action": "accept", "content": {"name": "x"}}),
        ("elicitation/create", PAGE, {"action": "accept"}),
        ("roots/list", None, {"roots": []}),
        ("ping", None, {}),
    ],
)
def test_servers_request_and_its_answer_travel_under_exchanged_ids(ident, method, params, answer):
    play = asked()
    play.server(
        request(ident, method, params),
        to_host=[request(1, method, params)],
        records=[{"type": "call", "side": "server", "method": method, "id": 1, "decision": "allow"}],
    )
    play.server(request(ident, "ping"), to_server=[error(ident, -32601, Text("in flight"))])
    play.host(
        result(1, answer),
        to_server=[result(ident, answer)],
        records=[{"type": "outcome", "side": "server", "id": 1, "status": "ok"}],
    )
    play.host(result(1, answer), records=[{"type": "drop"}])


def test_refusal_of_the_host_reaches_the_server():
    play = asked()
    play.server(
        request("s", "sampling/createMessage", SAMPLING),
        to_host=[request(1, "sampling/createMessage", SAMPLING)],
    )
    play.host(
        error(1, -1, "user rejected"),
        to_server=[error("s", -1, "user rejected")],
        records=[{"status": "error"}],
    )


@pytest.mark.parametrize(
    ("method", "params", "answer"),
    [
        ("sampling/createMessage", SAMPLING, error(0, -1, Text("sampling refused"))),
        ("elicitation/create", FORM, result(0, {"action": "decline"})),
        ("roots/list", None, error(0, -32601, Text("roots/list refused"))),
    ],
)
def test_servers_request_is_declined_where_policy_or_the_client_does_not_know_it(method, params, answer):
    for play in (asked(policy=POLICY), asked(capabilities={}), asked(policy=None, capabilities={})):
        play.server(
            request(0, method, params), to_server=[answer], records=[{"type": "drop", "side": "server"}]
        )
        play.host(result(1, {}), records=[{"type": "drop"}])


@pytest.mark.parametrize(
    "method", ["tools/call", "sampling/createmessage", "vendor/x", "initialize", "tasks/update"]
)
def test_method_that_servers_do_not_have_is_refused(method):
    asked().server(request(5, method, {}), to_server=[error(5, -32601)], records=[{"type": "drop"}])


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("elicitation/create", {**PAGE, "url": "javascript:alert(1)"}),
        ("elicitation/create", {**PAGE, "url": "https://bank.example@evil.example/"}),
        ("elicitation/create", {**PAGE, "url": "-x"}),
        ("elicitation/create", {**PAGE, "url": "https://[bad"}),
        ("elicitation/create", {**PAGE, "url": "https:///nowhere"}),
        ("elicitation/create", {**PAGE, "url": "https://a/\u202e"}),
        ("elicitation/create", {**PAGE, "url": ["https://a"]}),
        ("elicitation/create", {**FORM, "requestedSchema": {"properties": {"Password": {"type": "string"}}}}),
        ("sampling/createMessage", {**SAMPLING, "includeContext": "allServers"}),
        ("tasks/get", {"taskId": "unknown"}),
        ("tasks/get", {"taskId": ["unknown"]}),
    ],
)
def test_what_nobody_may_ask_is_refused_whatever_policy_says(method, params):
    play = asked()
    declined = method == "elicitation/create"
    answer = (
        result(0, {"action": "decline"}) if declined else error(0, -1 if "sampling" in method else -32601)
    )
    play.server(request(0, method, params), to_server=[answer])


def test_requests_of_a_server_in_flight_are_bounded():
    play = asked()
    many = [request(i, "ping") for i in range(limits.PENDING)]
    play.server(*many, to_host=[request(i + 1, "ping") for i in range(limits.PENDING)])
    play.server(request(2, "roots/list"), to_server=[error(2, -32601, Text("in flight"))])
    play.server(request("x", "ping"), to_server=[error("x", -32601, Text("in flight"))])
    play.server(result(2, text("ok")), to_host=[result(7, text("ok"))])


@pytest.mark.parametrize("token", [0, "", "7", 7])
def test_progress_towards_the_server_comes_back_under_its_own_token(token):
    play = asked()
    said = {**SAMPLING, "_meta": {"progressToken": token}}
    play.server(
        request("s", "sampling/createMessage", said),
        to_host=[request(1, "sampling/createMessage", {**SAMPLING, "_meta": {"progressToken": 1}})],
    )

    def progress(of, value):
        return notification("notifications/progress", {"progressToken": of, "progress": value})

    play.host(progress(1, 0.5), to_server=[progress(token, 0.5)])
    for wrong in (progress(1, 0.4), progress("1", 1), progress(2, 1), progress([1], 1)):
        play.host(wrong, records=[{"type": "drop", "side": "host"}])


def test_server_cancels_its_own_requests_and_no_others():
    play = asked()
    play.server(request("s", "roots/list"), to_host=[request(1, "roots/list")])
    for wrong in (1, 2, 7, "S", None, ["s"]):
        play.server(notification("notifications/cancelled", {"requestId": wrong}), records=[{"type": "drop"}])
    play.server(
        notification("notifications/cancelled", {"requestId": "s"}),
        to_host=[notification("notifications/cancelled", {"requestId": 1})],
    )
    play.host(result(1, {"roots": []}), records=[])
    play.host(result(1, {"roots": []}), records=[{"type": "drop"}])


def test_ping_of_a_server_passes_before_the_host_said_anything():
    play = Playbook().server(request("p", "ping"), to_host=[request(1, "ping")])
    play.host(result(1), to_server=[result("p")])
    play.server(request(0, "sampling/createMessage", SAMPLING), to_server=[error(0, -1)])


def test_request_of_a_server_in_the_modern_era_ends_the_connection():
    play = Playbook(POLICY + ASKING)
    play.host(
        modern_call(1, "read_file", capabilities={"sampling": {}}),
        to_server=[modern_call(1, "read_file", capabilities={"sampling": {}})],
    )
    play.server(
        request(0, "sampling/createMessage", SAMPLING),
        closed="the server sent a request",
        records=[{"type": "drop"}],
    )


def test_server_cancels_nothing_in_the_modern_era():
    play = Playbook().host(modern_call(7, "read_file"), to_server=[modern_call(1, "read_file")])
    for ident in (1, 7, "1", [1]):
        play.server(notification("notifications/cancelled", {"requestId": ident}), records=[{"type": "drop"}])
    play.server(result(1, {"resultType": "complete"}), to_host=[result(7, {"resultType": "complete"})])


# --- notifications -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "passes"),
    [
        ("notifications/message", True),
        ("notifications/tools/list_changed", True),
        ("notifications/prompts/list_changed", True),
        ("notifications/resources/list_changed", True),
        ("notifications/resources/updated", True),
        ("notifications/elicitation/complete", True),
        ("notifications/initialized", False),
        ("notifications/tasks", False),
        ("notifications/tasks/status", False),
        ("notifications/subscriptions/acknowledged", False),
        ("notifications/vendor", False),
        ("tools/call", False),
    ],
)
def test_legacy_notification_passes_if_it_exists_and_belongs(method, passes):
    said = notification(method, {"uri": "a:b", "name": "delete_all", "taskId": "t"})
    Playbook().opened().server(
        said, to_host=[said] if passes else [], records=[] if passes else [{"type": "drop"}]
    )


def test_updates_of_resources_need_the_leave_to_subscribe():
    said = notification("notifications/resources/updated", {"uri": "a:b"})
    Playbook('version = 1\nmode = "enforce"\n').opened().server(said, records=[{"type": "drop"}])


def test_floods_of_changes_are_thinned():
    play = Playbook().opened()
    said = notification("notifications/tools/list_changed")
    play.server(*[said] * (limits.NOTICES_PER_SECOND + 100), to_host=[said] * limits.NOTICES_PER_SECOND)
    play.later(1.1).server(said, to_host=[said])


def test_modern_log_messages_need_a_request_that_asked_for_them():
    play = Playbook().host(modern_call(1, "read_file"), to_server=[modern_call(1, "read_file")])
    said = notification("notifications/message", {"level": "info", "data": "x"})
    play.server(said, records=[{"type": "drop"}])
    level = {"io.modelcontextprotocol/logLevel": "info"}
    play.host(modern(2, "tools/list", **level), to_server=[modern(2, "tools/list", **level)])
    play.server(said, to_host=[said])


@pytest.mark.parametrize("level", ["loud", ["info"], 1, None])
def test_log_level_that_does_not_exist_is_refused(level):
    said = modern(2, "tools/list", **{"io.modelcontextprotocol/logLevel": level})
    Playbook().host(said, to_host=[error(2, -32602, Text("log level"))])


# --- pages to open, in errors ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "url", "passes"),
    [
        (POLICY + ASKING, "https://example.org", True),
        (POLICY + ASKING, "javascript:alert(1)", False),
        (POLICY, "https://example.org", False),
        (None, "https://example.org", True),
    ],
)
def test_error_that_asks_to_open_a_page_is_judged_like_an_elicitation(policy, url, passes):
    data = {"elicitations": [{**PAGE, "url": url}]}
    answer = error(7, -32042, "sign in", data=data) if passes else error(7, 50201, Text("page"))
    asked(policy=policy).server(error(2, -32042, "sign in", data=data), to_host=[answer])


# --- tasks -------------------------------------------------------------------------------------------------


def test_legacy_task_is_followed_by_its_id():
    play = Playbook().opened()
    play.host(request(1, "tasks/get", {"taskId": "t1"}), to_host=[error(1, -32602, Text("taskId"))])
    asking = call(2, "read_file", task={"ttl": 1}, _meta={"progressToken": "p"})
    play.host(asking, to_server=[call(2, "read_file", task={"ttl": 1}, _meta={"progressToken": 2})])
    made = {"task": {"taskId": "t1", "status": "working"}}
    play.server(result(2, made), to_host=[result(2, made)])
    for ident, method in enumerate(("tasks/get", "tasks/result", "tasks/cancel"), 3):
        said = {"taskId": "t1"}
        play.host(request(ident, method, said), to_server=[request(ident, method, said)])
        for wrong in ({"taskId": "t2"}, {"taskId": 1}, {"taskId": ["t1"]}, {}, None):
            play.host(request("w", method, wrong), to_host=[error("w", -32602)])
    play.server(result(4, text("done")), to_host=[result(4, text("done"))])
    progress = {"progressToken": 2, "progress": 1}
    play.server(
        notification("notifications/progress", progress),
        to_host=[notification("notifications/progress", {**progress, "progressToken": "p"})],
    )
    status = notification("notifications/tasks/status", {"taskId": "t1", "status": "working"})
    play.server(status, to_host=[status])
    for wrong in ("t2", ["t1"], None):
        play.server(notification("notifications/tasks/status", {"taskId": wrong}), records=[{"type": "drop"}])


def test_listed_tasks_are_those_of_this_connection():
    play = Playbook().opened()
    play.host(call(2, "read_file"), to_server=[call(2, "read_file")])
    play.server(result(2, {"task": {"taskId": "t1"}}), to_host=[result(2, {"task": {"taskId": "t1"}})])
    play.host(request(3, "tasks/list"), to_server=[request(3, "tasks/list")])
    tasks = [{"taskId": "t1"}, {"taskId": "t2"}, {"taskId": ["t1"]}, 5]
    play.server(result(3, {"tasks": tasks}), to_host=[result(3, {"tasks": [{"taskId": "t1"}]})])


def test_rule_against_tasks_binds():
    rule = '[[rule]]\nid = "no-tasks"\nmethods = ["tasks/*"]\neffect = "deny"\n'
    play = Playbook(POLICY + rule).opened()
    play.host(request(3, "tasks/list"), to_host=[error(3, 40301, data={"rule": "no-tasks"})])


def test_modern_task_needs_the_extension():
    made = {"resultType": "task", "taskId": "t1", "status": "working"}
    play = Playbook().host(modern_call(1, "read_file"), to_server=[modern_call(1, "read_file")])
    play.server(result(1, made), to_host=[error(1, 50201, Text("did not declare"))])
    extension = {"extensions": {TASKS: {}}}
    play.host(
        modern_call(2, "read_file", capabilities=extension),
        to_server=[modern_call(2, "read_file", capabilities=extension)],
    )
    play.server(result(2, made), to_host=[result(2, made)])
    said = {"taskId": "t1"}
    play.host(modern(3, "tasks/get", said), to_server=[modern(3, "tasks/get", said)])
    play.host(modern("w", "tasks/get", {"taskId": "t2"}), to_host=[error("w", -32602)])
    play.server(
        result(3, {"resultType": "complete", "taskId": "t1", "result": {"content": [5]}}),
        to_host=[error(3, 50201, Text("content block"))],
    )


@pytest.mark.parametrize(
    ("policy", "capabilities", "asks", "passes"),
    [
        (POLICY + ASKING, {"elicitation": {}}, {"a": {"method": "elicitation/create", "params": FORM}}, True),
        (POLICY, {"elicitation": {}}, {"a": {"method": "elicitation/create", "params": FORM}}, False),
        (POLICY + ASKING, {}, {"a": {"method": "elicitation/create", "params": FORM}}, False),
        (POLICY + ASKING, {"elicitation": {}}, {"a": {"method": "tools/call", "params": {}}}, False),
        (POLICY + ASKING, {"elicitation": {}}, {"a": {"method": ["elicitation/create"]}}, False),
        (
            POLICY + ASKING,
            {"elicitation": {}},
            {"a": {"method": "elicitation/create", "params": {**PAGE, "url": "javascript:x"}}},
            False,
        ),
        (POLICY + ASKING, {"elicitation": {}}, [], False),
        (None, {"elicitation": {}}, {"a": {"method": "elicitation/create", "params": FORM}}, True),
    ],
)
def test_requests_inside_a_task_are_judged(policy, capabilities, asks, passes):
    extension = {"extensions": {TASKS: {}}}
    play = Playbook(policy)
    play.host(
        modern_call(1, "read_file", capabilities=extension),
        to_server=[modern_call(1, "read_file", capabilities=extension)],
    )
    made = {"resultType": "task", "taskId": "t1"}
    play.server(result(1, made), to_host=[result(1, made)])
    play.feed_host(modern(2, "tasks/get", {"taskId": "t1"}, capabilities))
    state = {"resultType": "complete", "taskId": "t1", "status": "input_required", "inputRequests": asks}
    play.server(result(2, state), to_host=[result(2, state) if passes else error(2, 50201)])


def test_task_that_the_host_made_for_a_sampling_request_is_followed_by_the_server():
    play = asked()
    said = {**SAMPLING, "task": {"ttl": 1}, "_meta": {"progressToken": 7}}
    forwarded = {**SAMPLING, "task": {"ttl": 1}, "_meta": {"progressToken": 1}}
    play.server(
        request("s", "sampling/createMessage", said),
        to_host=[request(1, "sampling/createMessage", forwarded)],
    )
    made = {"task": {"taskId": "h1", "status": "working"}}
    play.host(result(1, made), to_server=[result("s", made)])
    play.server(
        request("g", "tasks/get", {"taskId": "h1"}), to_host=[request(2, "tasks/get", {"taskId": "h1"})]
    )
    play.server(
        notification("notifications/progress", {"progressToken": 1, "progress": 1}),
        records=[{"type": "drop"}],
    )


# --- the end -----------------------------------------------------------------------------------------------


def test_every_call_of_a_server_that_died_gets_one_error():
    play = asked()
    play.host(call("b", "read_it"), initialize(9), to_server=[call(3, "read_it")], to_host=[error(9, -32600)])
    play.server(result(3, text("ok")), b'{"jsonrpc":"2.0","id":2,"res', to_host=[result("b", text("ok"))])
    play.host(request(11, "ping"), to_server=[request(4, "ping")])
    play.ended(
        Side.SERVER,
        to_host=[
            error(7, 50202, Text("the server ended before it answered", "is not known")),
            error(11, 50202),
        ],
        records=[{"type": "drop"}, {"id": 2, "status": "lost"}, {"id": 4, "status": "lost"}],
    )
    play.ended(Side.SERVER)
    play.ended(Side.HOST)


@pytest.mark.parametrize(
    "said", [b"npm WARN deprecated\n", b"[INFO] ready {port: 1}\n", b"42\n", b"\xff\xfe\n"]
)
def test_a_server_may_print_as_much_text_as_it_likes(said):
    play = asked()
    play.server(*[said] * (limits.BAD_SERVER_LINES * 3))
    play.server(result(2, text("ok")), to_host=[result(7, text("ok"))])
