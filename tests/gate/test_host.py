"""What the host says: decided before anything of it reaches the server, and answered once."""

import pytest

from mcpguard import limits
from tests.gate.playbook import (
    ASKING,
    POLICY,
    SUBSCRIPTION,
    AnyError,
    Playbook,
    Text,
    call,
    denial,
    envelope,
    error,
    initialize,
    initialized,
    modern,
    modern_call,
    notification,
    request,
    result,
    text,
)

IDS = [0, "", -1, 7, "7", 2**53 - 1, -(2**53) + 1, "a" * 256, "\u00e9"]
NO_DELETE = ("no-deleting", "policy.toml:11", "delete_all", "mcpguard policy explain files delete_all")


# --- calls -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ident", IDS)
def test_ids_are_exchanged_on_the_way_out_and_back_in_the_legacy_era(ident):
    play = Playbook().opened()
    play.host(
        call(ident, "read_file", {"path": "a"}),
        to_server=[call(2, "read_file", {"path": "a"})],
        records=[
            {
                "type": "call",
                "id": 2,
                "side": "host",
                "tool": "read_file",
                "decision": "allow",
                "rule": "reading",
            }
        ],
    )
    play.server(
        result(2, text("ok")),
        to_host=[result(ident, text("ok"))],
        records=[{"type": "outcome", "id": 2, "status": "ok"}],
    )
    play.host(call(ident, "read_file"), to_server=[call(3, "read_file")])


@pytest.mark.parametrize("ident", IDS)
def test_ids_are_exchanged_on_the_way_out_and_back_in_the_modern_era(ident):
    play = Playbook()
    play.host(modern_call(ident, "read_file"), to_server=[modern_call(1, "read_file")])
    answer = {"resultType": "complete", **text("ok")}
    play.server(result(1, answer), to_host=[result(ident, answer)])


@pytest.mark.parametrize("ident", [7, "7"])
def test_long_lines_are_exchanged_like_short_ones(ident):
    long = {"path": "x" * 5000, "n": [1.0, 10**15, None, True]}
    for padding in ("", "\u2028\u0085\u00e9"):
        arguments = {**long, "more": padding}
        play = Playbook().opened()
        play.host(call(ident, "read_file", arguments), to_server=[call(2, "read_file", arguments)])
        play.server(
            result(2, text("y" * 5000 + padding)), to_host=[result(ident, text("y" * 5000 + padding))]
        )


@pytest.mark.parametrize("size", [10, 5000])
def test_members_beside_those_of_json_rpc_do_not_travel(size):
    play = Playbook().opened()
    wanted = call(2, "read_file", {"path": "x" * size})
    play.host({**call(7, "read_file", {"path": "x" * size}), "extra": {"a": 1}}, to_server=[wanted])
    answer = result(7, text("y" * size))
    play.server({**answer, "id": 2, "extra": 1}, to_host=[answer])


def test_denied_call_is_recorded_then_refused_in_the_legacy_era():
    play = Playbook().opened()
    play.host(
        call(7, "delete_all", {"really": True}),
        to_host=[denial(7, *NO_DELETE)],
        records=[{"type": "call", "id": 0, "tool": "delete_all", "decision": "deny", "rule": "no-deleting"}],
    )
    assert play.gate.counts == {"allowed": 1, "denied": 1, "dropped": 0}


def test_denied_call_is_recorded_then_refused_in_the_modern_era():
    Playbook().host(
        modern_call("a", "delete_all"),
        to_host=[denial("a", *NO_DELETE, modern=True)],
        records=[{"type": "call", "id": 0, "decision": "deny"}],
    )


@pytest.mark.parametrize("say", [call, modern_call])
def test_tool_that_nothing_allows_is_answered_like_one_that_does_not_exist(say):
    play = Playbook() if say is modern_call else Playbook().opened()
    play.host(
        say(7, "rm_rf"),
        to_host=[error(7, -32602, "Unknown tool: rm_rf")],
        records=[{"decision": "deny", "rule": "default", "tool": "rm_rf"}],
    )


