"""The gate as a whole: records before calls, a full disk, observing, changes of policy, what people are shown."""

import msgspec
import pytest

from mcpguard import limits
from mcpguard.gate.commands import Append, Later, LookAgain, Write
from mcpguard.gate.events import BytesReceived
from mcpguard.model import Side
from tests.gate.playbook import (
    ASKING,
    POLICY,
    Playbook,
    Text,
    call,
    denial,
    error,
    initialize,
    initialized,
    line,
    modern,
    modern_call,
    notification,
    request,
    result,
    text,
)

FULL = Text("no space left on device", "mcpguard status")


def heard(play, side, *said):
    return play.gate.handle(BytesReceived(side, b"".join(map(line, said)), 10_000))


# --- order -------------------------------------------------------------------------------------------------


def test_call_reaches_the_server_behind_its_record():
    commands = heard(Playbook().opened(), Side.HOST, call(7, "read_file"))
    assert [type(command) for command in commands] == [Append, Write]
    assert commands[1].side is Side.SERVER
    assert b'"id":2,' in commands[0].bodies[0]
    assert b'"tool":"read_file"' in commands[0].bodies[0]


def test_answer_waits_for_no_record():
    play = Playbook().opened()
    heard(play, Side.HOST, call(7, "read_file"))
    commands = heard(play, Side.SERVER, result(2, text("ok")))
    assert [type(command) for command in commands] == [Write, Later]


def test_the_host_is_looked_at_again_before_calls_of_which_a_rule_says_so():
    policy = POLICY.replace('id = "reading"', 'id = "reading"\nrecheck = true')
    play = Playbook(policy).opened()
    assert LookAgain() not in heard(play, Side.HOST, request(1, "ping"))
    assert heard(play, Side.HOST, request(2, "ping"), call(7, "read_file"))[0] == LookAgain()
    assert LookAgain() not in heard(play, Side.HOST, request(3, "ping"))


def test_record_is_on_stable_storage_first_where_a_rule_says_durable():
    policy = POLICY.replace('id = "reading"', 'id = "reading"\ndurable = true')
    play = Playbook(policy).opened()
    assert heard(play, Side.HOST, request(1, "ping"))[0].durable is False
    assert heard(play, Side.HOST, request(2, "ping"), call(7, "read_file"))[0].durable is True
    assert heard(play, Side.HOST, request(3, "ping"))[0].durable is False


def test_arguments_are_recorded_by_a_keyed_digest_and_their_size_alone():
    play = Playbook().opened()
    for secret in ("hunter2", "hunter2", "hunter3"):
        play.feed_host(call(secret + str(len(play.records)), "read_file", {"password": secret}))
    bodies = [body for body in play.records if body.get("tool") == "read_file"]
    assert [body["args"]["size"] for body in bodies] == [22, 22, 22]
    digests = [body["args"]["digest"] for body in bodies]
    assert digests[0] == digests[1] != digests[2]
    assert b"hunter" not in msgspec.json.encode(play.records)


def test_many_lines_in_one_read_are_one_append_and_one_write():
    said = [call(i, "read_file") for i in range(50)]
    commands = heard(Playbook().opened(), Side.HOST, *said)
    assert [type(command) for command in commands] == [Append, Write]
    assert len(commands[0].bodies) == 50
    assert commands[1].data.count(b"\n") == 50


# --- a full disk -------------------------------------------------------------------------------------------


def test_call_that_cannot_be_recorded_is_answered_and_everything_else_of_the_burst_passes():
    play = Playbook(POLICY + ASKING).opened(capabilities={"roots": {}}).disk(full=True)
    ready = notification("notifications/initialized")
    play.host(
        call(7, "read_file"),
        ready,
        call(8, "delete_all"),
        b'{"jsonrpc":"2.0","id":9,"method":"ping","params":[]}\n',
        request("l", "tools/list"),
        call("7", "rm"),
        to_server=[ready],
        to_host=[
            denial(8, "no-deleting"),
            error(9, -32600),
            error("7", -32602, "Unknown tool: rm"),
            denial(7, "no space left on device", "mcpguard status"),
            error("l", 50301, FULL),
        ],
    )
    assert play.gate.in_flight == 0
    play.disk(full=False).host(call(7, "read_file"), to_server=[call(4, "read_file")])


