"""Streamable HTTP as a server, through a real daemon and `mcpguard serve`: each rule of each era, by raw peers."""

import base64
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lifecycle.land import Land, Registered
from tests.lifecycle.peers import LEGACY, META, MODERN, Peer, Served, talking
from tests.lifecycle.stage import until


@pytest.fixture(scope="module")
def land() -> Iterator[Land]:
    with Land() as made:
        made.serve()
        yield made.found()


@pytest.fixture(scope="module")
def server(land: Land) -> Registered:
    return talking(land)


@pytest.fixture(scope="module")
def place(land: Land, server: Registered) -> Iterator[Path]:
    path = land.root / "guard.sock"
    with Served(land, "--listen", f"unix:{path}", "--name", "door"):
        yield path


@pytest.fixture
def peer(place: Path, server: Registered) -> Iterator[Peer]:
    (server.home / "go").unlink(missing_ok=True)
    with Peer(place) as made:
        yield made
        if made.session:
            with made.again() as other:
                other.send("DELETE")


PING = {"jsonrpc": "2.0", "id": 9, "method": "ping"}


# --- sessions ------------------------------------------------------------------------------------------------


def test_a_session_begins_goes_on_and_ends(peer: Peer) -> None:
    told = peer.greet()
    assert told.told["result"]["serverInfo"]["name"] == "talking"
    assert len(peer.session) >= 43
    assert peer.session.isascii()
    assert peer.session.isprintable()
    names = [
        tool["name"]
        for tool in peer.post({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).message()["result"][
            "tools"
        ]
    ]
    assert names == ["now", "later", "hang", "ask", "say", "big"]
    assert json.loads(peer.call(2, "now", x=1).message()["result"]["content"][0]["text"])["x"] == 1
    assert peer.send("DELETE").drained() == 204
    answer = peer.post(PING)
    assert answer.status == 404
    assert "no such session" in answer.error()[1]
    peer.session = ""


def test_no_two_sessions_have_the_same_name_or_server_process(place: Path) -> None:
    with Peer(place) as one, Peer(place) as other:
        one.greet(), other.greet()
        assert one.session != other.session
        pids = {
            json.loads(each.call(1, "now").message()["result"]["content"][0]["text"])["pid"]
            for each in (one, other)
        }
        assert len(pids) == 2
        assert one.send("DELETE").drained() == other.send("DELETE").drained() == 204


def test_the_id_of_initialize_may_be_used_again(peer: Peer) -> None:
    peer.greet()
    assert peer.call(0, "now").drained() == 200
    assert peer.call(0, "now").drained() == 200


def test_requests_without_a_session_or_with_an_unknown_one_are_told_to_begin(peer: Peer) -> None:
    answer = peer.post(PING)
    assert answer.status == 400
    assert "initialize" in answer.error()[1]
    assert peer.post(PING, Mcp_Session_Id="x" * 43).drained() == 404
    assert peer.send("GET", Mcp_Session_Id="x" * 43).drained() == 404
    assert peer.send("DELETE", Mcp_Session_Id="x" * 43).drained() == 404
    assert peer.send("GET").drained() == 400


def test_a_session_belongs_to_its_server(land: Land, peer: Peer) -> None:
    other = land.server("other").registered()
    peer.greet()
    assert peer.send("POST", PING, path="/mcp/other").drained() == 404
    assert other.started() == 0


@pytest.mark.parametrize("version", ["2025-03-26", "2025-06-18", "2025-11-25"])
def test_every_legacy_revision_is_spoken(peer: Peer, version: str) -> None:
    assert peer.greet(version).told["result"]["protocolVersion"] == version
    assert peer.post(PING).message() == {"jsonrpc": "2.0", "id": 9, "result": {}}


def test_the_version_of_a_session_is_held_against_its_header(peer: Peer) -> None:
    peer.greet()
    assert peer.post(PING, MCP_Protocol_Version="2025-06-18").drained() == 400
    assert peer.post(PING, MCP_Protocol_Version="nonsense").drained() == 400
    assert peer.post(PING, MCP_Protocol_Version=MODERN).drained() == 400
    assert peer.post(PING, MCP_Protocol_Version=None).drained() == 400
    assert peer.post(PING).drained() == 200


def test_the_oldest_revision_needs_no_version_header(peer: Peer) -> None:
    peer.greet("2025-03-26")
    assert peer.post(PING, MCP_Protocol_Version=None).drained() == 200


def test_a_batch_is_answered_in_the_one_revision_that_has_them(peer: Peer) -> None:
    batch = [
        {**PING, "id": 1},
        {**PING, "id": "2"},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
    ]
    peer.greet("2025-03-26")
    found = [message for _, message in peer.post(batch).events() if message]
    assert sorted(str(each["id"]) for each in found) == ["1", "2"]
    assert peer.post(batch[2:]).drained() == 202
    assert peer.post([]).drained() == 400
    with Peer(peer.place) as other:
        other.greet()
        assert other.post(batch).drained() == 400
        assert other.post(PING).drained() == 200
        other.send("DELETE")


def test_an_id_that_waits_is_not_used_again(peer: Peer) -> None:
    peer.greet()
    waiting = peer.call(7, "hang")
    assert waiting.kind == "text/event-stream"
    with peer.again() as other:
        answer = other.call(7, "now")
        assert answer.status == 400
        assert "used again" in answer.error()[1]
        assert other.call("7", "now").drained() == 200  # another id


def test_notifications_and_answers_are_accepted_without_a_body(peer: Peer) -> None:
    peer.greet()
    answer = peer.post({"jsonrpc": "2.0", "method": "notifications/roots/list_changed"})
    assert (answer.status, answer.response.read()) == (202, b"")
    assert peer.post({"jsonrpc": "2.0", "id": 5, "result": {}}).drained() == 202


# --- streams -------------------------------------------------------------------------------------------------


def test_what_takes_longer_is_a_stream_with_its_progress(peer: Peer, server: Registered) -> None:
    peer.greet()
    answer = peer.call(3, "later", token="t-1")
    assert (answer.status, answer.kind) == (200, "text/event-stream")
    assert answer.field("Cache-Control") == "no-store"
    events = answer.events()
    first = next(events)
    assert first[1] is None
    assert first[0].endswith("-0")
    ident, progress = next(events)
    assert progress["params"]["progressToken"] == "t-1"
    (server.home / "go").touch()
    rest = [*events]
    assert rest[-1][1]["id"] == 3
    assert "result" in rest[-1][1]
    numbers = [int(each.partition("-")[2]) for each in (ident, *(name for name, _ in rest))]
    assert numbers == list(range(1, len(numbers) + 1))


def test_older_revisions_get_no_event_without_data(peer: Peer, server: Registered) -> None:
    peer.greet("2025-06-18")
    answer = peer.call(3, "later", token="t")
    assert next(answer.events())[1]["method"] == "notifications/progress"
    (server.home / "go").touch()


def test_a_broken_stream_is_no_cancel_and_goes_on_where_it_broke(peer: Peer, server: Registered) -> None:
    peer.greet()
    events = peer.call(3, "later", token="t").events()
    seen = [next(events) for _ in range(3)]
    last = seen[-1][0]
    peer.connection.sock.close() if peer.connection.sock else None
    peer.close()
    (server.home / "go").touch()
    with peer.again() as other:
        answer = other.send("GET", Accept="text/event-stream", Last_Event_ID=last)
        assert answer.status == 200
        found = [(ident, message) for ident, message in answer.events() if message]
        assert int(found[0][0].partition("-")[2]) == int(last.partition("-")[2]) + 1
        assert found[-1][1]["id"] == 3
        assert "result" in found[-1][1]
    assert not (server.home / "cancelled").exists()


def test_an_unknown_event_id_is_refused(peer: Peer) -> None:
    peer.greet()
    for last in ("9-1", "0-77", "x", "0-", "-1", "0-1000000000000"):
        assert peer.send("GET", Accept="text/event-stream", Last_Event_ID=last).drained() == 400


def test_the_servers_own_requests_travel_on_the_standalone_stream(peer: Peer, land: Land) -> None:
    land.policy(SAMPLING)
    try:
        peer.greet()
        with peer.again() as listening, peer.again() as answering:
            stream = listening.send("GET", Accept="text/event-stream")
            found: list[object] = []
            calling = threading.Thread(target=lambda: found.append(peer.call(4, "ask").message()))
            calling.start()
            asked = next(message for _, message in stream.events() if message)
            assert asked["method"] == "sampling/createMessage"
            said = {"role": "assistant", "content": {"type": "text", "text": "hello"}, "model": "m"}
            assert answering.post({"jsonrpc": "2.0", "id": asked["id"], "result": said}).drained() == 202
            calling.join(20)
            assert "hello" in json.dumps(found[0])
    finally:
        land.policy(ALLOW)


def test_without_a_standalone_stream_they_travel_with_what_waits(peer: Peer, land: Land) -> None:
    land.policy(SAMPLING)
    try:
        peer.greet()
        events = peer.call(4, "ask").events()
        asked = next(message for _, message in events if message)
        assert asked["method"] == "sampling/createMessage"
        with peer.again() as answering:
            error = {"code": -1, "message": "no"}
            assert answering.post({"jsonrpc": "2.0", "id": asked["id"], "error": error}).drained() == 202
        assert [*events][-1][1]["id"] == 4
    finally:
        land.policy(ALLOW)


def test_a_newer_reader_takes_over(peer: Peer) -> None:
    peer.greet()
    with peer.again() as old, peer.again() as new:
        first = old.send("GET", Accept="text/event-stream")
        assert next(first.events())[1] is None
        second = new.send("GET", Accept="text/event-stream")
        assert next(second.events())[1] is None
        assert [*first.events()] == []  # it has ended


# --- the modern era ------------------------------------------------------------------------------------------


def test_modern_requests_need_no_session(peer: Peer) -> None:
    answer = peer.modern("a", "server/discover")
    assert answer.status == 200
    assert answer.session == ""
    assert answer.json()["result"]["supportedVersions"] == [MODERN]
    called = peer.modern("a", "tools/call", {"name": "now", "arguments": {"x": 2}}).json()
    assert called["id"] == "a"
    assert json.loads(called["result"]["content"][0]["text"])["x"] == 2


def test_the_same_id_twice_at_a_time_is_two_requests(peer: Peer, server: Registered) -> None:
    with peer.again() as other:
        one = peer.modern(
            1, "tools/call", {"name": "later", "arguments": {"x": "one"}, "_meta": {"progressToken": "p"}}
        )
        two = other.modern(
            1, "tools/call", {"name": "later", "arguments": {"x": "two"}, "_meta": {"progressToken": "p"}}
        )
        assert next(one.events())[1]["params"]["progressToken"] == "p"
        assert next(two.events())[1]["params"]["progressToken"] == "p"
        (server.home / "go").touch()
        for answer, word in ((one, "one"), (two, "two")):
            last = [*answer.events()][-1][1]
            assert last["id"] == 1
            assert json.loads(last["result"]["content"][0]["text"])["x"] == word


def test_get_and_delete_are_not_allowed(peer: Peer) -> None:
    for method in ("GET", "DELETE"):
        answer = peer.send(method, MCP_Protocol_Version=MODERN)
        assert (answer.drained(), answer.field("Allow")) == (405, "POST")
    for method in ("PUT", "PATCH", "OPTIONS", "HEAD", "TRACE"):
        assert peer.send(method).drained() == 405


def test_a_closed_response_cancels(peer: Peer, server: Registered) -> None:
    cancelled = server.home / "cancelled"
    before = len(cancelled.read_text().splitlines()) if cancelled.exists() else 0
    with peer.again() as other:
        answer = other.modern(1, "tools/call", {"name": "hang", "arguments": {}})
        assert answer.kind == "text/event-stream"
    assert until(lambda: cancelled.exists() and len(cancelled.read_text().splitlines()) == before + 1)


def test_a_closed_connection_cancels_before_the_answer_begins(peer: Peer, server: Registered) -> None:
    cancelled = server.home / "cancelled"
    before = len(cancelled.read_text().splitlines()) if cancelled.exists() else 0
    body = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "hang", "arguments": {}, "_meta": META},
    }
    data = json.dumps(body).encode()
    sock = peer.again().connected()
    sock.sendall(
        b"POST /mcp/talk HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2026-07-28\r\n"
        b"Mcp-Method: tools/call\r\nMcp-Name: hang\r\nContent-Length: %d\r\n\r\n%b" % (len(data), data)
    )
    time.sleep(0.05)
    sock.close()
    assert until(lambda: cancelled.exists() and len(cancelled.read_text().splitlines()) == before + 1)