def test_rule_called_default_is_a_rule_like_any_other():
    policy = (
        POLICY.replace("no-deleting", "default") + '[[rule]]\nid="x"\nmethods=["tasks/list"]\neffect="deny"\n'
    )
    play = Playbook(policy).opened()
    play.host(call(7, "delete_all"), to_host=[denial(7, 'rule "default"')])
    play = Playbook(policy.replace('"x"', '"default2"').replace('"default"', '"d"')).opened()
    play.host(request(8, "tasks/list"), to_host=[error(8, 40301, data={"rule": "default2"})])


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("sampling/createMessage", {}),
        ("tools/Call", {"name": "read_file"}),
        ("tools/call ", {"name": "read_file"}),
        ("notifications/initialized", {}),
        ("vendor/x", {}),
        ("server/discover", {}),
        ("tasks/update", {"taskId": "t"}),
        ("", {}),
    ],
)
def test_method_outside_the_table_is_refused_and_recorded(method, params):
    Playbook().opened().host(
        request(7, method, params),
        to_host=[error(7, -32601)],
        records=[{"type": "call", "method": method, "decision": "deny"}],
    )


@pytest.mark.parametrize(
    "method", ["ping", "resources/subscribe", "logging/setLevel", "tasks/list", "tasks/result"]
)
def test_legacy_method_is_refused_in_the_modern_era(method):
    play = Playbook().host(modern_call(1, "read_file"), to_server=[modern_call(1, "read_file")])
    play.host(modern(2, method), to_host=[error(2, -32601)])


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("resources/read", {"uri": "file:///a"}),
        ("resources/subscribe", {"uri": "file:///a"}),
        ("prompts/get", {"name": "p"}),
        (
            "completion/complete",
            {"ref": {"type": "ref/prompt", "name": "p"}, "argument": {"name": "a", "value": ""}},
        ),
    ],
)
def test_gated_method_needs_a_rule(method, params):
    play = Playbook().opened()
    play.host(request(1, method, params), to_server=[request(2, method, params)])
    denying = 'version = 1\nmode = "enforce"\n'
    play = Playbook(denying).opened()
    play.host(
        request("1", method, params),
        to_host=[error("1", 40301, Text(method, "no rule allows it"), data={"rule": "default"})],
        records=[{"method": method, "decision": "deny", "rule": "default"}],
    )


def test_rule_against_unsubscribing_binds_and_silence_lets_it_pass():
    params = {"uri": "file:///a"}
    play = Playbook('version = 1\nmode = "enforce"\n').opened()
    play.host(
        request(1, "resources/unsubscribe", params), to_server=[request(2, "resources/unsubscribe", params)]
    )
    rule = '[[rule]]\nid = "stay"\nmethods = ["resources/unsubscribe"]\neffect = "deny"\n'
    play = Playbook('version = 1\nmode = "enforce"\n' + rule).opened()
    play.host(request(1, "resources/unsubscribe", params), to_host=[error(1, 40301, data={"rule": "stay"})])


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"name": 7},
        {"name": ""},
        {"name": "read_file "},
        {"name": "read\u200b_file"},
        {"name": "\uff52ead_file"},
        {"name": "read_file", "arguments": [1]},
        {"name": "read_file", "arguments": "{}"},
        {"name": "read_file", "Arguments": {}},
        {"name": "read_file", "_meta": []},
        {"name": "read_file", "_meta": {"progressToken": {}}},
        {"name": "read_file", "_meta": {"progressToken": True}},
        {"name": "read_file", "_meta": {"progressToken": 1.0}},
        {"name": "read_file", "_meta": {"io.modelcontextprotocol/unheard": 1}},
    ],
)
def test_params_that_deceive_are_refused(params):
    play = Playbook().opened()
    play.host(request(7, "tools/call", params), to_host=[AnyError(7)], records=[{"type": "drop"}])