def test_denial_in_the_modern_era_has_its_shape_when_the_disk_is_full():
    play = Playbook().disk(full=True)
    play.host(
        modern_call(1, "read_file"),
        modern(2, "tools/list"),
        to_host=[denial(1, "no space", modern=True), error(2, 50301, FULL)],
    )


def test_answers_pass_while_the_disk_is_full():
    play = Playbook().opened().host(call(7, "read_file"), to_server=[call(2, "read_file")]).disk(full=True)
    play.server(result(2, text("ok")), to_host=[result(7, text("ok"))])


def test_request_of_the_server_that_cannot_be_recorded_never_reaches_the_host():
    play = Playbook(POLICY + ASKING).opened(capabilities={"roots": {}, "sampling": {}, "elicitation": {}})
    play.host(call(7, "read_file"), to_server=[call(2, "read_file")]).disk(full=True)
    play.server(
        request(0, "roots/list"),
        result(2, text("ok")),
        request(1, "elicitation/create", {}),
        request(2, "sampling/createMessage", {}),
        to_host=[result(7, text("ok"))],
        to_server=[error(0, -32601, Text("roots/list")), result(1, {"action": "decline"}), error(2, -1)],
    )
    play.host(result(1, {"roots": []}), records=[{"type": "drop"}])


def test_initialize_that_could_not_be_recorded_may_be_said_again():
    play = Playbook().disk(full=True)
    play.host(initialize(0), to_host=[error(0, 50301, FULL)])
    play.disk(full=False).host(initialize(0), to_server=[initialize(2)])
    play.server(result(2, initialized()), to_host=[result(0, initialized())])


def test_call_cancelled_in_the_burst_that_was_not_recorded_gets_no_answer():
    play = Playbook().opened().disk(full=True)
    cancel = notification("notifications/cancelled", {"requestId": 7})
    play.host(
        call(7, "read_file"), cancel, to_server=[notification("notifications/cancelled", {"requestId": 2})]
    )


def test_close_outlives_the_failed_record():
    play = Playbook().opened().disk(full=True)
    play.host(call(7, "read_file"), b"garbage\n", to_host=[denial(7, "no space")], closed="not JSON")


# --- observing ---------------------------------------------------------------------------------------------


def test_observing_lets_everything_pass_as_it_is_and_records_what_it_would_have_done():
    play = Playbook(POLICY.replace("enforce", "observe")).opened()
    play.host(
        call(7, "delete_all"),
        to_server=[call(2, "delete_all")],
        records=[
            {"decision": "deny", "binding": False, "rule": "no-deleting", "tool": "delete_all", "id": 2}
        ],
    )
    play.host(
        call(8, "unknown"), to_server=[call(3, "unknown")], records=[{"decision": "deny", "binding": False}]
    )
    play.host(
        request(9, "resources/read", {"uri": "a:b"}), to_server=[request(4, "resources/read", {"uri": "a:b"})]
    )
    play.host(request(1, "tools/list"), to_server=[request(5, "tools/list")])
    tools = [{"name": "delete_all"}, {"name": "a", "description": "\u202e\x1b"}, {"name": "a"}]
    play.server(result(5, {"tools": tools}), to_host=[result(1, {"tools": tools})])


def test_fresh_installation_refuses_nothing():
    capabilities = {"sampling": {}, "elicitation": {}, "roots": {}}
    play = Playbook(None).opened(capabilities=capabilities)
    for number, said in enumerate(
        [
            call(0, "anything", {"a": [1.0, 2**60, "\x1b[0m", None]}, _meta={"baggage": "b", "x/y": 1}),
            request(0, "resources/subscribe", {"uri": "a:b"}),
            request(
                0, "completion/complete", {"ref": {"type": "ref/resource", "uri": "a:{b}"}, "argument": {}}
            ),
            request(0, "prompts/get", {"name": "p", "arguments": {}}),
            request(0, "logging/setLevel", {"level": "debug"}),
        ],
        2,
    ):
        play.host(said, to_server=[{**said, "id": number}], records=[{"decision": "allow"}])
        answer = {
            "content": [{"type": "resource_link", "uri": "data:x"}, 5],
            "structuredContent": {"a": 1.0},
            "z": None,
        }
        play.server(result(number, answer), to_host=[result(0, answer)])
    for number, method in enumerate(("sampling/createMessage", "elicitation/create", "roots/list"), 1):
        play.server(request(number, method, {}), to_host=[request(number, method, {})])