def test_an_unknown_method_is_404(peer: Peer) -> None:
    answer = peer.modern(1, "no/such")
    assert answer.status == 404
    assert answer.error()[0] == -32601


def test_an_unknown_revision_is_400(peer: Peer) -> None:
    version = {"io.modelcontextprotocol/protocolVersion": "2099-01-01"}
    answer = peer.modern(1, "tools/list", {"_meta": version}, MCP_Protocol_Version="2099-01-01")
    assert answer.status == 400
    assert answer.error()[0] == -32022


def test_a_request_without_meta_is_400(peer: Peer) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    answer = peer.post(body, MCP_Protocol_Version=MODERN, Mcp_Method="tools/list")
    assert answer.status == 400
    assert answer.error()[0] == -32602


def test_a_body_is_never_an_answer(peer: Peer) -> None:
    assert peer.post({"jsonrpc": "2.0", "id": 1, "result": {}}, MCP_Protocol_Version=MODERN).drained() == 400


@pytest.mark.parametrize(
    "fields",
    [
        {"MCP_Protocol_Version": None},
        {"MCP_Protocol_Version": "2025-11-25"},
        {"Mcp_Method": None},
        {"Mcp_Method": "tools/list"},
        {"Mcp_Method": "TOOLS/CALL"},
        {"Mcp_Name": None},
        {"Mcp_Name": "later"},
        {"Mcp_Name": "NOW"},
        {"Mcp_Name": f"=?base64?{base64.b64encode(b'hang').decode()}?="},
        {"Mcp_Name": "=?base64?***?="},
        {"Mcp_Param_Where": "there"},
        {"Mcp_Param_Where": None},
    ],
)
def test_a_header_that_says_otherwise_than_the_body_is_a_mismatch(
    peer: Peer, fields: dict[str, str | None]
) -> None:
    params = {"name": "now", "arguments": {"where": "here"}}
    answer = peer.modern(1, "tools/call", params, **({"Mcp_Param_Where": "here"} | fields))
    assert answer.status == 400, fields
    assert answer.error()[0] == -32020