@pytest.mark.parametrize("size", [10, 5000])
def test_order_of_members_is_the_senders(size):
    said = {
        "params": {"arguments": {"z": "x" * size, "a": 1}, "name": "read_file"},
        "method": "tools/call",
        "id": 7,
        "jsonrpc": "2.0",
    }
    play = Playbook().opened().host(said, to_server=[{**said, "id": 2}])
    answer = {"result": text("y" * size), "id": 2, "jsonrpc": "2.0"}
    play.server(answer, to_host=[{**answer, "id": 7}])


def test_call_of_no_tool_is_refused():
    Playbook().opened().host(request(7, "tools/call"), to_host=[error(7, -32602, Text("params"))])


@pytest.mark.parametrize("key", ["Params", "param\u017f", "RESULT", "\uff45rror"])
def test_member_that_looks_like_one_of_the_envelope_is_refused(key):
    Playbook().opened().host(
        {"jsonrpc": "2.0", "id": 7, "method": "ping", key: {}}, to_host=[error(7, -32600, Text("looks like"))]
    )


# --- lines that are no messages ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "because"),
    [
        (b'{"jsonrpc":"2.0","id":7,"method":"tools/call","method":"ping"}\n', "twice"),
        (b'{"jsonrpc":"2.0","id":7,"method":"ping","params":{"a":1,"a":1}}\n', "twice"),
        (b'{"jsonrpc":"2.0","id":7,"method":"ping","params":{"a":1,"\\u0061":1}}\n', "twice"),
        (b'{"jsonrpc":"2.0","id":7,"method":"ping","Method":"x"}\n', "differ only"),
        (b'{"jsonrpc":"2.0","id":7,"method":"ping","params":[]}\n', "params is not an object"),
        (b'{"jsonrpc":"2.0","id":7,"method":"ping","params":null}\n', "params is not an object"),
        (b'{"jsonrpc":"1.0","id":7,"method":"ping"}\n', "jsonrpc"),
        (b'{"id":7,"method":"ping"}\n', "jsonrpc"),
        (b'{"jsonrpc":"2.0","id":7}\n', "exactly one"),
        (b'{"jsonrpc":"2.0","id":7,"method":1}\n', "not a string"),
        (b'{"jsonrpc":"2.0","id":7,"method":"ping","result":{}}\n', "both"),
        (b'{"jsonrpc":"2.0","id":7,"method":"ping","params":{"a":"\\ud800"}}\n', "surrogate"),
        (b'{"jsonrpc":"2.0","id":7,"method":"ping","params":{"a":1e999}}\n', "range"),
        (b'{"jsonrpc":"2.0","id":7,"method":"ping","params":{"a":18446744073709551616}}\n', "64 bits"),
        (b'{"jsonrpc":"2.0","id":7,"method":"ping","params":{"__proto__":1}}\n', "__proto__"),
        (
            b'{"jsonrpc":"2.0","id":7,"method":"ping","params":{"a":' + b"[" * 80 + b"]" * 80 + b"}}\n",
            "deeper",
        ),
        (
            b'{"jsonrpc":"2.0","id":7,"method":"ping","params":{"a":' + b"[" * 9000 + b"]" * 9000 + b"}}\n",
            "deeper",
        ),
    ],
)
def test_line_that_may_not_pass_is_answered_if_its_id_is_readable(said, because):
    play = Playbook().opened()
    play.host(said, to_host=[error(7, -32600, Text(because))], records=[{"type": "drop", "side": "host"}])
    play.host(call(8, "read_file"), to_server=[call(2, "read_file")])