# --- changes of policy -------------------------------------------------------------------------------------


def test_another_policy_holds_from_the_next_message_on():
    play = Playbook().opened()
    play.host(
        call(1, "read_file"),
        call(2, "delete_all"),
        to_server=[call(2, "read_file")],
        to_host=[denial(2, "no-deleting")],
    )
    play.policy(POLICY.replace("delete_*", "read_*"))
    play.server(result(2, text("ok")), to_host=[result(1, text("ok"))])
    play.host(call(1, "read_file"), to_host=[denial(1, "no-deleting")])
    play.host(call(1, "delete_all"), to_host=[error(1, -32602, "Unknown tool: delete_all")])
    play.policy(None)
    play.host(call(1, "delete_all"), to_server=[call(3, "delete_all")])


# --- bytes -------------------------------------------------------------------------------------------------


def test_line_may_come_in_pieces_of_any_size():
    play = Playbook().opened()
    said = line(call(7, "read_file", {"a": "\u00e9"}))
    for at in range(len(said) - 1):
        play.host(said[at : at + 1], records=[])
    assert play.gate.partial(Side.HOST) == len(said) - 1
    play.host(said[-1:], to_server=[call(2, "read_file", {"a": "\u00e9"})])
    assert play.gate.partial(Side.HOST) == 0


@pytest.mark.parametrize("side", list(Side))
def test_line_that_never_ends_closes_the_connection(side):
    play = Playbook().opened()
    data = b"a" * limits.LINE_BYTES
    say = play.host if side is Side.HOST else play.server
    say(data)
    say(b"a", closed="more than one message may hold", records=[{"type": "drop", "side": side.value}])


@pytest.mark.parametrize("side", list(Side))
def test_line_that_was_not_finished_is_recorded_and_goes_nowhere(side):
    play = Playbook().opened()
    (play.host if side is Side.HOST else play.server)(b'{"jsonrpc":"2.0","id":1,"method":"ping"}')
    play.ended(side, records=[{"type": "drop", "side": side.value, "bytes": 40}])


def test_nothing_is_handled_behind_a_line_that_ends_the_connection():
    play = Playbook().opened()
    play.host(
        call(1, "read_file"),
        b"\xff\n",
        call(2, "read_file"),
        to_server=[call(2, "read_file")],
        closed="UTF-8",
    )


# --- what people are shown ---------------------------------------------------------------------------------


def test_claims_and_counts_are_shown():
    play = Playbook()
    assert play.gate.claims == ("", "", "")
    play.opened()
    assert play.gate.claims == ("host 1", "files 2", "2025-11-25")
    play.feed_host(
        call(1, "read_file"), call(2, "delete_all"), b'{"jsonrpc":"2.0"}\n', request(3, "nonsense")
    )
    assert play.gate.counts == {"allowed": 2, "denied": 2, "dropped": 1}
    assert play.gate.in_flight == 1


def test_claims_of_the_modern_era_come_from_the_envelope():
    play = Playbook()
    info = {"io.modelcontextprotocol/clientInfo": {"name": "h" * 500, "version": []}}
    play.feed_host(modern("d", "server/discover", **info))
    tags = {"io.modelcontextprotocol/serverInfo": {"name": "s", "version": "9"}}
    play.server(
        result(1, {"resultType": "complete", "_meta": tags}),
        to_host=[result("d", {"resultType": "complete", "_meta": tags})],
    )
    assert play.gate.claims == ("h" * limits.NAME_CHARS, "s 9", "modern")