@pytest.mark.parametrize("fields", [{"Mcp_Method": "tools/call"}, {"Mcp_Method": None}, {"Mcp_Name": "now"}])
def test_so_is_one_of_a_list(peer: Peer, fields: dict[str, str | None]) -> None:
    answer = peer.modern(1, "tools/list", **fields)
    assert answer.status == 400
    assert answer.error()[0] == -32020


def test_an_encoded_header_is_compared_decoded(peer: Peer) -> None:
    encoded = f"=?base64?{base64.b64encode(b'now').decode()}?="
    params = {"name": "now", "arguments": {"where": "böse"}}
    where = f"=?base64?{base64.b64encode('böse'.encode()).decode()}?="
    assert peer.modern(1, "tools/call", params, Mcp_Name=encoded, Mcp_Param_Where=where).drained() == 200


def test_a_parameter_that_no_definition_speaks_of_is_let_be(peer: Peer) -> None:
    params = {"name": "now", "arguments": {}}
    assert peer.modern(1, "tools/call", params, Mcp_Param_Other="x").drained() == 200


def test_notifications_are_accepted_and_cancel_what_they_name(peer: Peer, server: Registered) -> None:
    cancelled = server.home / "cancelled"
    before = len(cancelled.read_text().splitlines()) if cancelled.exists() else 0
    waiting = peer.modern("mine", "tools/call", {"name": "hang", "arguments": {}})
    body = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "mine"}}
    with peer.again() as other:
        assert other.post(body, MCP_Protocol_Version=MODERN).drained() == 202
    assert until(lambda: cancelled.exists() and len(cancelled.read_text().splitlines()) == before + 1)
    assert [*waiting.events()] == []