@pytest.mark.parametrize(
    "said",
    [
        b'{"jsonrpc":"2.0","id":1.0,"method":"ping"}\n',
        b'{"jsonrpc":"2.0","id":null,"method":"ping"}\n',
        b'{"jsonrpc":"2.0","id":true,"method":"ping"}\n',
        b'{"jsonrpc":"2.0","id":[7],"method":"ping"}\n',
        b'{"jsonrpc":"2.0","id":9007199254740992,"method":"ping"}\n',
        b'{"jsonrpc":"2.0","id":"\\u001b","method":"ping"}\n',
        b'{"jsonrpc":"2.0","id":"%b","method":"ping"}\n' % (b"a" * 257),
        b'{"jsonrpc":"2.0","id":7,"id":8,"method":"ping"}\n',
        b'{"jsonrpc":"2.0","method":"tools/call","params":{"name":"read_file"}}\n',
        b'{"jsonrpc":"2.0","method":"ping"}\n',
        b'{"jsonrpc":"2.0","result":{}}\n',
        b'{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":""}}\n',
    ],
)
def test_line_without_a_readable_id_is_dropped_and_recorded(said):
    Playbook().opened().host(said, records=[{"type": "drop", "side": "host"}])


@pytest.mark.parametrize(
    "said",
    [
        b'{"jsonrpc":"2.0","id":7,"method":"ping"}\r{"jsonrpc":"2.0","id":8,"method":"ping"}\n',
        b'{"jsonrpc":"2.0","id":7,"method":"ping"}{}\n',
        b'\xef\xbb\xbf{"jsonrpc":"2.0","id":7,"method":"ping"}\n',
        b'{"jsonrpc":"2.0","id":7,"method":"ping","params":{"a":"\xff"}}\n',
        b'{"jsonrpc":"2.0","id":7,"method":"ping","params":{"a":NaN}}\n',
        b"{'a':1}\n",
        b"hello\n",
        b"7\n",
        b'"text"\n',
        b"PRI * HTTP/2.0\n",
    ],
)
def test_line_that_breaks_the_grammar_ends_the_connection(said):
    play = Playbook().opened()
    play.host(said + b'{"jsonrpc":"2.0","id":9,"method":"ping"}\n', closed="the host sent a line that is")


def test_blank_lines_and_a_carriage_return_before_the_line_feed_are_harmless():
    play = Playbook().opened()
    play.host(
        b'\n \t\n\r\n{"jsonrpc":"2.0","id":7,"method":"ping"}\r\n',
        to_server=[request(2, "ping")],
        records=[{"type": "call"}],
    )


def test_carriage_returns_inside_a_message_do_not_travel():
    said = b'{"jsonrpc":"2.0",\r"id":7,"method":"ping",\r"params":{"a":"\\r"}}\n'
    Playbook().opened().host(said, to_server=[request(2, "ping", {"a": "\r"})])


def test_escapes_are_decoded_before_they_are_judged():
    play = Playbook().opened()
    said = b'{"jsonrpc":"2.0","id":7,"\\u006dethod":"tools\\/call","params":{"name":"d\\u0065lete_all"}}\n'
    play.host(said, to_host=[denial(7, "no-deleting")])


def test_id_in_flight_is_not_used_twice_and_free_again_after_the_answer():
    play = Playbook().opened()
    play.host(call(7, "read_file"), to_server=[call(2, "read_file")])
    play.host(call(7, "read_it"), to_host=[error(7, -32600, Text("in flight"))])
    play.host(call("7", "read_it"), to_server=[call(3, "read_it")])
    play.server(
        result(3, text("b")), result(2, text("a")), to_host=[result("7", text("b")), result(7, text("a"))]
    )
    play.host(call(7, "read_it"), to_server=[call(4, "read_it")])


def test_requests_in_flight_are_bounded():
    play = Playbook().opened()
    many = [request(i, "ping") for i in range(limits.PENDING)]
    play.host(*many, to_server=[request(i + 2, "ping") for i in range(limits.PENDING)])
    play.host(request("over", "ping"), to_host=[error("over", -32602, Text("in flight"))])


# --- batches -----------------------------------------------------------------------------------------------


def test_every_element_of_a_batch_is_judged_in_the_revision_that_has_them():
    play = Playbook().opened("2025-03-26")
    play.host(
        [
            call(7, "read_file"),
            call(8, "delete_all"),
            notification("notifications/nonsense"),
            call(9, "read_it"),
        ],
        to_server=[call(2, "read_file"), call(3, "read_it")],
        to_host=[denial(8, "no-deleting")],
    )


@pytest.mark.parametrize("revision", ["2024-11-05", "2025-06-18", "2025-11-25"])
def test_batch_is_refused_in_every_other_revision_and_each_request_in_it_answered(revision):
    play = Playbook().opened(revision)
    play.host(
        [
            call(7, "read_file"),
            call("7", "delete_all"),
            call(7, "read_it"),
            notification("x"),
            5,
            [call(9, "x")],
        ],
        to_host=[error(7, -32600, Text("2025-03-26 only")), error("7", -32600)],
    )
    play.host([], records=[{"type": "drop"}])
    play.host([5], records=[{"type": "drop"}])


def test_batch_is_refused_before_initialize_and_in_the_modern_era():
    Playbook().host([call(7, "read_file")], to_host=[error(7, -32600)])
    play = Playbook().host(modern_call(1, "read_file"), to_server=[modern_call(1, "read_file")])
    play.host([modern_call(2, "read_file")], to_host=[error(2, -32600)])


@pytest.mark.parametrize(
    ("batch", "answers"),
    [
        ([], []),
        ([call(7, "read_file"), 5], [7]),
        ([call(7, "read_file"), call(7, "read_it")], [7]),
        ([call(7, "read_file"), [call(8, "read_it")]], [7]),
        ([request(i, "ping") for i in range(limits.BATCH + 1)], list(range(limits.BATCH))),
    ],
)
def test_unfit_batch_is_refused_whole(batch, answers):
    play = Playbook().opened("2025-03-26")
    play.host(batch, to_host=[error(ident, -32600) for ident in answers])


def test_bad_element_of_a_batch_is_refused_alone():
    play = Playbook().opened("2025-03-26")
    play.host(
        [call(7, "read_file"), {"jsonrpc": "2.0", "id": 8, "method": "ping", "params": 1}],
        to_server=[call(2, "read_file")],
        to_host=[error(8, -32600)],
    )


# --- initialize and eras -----------------------------------------------------------------------------------


def test_nothing_but_ping_passes_before_initialize():
    play = Playbook()
    play.host(call(1, "read_file"), to_host=[error(1, -32600, Text("initialize first"))])
    play.host(notification("notifications/initialized"), records=[{"type": "drop"}])
    play.host(request(2, "ping"), to_server=[request(1, "ping")])


def test_policy_holds_from_the_first_byte():
    Playbook().host(call(1, "delete_all"), to_host=[AnyError(1)])
    Playbook().host(modern_call(1, "delete_all"), to_host=[denial(1, "no-deleting", modern=True)])


def test_connection_is_initialized_once():
    play = Playbook().opened()
    play.host(initialize(5), to_host=[error(5, -32600, Text("already"))])


def test_initialize_may_be_tried_again_after_the_server_refused_it():
    play = Playbook()
    play.host(initialize(0), to_server=[initialize(1)])
    play.host(initialize(1), to_host=[error(1, -32600, Text("already"))])
    play.server(error(1, -32602, "no"), to_host=[error(0, -32602, "no")])
    play.host(call(2, "read_file"), to_host=[error(2, -32600, Text("initialize first"))])
    play.host(initialize(3, "2024-11-05"), to_server=[initialize(2, "2024-11-05")])
    play.server(result(2, initialized("2024-11-05")), to_host=[result(3, initialized("2024-11-05"))])
    assert play.gate.claims == ("host 1", "files 2", "2024-11-05")