# --- what is asked of every request --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"Accept": "application/json"}, 406),
        ({"Accept": "text/event-stream"}, 406),
        ({"Accept": "application/json, text/event-stream;q=0"}, 406),
        ({"Accept": None}, 406),
        ({"Accept": "*/*"}, 200),
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content_Type": "application/json; charset=utf-16"}, 415),
        ({"Content_Type": "application/json; charset=UTF-8"}, 200),
        ({"Content_Type": None}, 415),
        ({"Content_Encoding": "gzip"}, 415),
        ({"Host": "attacker.example"}, 421),
        ({"Host": "localhost.attacker.example"}, 421),
        ({"Host": "127.0.0.1"}, 421),
        ({"Host": None}, 400),
        ({"Origin": "http://localhost"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Expect": "200-ok"}, 417),
    ],
)
def test_form_of_a_request(peer: Peer, fields: dict[str, str | None], status: int) -> None:
    peer.greet()
    with peer.again() as other:
        answer = other.post(PING, **fields)
        assert answer.status == status
        if status != 200:
            assert answer.error()[1].count("\n") == 0


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/mcp",
        "/mcp/",
        "/mcp/none-such",
        "/mcp/talk/",
        "/mcp/talk?x=1",
        "/mcp/../mcp/talk",
        "/mcp/%74alk",
        "/sse",
    ],
)
def test_there_is_nothing_else(peer: Peer, path: str) -> None:
    hello = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "p", "version": "1"}}
    answer = peer.send(
        "POST", {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello}, path=path
    )
    assert answer.status == 404, answer.response.read()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/list"}', 400),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/list"}', 400),
        (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', 400),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}', 400),
        (b'\xef\xbb\xbf{"jsonrpc":"2.0","id":1,"method":"ping"}', 400),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":NaN}}', 400),
        (b"1", 400),
        (b"", 400),
        (b' {\n"jsonrpc": "2.0",\r\n\t"id": 1, "method": "ping"}\n', 200),
    ],
)
def test_a_body_is_read_strictly(peer: Peer, body: bytes, status: int) -> None:
    peer.greet()
    with peer.again() as other:
        assert other.post(body).drained() == status