@pytest.mark.parametrize(
    "params",
    [
        None,
        {},
        {"protocolVersion": "2025-11-25"},
        {"capabilities": {}},
        {"protocolVersion": 1, "capabilities": {}},
    ],
)
def test_initialize_without_version_or_capabilities_is_refused(params):
    play = Playbook()
    play.host(request(0, "initialize", params), to_host=[error(0, -32602, Text("protocolVersion"))])
    play.host(call(1, "read_file"), to_host=[error(1, -32600, Text("initialize first"))])


def test_initialize_with_a_revision_nobody_knows_is_withheld():
    play = Playbook().host(initialize(0), to_server=[initialize(1)])
    play.server(result(1, initialized("2031-01-01")), to_host=[error(0, 50201, Text("revision"))])
    play.host(initialize(0), to_server=[initialize(2)])


def test_client_capabilities_that_policy_denies_are_taken_out_of_initialize():
    said = {
        "sampling": {},
        "elicitation": {"form": {}},
        "roots": {"listChanged": True},
        "experimental": {"x": {}},
    }
    Playbook().host(
        initialize(0, capabilities=said), to_server=[initialize(1, capabilities={"experimental": {"x": {}}})]
    )
    Playbook(POLICY + ASKING).host(
        initialize(0, capabilities=said), to_server=[initialize(1, capabilities=said)]
    )
    Playbook(None).host(initialize(0, capabilities=said), to_server=[initialize(1, capabilities=said)])


def test_client_capabilities_that_policy_denies_are_taken_out_of_every_modern_request():
    play = Playbook()
    for number in (1, 2):
        play.host(
            modern_call(number, "read_file", capabilities={"sampling": {}, "extensions": {}}),
            to_server=[modern_call(number, "read_file", capabilities={"extensions": {}})],
        )


def test_client_that_only_probed_may_fall_back_to_initialize():
    play = Playbook()
    play.host(modern("d", "server/discover"), to_server=[modern(1, "server/discover")])
    play.server(error(1, -32601, "no"), to_host=[error("d", -32601, "no")])
    play.host(initialize(0), to_server=[initialize(2)])
    play.server(result(2, initialized()), to_host=[result(0, initialized())])
    play.host(call(1, "read_file"), to_server=[call(3, "read_file")])


def test_probe_that_is_answered_late_still_gets_its_answer():
    play = Playbook()
    play.host(
        modern("d", "server/discover"), initialize(0), to_server=[modern(1, "server/discover"), initialize(2)]
    )
    play.server(error(1, -32601, "no"), to_host=[error("d", -32601, "no")])


def test_initialize_after_modern_requests_names_the_versions_that_are_spoken():
    play = Playbook().host(modern_call(1, "read_file"), to_server=[modern_call(1, "read_file")])
    data = {"supported": ["2026-07-28"], "requested": "2025-11-25"}
    play.host(initialize(2), to_host=[error(2, -32022, data=data)], records=[{"type": "drop"}])
    play.host(modern_call(3, "read_file"), to_server=[modern_call(2, "read_file")])


def test_modern_request_on_a_legacy_connection_is_refused():
    play = Playbook().opened()
    play.host(modern_call(7, "read_file"), to_host=[error(7, -32600, Text("earlier revision"))])
    play.host(modern("8", "server/discover"), to_host=[error("8", -32600, Text("earlier revision"))])
    play.host(request(9, "server/discover"), to_host=[error(9, -32601)])


def test_modern_request_of_an_unknown_version_names_those_that_are_known():
    said = modern(7, "tools/list", **{"io.modelcontextprotocol/protocolVersion": "2027-01-01"})
    data = {"supported": ["2026-07-28"], "requested": "2027-01-01"}
    Playbook().host(said, to_host=[error(7, -32022, data=data)])


@pytest.mark.parametrize(
    "missing", ["io.modelcontextprotocol/protocolVersion", "io.modelcontextprotocol/clientCapabilities"]
)
def test_modern_request_needs_its_envelope(missing):
    play = Playbook().host(modern_call(1, "read_file"), to_server=[modern_call(1, "read_file")])
    tags = envelope()
    del tags[missing]
    play.host(
        request(2, "tools/list", {"_meta": tags}),
        to_host=[error(2, -32602, Text("every request of this era"))],
    )
    play.host(call(3, "read_file"), to_host=[error(3, -32602)])
    play.host(request(4, "tools/list"), to_host=[error(4, -32602)])


def test_discover_without_an_envelope_is_refused_and_leaves_initialize_open():
    play = Playbook().host(request(1, "server/discover"), to_host=[error(1, -32602)])
    play.host(initialize(2), to_server=[initialize(1)])


# --- _meta -------------------------------------------------------------------------------------------------


def test_keys_of_the_guard_are_stripped_from_what_the_host_says():
    play = Playbook(POLICY + ASKING).opened(capabilities={"roots": {}})
    forged = {"dev.mcpguard/attested": "G4", "DEV.mcpguard/x": 1, "other": 1}
    play.host(call(7, "read_file", _meta=dict(forged)), to_server=[call(2, "read_file", _meta={"other": 1})])
    play.host(
        notification("notifications/cancelled", {"requestId": 7, "_meta": dict(forged)}),
        to_server=[notification("notifications/cancelled", {"requestId": 2, "_meta": {"other": 1}})],
    )
    play.server(request(0, "roots/list"), to_host=[request(1, "roots/list")])
    play.host(
        result(1, {"roots": [], "_meta": dict(forged)}),
        to_server=[result(0, {"roots": [], "_meta": {"other": 1}})],
    )
    Playbook().host(
        modern("a", "tools/list", **{"dev.mcpguard/attested": 1}), to_server=[modern(1, "tools/list")]
    )


def test_baggage_stays_at_home_where_policy_is_enforced():
    tags = {"traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01", "baggage": "user=me"}
    kept = {"traceparent": tags["traceparent"]}
    Playbook().opened().host(
        call(7, "read_file", _meta=dict(tags)), to_server=[call(2, "read_file", _meta=kept)]
    )
    Playbook(None).opened().host(
        call(7, "read_file", _meta=dict(tags)), to_server=[call(2, "read_file", _meta=tags)]
    )


@pytest.mark.parametrize("token", [0, "", -5, "7", 7, 2**53 - 1])
def test_progress_tokens_are_exchanged_and_come_back_as_they_were(token):
    play = Playbook().opened()
    play.host(
        call(7, "read_file", _meta={"progressToken": token}),
        to_server=[call(2, "read_file", _meta={"progressToken": 2})],
    )

    def progress(of, value):
        return notification("notifications/progress", {"progressToken": of, "progress": value})

    play.server(progress(2, 1), progress(2, 1.5), to_host=[progress(token, 1), progress(token, 1.5)])
    play.server(progress(2, 1.5), to_host=[progress(token, 1.5)])
    for wrong in (
        progress(2, 1),
        progress("2", 9),
        progress(2.0, 9),
        progress(3, 9),
        progress(2, "9"),
        progress(True, 9),
    ):
        play.server(wrong, records=[{"type": "drop", "side": "server"}])
    play.server(notification("notifications/progress"), records=[{"type": "drop"}])
    play.server(result(2, text("ok")), to_host=[result(7, text("ok"))])
    play.server(progress(2, 9), records=[{"type": "drop"}])