def test_a_body_beyond_the_bound_is_not_read(peer: Peer) -> None:
    peer.greet()
    with peer.again() as other:
        assert other.post(b"x", Content_Length=str(9 << 20)).drained() == 413
    with peer.again() as other:
        answer = other.call(1, "now", x="y" * (7 << 20))
        assert answer.drained() == 200


def test_a_big_answer_arrives_whole(peer: Peer) -> None:
    peer.greet()
    answer = peer.call(1, "big", bytes=5 << 20)
    assert len(answer.message()["result"]["content"][0]["text"]) == 5 << 20


def test_what_policy_denies_is_denied_here(land: Land, peer: Peer) -> None:
    land.policy(ONLY_NOW)
    try:
        peer.greet()
        names = [
            tool["name"]
            for tool in peer.post({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).message()["result"][
                "tools"
            ]
        ]
        assert names == ["now"]
        assert peer.call(2, "now").message()["result"].get("isError") is None
        assert "Unknown tool" in json.dumps(peer.call(3, "big").message())
    finally:
        land.policy(ALLOW)


def test_calls_are_recorded_under_the_principal(land: Land, peer: Peer) -> None:
    peer.greet()
    peer.call(2, "now").message()
    found = until(
        lambda: [each for each in land.records() if each["type"] == "call" and each.get("tool") == "now"]
    )
    host = found[-1]["host"]
    assert (host["principal"], host["listener"], host["credential"]) == (
        f"uid:{host['uid']}",
        "door",
        f"uid:{host['uid']}",
    )


ALLOW = 'version = 1\nmode = "enforce"\n[[rule]]\nid = "all"\nserver = "*"\ntools = ["*"]\neffect = "allow"\n'
SAMPLING = ALLOW + '[[rule]]\nid = "sample"\nserver = "*"\nsampling = true\neffect = "allow"\n'
ONLY_NOW = (
    'version = 1\nmode = "enforce"\n[[rule]]\nid = "peers"\nwho = ["role:peers"]\nserver = "talk"\ntools = ["now"]\n'
    'effect = "allow"\n[roles]\npeers = ["cert:build-agent", "uid:UID"]\n'
).replace("UID", str(__import__("os").getuid()))