# --- cancel and answers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("modern_era", [False, True])
def test_cancelled_call_is_cancelled_under_our_id_and_its_late_answer_dropped(modern_era):
    say = modern_call if modern_era else call
    play = Playbook() if modern_era else Playbook().opened()
    number = 1 if modern_era else 2
    play.host(say("7", "read_file"), to_server=[say(number, "read_file")])
    cancelled = {"requestId": "7", "reason": "enough"}
    for wrong in (7, "8", None, True, [7]):
        play.host(notification("notifications/cancelled", {"requestId": wrong}), records=[{"type": "drop"}])
    play.host(
        notification("notifications/cancelled", cancelled),
        to_server=[notification("notifications/cancelled", {**cancelled, "requestId": number})],
        records=[{"type": "outcome", "id": number, "status": "cancelled"}],
    )
    play.host(notification("notifications/cancelled", cancelled), records=[{"type": "drop"}])
    play.server(result(number, text("late")), records=[{"type": "drop", "reason": "a late answer"}])
    play.server(
        result(number, text("later")), records=[{"type": "drop", "reason": "an answer that nobody asked for"}]
    )
    play.host(say("7", "read_file"), to_server=[say(number + 1, "read_file")])


def test_initialize_is_not_cancelled():
    play = Playbook().host(initialize(0), to_server=[initialize(1)])
    play.host(notification("notifications/cancelled", {"requestId": 0}), records=[{"type": "drop"}])
    play.server(result(1, initialized()), to_host=[result(0, initialized())])


@pytest.mark.parametrize("said", [result(1, {}), result("1", {}), result(99, {}), error(1, 1, "x")])
def test_answer_that_nobody_asked_for_is_dropped(said):
    Playbook().opened().host(said, records=[{"type": "drop", "reason": "an answer that nobody asked for"}])
    modern_play = Playbook().host(modern_call(1, "read_file"), to_server=[modern_call(1, "read_file")])
    modern_play.host(said, records=[{"type": "drop"}])


def test_malformed_answer_settles_the_servers_request_and_not_the_hosts_own():
    play = Playbook().opened()
    play.host(call(1, "read_file"), to_server=[call(2, "read_file")])
    play.server(request("p", "ping"), to_host=[request(1, "ping")])
    play.host(
        b'{"jsonrpc":"2.0","id":1,"result":5}\n',
        to_server=[error("p", 50201, Text("host's answer"))],
        records=[{"type": "drop"}, {"type": "outcome", "side": "server", "status": "refused"}],
    )
    play.server(request("q", "ping"), to_host=[request(2, "ping")])
    play.host(b'{"jsonrpc":"2.0","id":2,"result":{"a":1,"a":2}}\n', to_server=[error("q", 50201)])
    play.server(request("r", "ping"), to_host=[request(3, "ping")])
    play.host([result(3, {})], to_server=[error("r", 50201)])
    play.server(result(2, text("ok")), to_host=[result(1, text("ok"))])


@pytest.mark.parametrize(
    ("method", "capabilities", "passes"),
    [
        ("notifications/roots/list_changed", {"roots": {}}, True),
        ("notifications/roots/list_changed", {}, False),
        ("notifications/tasks/status", {"tasks": {}}, True),
        ("notifications/tasks/status", {}, False),
        ("notifications/initialized", {}, True),
        ("notifications/message", {}, False),
        ("notifications/tools/list_changed", {}, False),
        ("tools/call", {}, False),
    ],
)
def test_notification_passes_only_where_it_belongs(method, capabilities, passes):
    play = Playbook(POLICY + ASKING).opened(capabilities=capabilities)
    said = notification(method, {"a": 1})
    play.host(said, to_server=[said] if passes else [], records=[] if passes else [{"type": "drop"}])


def test_modern_host_notifies_of_nothing_but_cancellation():
    play = Playbook().host(modern_call(1, "read_file"), to_server=[modern_call(1, "read_file")])
    for method in ("notifications/initialized", "notifications/progress", "notifications/roots/list_changed"):
        play.host(notification(method, {"progressToken": 1, "progress": 1}), records=[{"type": "drop"}])


def test_subscription_tag_said_by_the_host_is_no_business_of_ours():
    said = modern("a", "tools/list", **{SUBSCRIPTION: 5})
    Playbook().host(said, to_server=[{**said, "id": 1}])
