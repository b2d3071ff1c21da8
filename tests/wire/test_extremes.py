"""What is not one line and its verdict: lines without end, lines cut off, batches, first messages, floods, asks."""

import json
import time

import pytest

from mcpguard import limits
from tests.wire.classes import ANSWER, CALL, OTHER, SCHEMA
from tests.wire.connection import Connection, enveloped
from tests.wire.guard import MEMORY_BYTES, SECONDS, Guard
from tests.wire.verdicts import canonical, is_no

CHUNK = b"A" * (1 << 16)


def await_drop(connection: Connection, reason: str) -> None:
    """Wait until the log says that bytes of this connection were dropped, and why."""
    until = time.monotonic() + SECONDS
    while True:
        drops = [r["reason"] for r in connection.guard.records(connection.conn) if r["type"] == "drop"]
        if any(reason in found for found in drops):
            return
        assert time.monotonic() < until, drops
        time.sleep(0.01)


@pytest.mark.parametrize("sockets", [False, True], ids=["pipes", "sockets"])
def test_a_line_of_the_host_without_end_ends_the_connection_within_bounds(
    guard: Guard, sockets: bool
) -> None:
    before = guard.memory()
    with Connection(guard, sockets=sockets) as connection:
        connection.open_legacy()
        _, arrived = connection.mark()
        connection.send(b'{"jsonrpc":"2.0","id":1,"x":"')
        for _ in range(limits.LINE_BYTES // len(CHUNK)):
            connection.send(CHUNK)
            assert guard.memory() - before < MEMORY_BYTES
        connection.await_end()
        assert len(connection.to_server.lines) == arrived
        assert not connection.to_server.rest
        await_drop(connection, "longer than")


def test_a_line_of_the_server_without_end_ends_the_connection_within_bounds(guard: Guard) -> None:
    before = guard.memory()
    with Connection(guard) as connection:
        connection.open_legacy()
        told, _ = connection.mark()
        connection.request(CALL)
        connection.serve(b'{"jsonrpc":"2.0","id":1,"x":"', *[CHUNK] * (limits.LINE_BYTES // len(CHUNK)))
        connection.await_end()
        assert guard.memory() - before < MEMORY_BYTES
        lines = [json.loads(line) for line in connection.to_host.lines[told:]]
        assert [line["id"] for line in lines] == [7]
        assert is_no(lines[0])
        assert not connection.to_host.rest


def test_the_longest_line_passes(guard: Guard) -> None:
    room = limits.LINE_BYTES - len(CALL)
    with Connection(guard) as connection:
        connection.open_legacy()
        line = CALL.replace(b"/data/a.txt", b"/data/a.txt" + b"A" * room)
        assert len(line) == limits.LINE_BYTES
        seen = connection.request(line)
        assert len(seen["params"]["arguments"]["path"]) == room + len("/data/a.txt")
        text = "B" * (limits.LINE_BYTES - 200)
        assert (
            connection.answer(seen["id"], {"content": [{"type": "text", "text": text}]})["result"]["content"][
                0
            ]["text"]
            == text
        )


@pytest.mark.parametrize("sockets", [False, True], ids=["pipes", "sockets"])
def test_half_a_line_at_the_end_is_dropped_and_recorded(guard: Guard, sockets: bool) -> None:
    with Connection(guard, sockets=sockets) as connection:
        connection.open_legacy()
        _, arrived = connection.mark()
        connection.send(CALL)
        connection.hang_up()
        connection.await_end()
        assert len(connection.to_server.lines) == arrived
        assert not connection.to_server.rest
    await_drop(connection, "inside a line")


def test_half_a_line_of_the_server_at_the_end_is_dropped_and_its_caller_told(guard: Guard) -> None:
    with Connection(guard) as connection:
        connection.open_legacy()
        seen = connection.request(CALL)
        told, _ = connection.mark()
        connection.serve(ANSWER.replace(b'"id":7', b'"id":%d' % seen["id"]))
        connection.settle()
        connection.end_server()
        connection.await_end()
        lines = [json.loads(line) for line in connection.to_host.lines[told:]]
        assert [line["id"] for line in lines] == [7]
        assert "error" in lines[0]
        assert not connection.to_host.rest
    await_drop(connection, "inside a line")


# --- batches ------------------------------------------------------------------------------------------------


def test_each_message_of_a_batch_is_judged(guard: Guard) -> None:
    with Connection(guard) as connection:
        connection.open_legacy("2025-03-26")
        mark = connection.mark()
        connection.send(b"[" + CALL + b"," + OTHER + b',{"jsonrpc":"2.0","method":"notifications/evil"}]\n')
        told, arrived = connection.good(mark)
        assert [json.loads(line)["params"]["name"] for line in arrived] == ["read_file"]
        answers = [json.loads(line) for line in told]
        assert [answer["id"] for answer in answers] == [8]
        assert is_no(answers[0])


@pytest.mark.parametrize(
    "line",
    [b"[]", b"[[" + CALL + b"]]", b"[1]", b"[" + b",".join([OTHER.replace(b'"id":8', b'"id":"%d"' % n) for n in range(300)]) + b"]"],
    ids=["empty", "nested", "scalar", "300 calls"],
)  # fmt: skip
def test_an_unfit_batch_is_refused_whole(guard: Guard, line: bytes) -> None:
    with Connection(guard) as connection:
        connection.open_legacy("2025-03-26")
        mark = connection.mark()
        connection.send(line + b"\n")
        told, arrived = connection.good(mark)
        assert not arrived
        assert all(is_no(json.loads(answer)) for answer in told)
        assert len({json.loads(answer)["id"] for answer in told}) == len(told)


def test_a_batch_of_answers_reaches_each_caller_once(guard: Guard) -> None:
    with Connection(guard) as connection:
        connection.open_legacy("2025-03-26")
        first, second = (connection.request(CALL.replace(b'"id":7', b'"id":%d' % n))["id"] for n in (7, 8))
        told, _ = connection.mark()
        lines = [ANSWER.replace(b'"id":7', b'"id":%d' % n) for n in (second, first, 999, first)]
        connection.serve(b"[" + b",".join(lines) + b"]\n")
        connection.settle()
        got, arrived = connection.good((told, len(connection.to_server.lines)))
        assert not arrived
        assert [json.loads(line)["id"] for line in got] == [8, 7]
        assert all(line == canonical(line) for line in got)


# --- eras ---------------------------------------------------------------------------------------------------


def test_nothing_passes_before_initialize(guard: Guard) -> None:
    with Connection(guard) as connection:
        answer = connection.request(CALL)
        assert "error" in answer
        assert answer["id"] == 7
        answer = connection.request(b'{"jsonrpc":"2.0","id":8,"method":"tools/list"}')
        assert "error" in answer
        assert answer["id"] == 8
        connection.open_legacy()
        assert connection.good() == ([], [])


@pytest.mark.parametrize("first", [CALL, enveloped(CALL).replace(b"2026-07-28", b"2099-01-01"), OTHER])
def test_a_refused_first_message_fixes_no_era(guard: Guard, first: bytes) -> None:
    for era in ("legacy", "modern"):
        with Connection(guard) as connection:
            assert "error" in connection.request(first)
            connection.open_legacy() if era == "legacy" else connection.open_modern()
            assert connection.good() == ([], [])


def test_a_modern_request_in_a_legacy_connection_is_refused(guard: Guard) -> None:
    with Connection(guard) as connection:
        connection.open_legacy()
        mark = connection.mark()
        connection.send(enveloped(CALL) + b"\n")
        told, arrived = connection.good(mark)
        assert not arrived
        assert [json.loads(line)["id"] for line in told] == [7]
        assert is_no(json.loads(told[0]))


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_a_server_asks_nothing_of_a_host_that_has_said_nothing(guard: Guard, era: str) -> None:
    with Connection(guard, "wire-asking") as connection:
        connection.serve(ASKS["sampling"] + b"\n")
        connection.until(lambda: bool(connection.to_server.lines), "the answer to the server")
        answer = json.loads(connection.to_server.lines[0])
        assert answer["id"] == 70
        assert is_no(answer)
        assert not connection.to_host.lines
        connection.open_legacy() if era == "legacy" else connection.open_modern()
        assert connection.good() == ([], [])


# --- floods -------------------------------------------------------------------------------------------------


def test_a_server_that_keeps_printing_what_is_no_message_is_closed(guard: Guard) -> None:
    with Connection(guard) as connection:
        connection.open_legacy()
        told, _ = connection.mark()
        connection.serve(b"{}\n" * (limits.BAD_SERVER_LINES + 1))
        connection.await_end()
        assert len(connection.to_host.lines) == told


def test_plain_prints_of_a_server_do_not_close_it(guard: Guard) -> None:
    with Connection(guard) as connection:
        connection.open_legacy()
        mark = connection.mark()
        connection.serve(b"npm WARN deprecated\n" * 500)
        connection.settle()
        assert connection.good(mark) == ([], [])


def test_every_dropped_line_of_a_flood_is_counted_in_the_log(guard: Guard) -> None:
    flood = 3 * limits.DROP_RECORDS_PER_SECOND
    with Connection(guard) as connection:
        connection.open_legacy()
        connection.serve(b"npm WARN deprecated\n" * flood)
        connection.settle()
        assert connection.good() == ([], [])
    await_drop(connection, "too many to record each")
    drops = [r for r in connection.guard.records(connection.conn) if r["type"] == "drop"]
    rest = sum(int(r["reason"].split()[0]) for r in drops if "too many" in r["reason"])
    own = sum("too many" not in r["reason"] for r in drops)
    assert own >= limits.DROP_RECORDS_PER_SECOND
    assert own + rest == flood


def test_no_more_tools_than_the_bound_are_shown(guard: Guard) -> None:
    with Connection(guard, "wire-open") as connection:
        connection.open_legacy()
        seen = connection.request(b'{"jsonrpc":"2.0","id":3,"method":"tools/list"}')
        tools = [{"name": f"t{n}", "inputSchema": json.loads(SCHEMA)} for n in range(500)]
        shown = connection.answer(seen["id"], {"tools": tools})["result"]["tools"]
        assert [tool["name"] for tool in shown] == [f"t{n}" for n in range(limits.TOOLS)]


def test_pages_without_end_are_withheld(guard: Guard) -> None:
    with Connection(guard) as connection:
        connection.open_legacy()
        cursor = ""
        for page in range(limits.LIST_PAGES + 1):
            params = b',"params":{"cursor":"%b"}' % cursor.encode() if cursor else b""
            seen = connection.request(b'{"jsonrpc":"2.0","id":%d,"method":"tools/list"%b}' % (page, params))
            answer = connection.answer(seen["id"], {"tools": [], "nextCursor": f"c{page}"})
            if page == limits.LIST_PAGES:
                assert "error" in answer
                return
            cursor = answer["result"]["nextCursor"]


def test_a_call_that_asks_back_without_end_is_stopped(guard: Guard) -> None:
    with Connection(guard) as connection:
        connection.open_modern()
        retry = CALL.replace(b"}}}", b'},"requestState":"again","inputResponses":{}}}')
        for rounds in range(limits.ROUNDS + 1):
            seen = connection.request(enveloped(retry if rounds else CALL))
            answer = connection.answer(seen["id"], {"resultType": "input_required", "requestState": "again"})
            assert ("error" in answer) == (rounds == limits.ROUNDS)


# --- what a server asks of the host -------------------------------------------------------------------------

DECLARED = b'{"sampling":{},"elicitation":{"form":{},"url":{}},"roots":{}}'


def ask(connection: Connection, line: bytes) -> tuple[list[bytes], list[bytes]]:
    mark = connection.mark()
    connection.serve(line + b"\n")
    connection.settle()
    return connection.good(mark)


def elicitation(members: bytes) -> bytes:
    return (
        b'{"jsonrpc":"2.0","id":70,"method":"elicitation/create","params":{"message":"Log in",%b}}' % members
    )


def url(text: bytes) -> bytes:
    return elicitation(b'"mode":"url","elicitationId":"e","url":"%b"' % text)


HARMFUL = {
    "password": elicitation(
        b'"requestedSchema":{"type":"object","properties":{"Password":{"type":"string"}}}'
    ),
    "passwd inside": elicitation(
        b'"requestedSchema":{"type":"object","properties":{"db_passwd_2":{"type":"string"}}}'
    ),
    "secret": elicitation(
        b'"requestedSchema":{"type":"object","properties":{"client_secret":{"type":"string"}}}'
    ),
    "user information": url(b"https://github.com@evil.example/login"),
    "user and password": url(b"https://a:b@evil.example/"),
    "empty user": url(b"https://@evil.example/"),
    "javascript": url(b"javascript:fetch(1)"),
    "file": url(b"file:///etc/shadow"),
    "option": url(b"--version"),
    "no host": url(b"https:///login"),
    "relative": url(b"//evil.example/"),
    "newline": url(b"https://a.example/\\nb"),
    "right-to-left": url(b"https://a.example/\\u202e"),
    "not a string": elicitation(b'"mode":"url","elicitationId":"e","url":1'),
    "broken address": url(b"https://[::1/"),
}


@pytest.mark.parametrize("line", HARMFUL.values(), ids=HARMFUL)
def test_a_harmful_ask_never_reaches_the_host_whatever_policy_says(guard: Guard, line: bytes) -> None:
    with Connection(guard, "wire-asking") as connection:
        connection.open_legacy(capabilities=DECLARED)
        told, arrived = ask(connection, line)
        assert not told
        answers = [json.loads(answer) for answer in arrived]
        assert [answer["id"] for answer in answers] == [70]
        assert is_no(answers[0])


ASKS = {
    "sampling": b'{"jsonrpc":"2.0","id":70,"method":"sampling/createMessage","params":{"messages":[],"maxTokens":1}}',
    "form": elicitation(b'"requestedSchema":{"type":"object","properties":{"city":{"type":"string"}}}'),
    "page": url(b"https://a.example/login"),
    "roots": b'{"jsonrpc":"2.0","id":70,"method":"roots/list"}',
}


@pytest.mark.parametrize("line", ASKS.values(), ids=ASKS)
def test_an_ask_reaches_the_host_only_where_policy_grants_it(guard: Guard, line: bytes) -> None:
    with Connection(guard, "wire-asking") as connection:
        connection.open_legacy(capabilities=DECLARED)
        told, arrived = ask(connection, line)
        assert not arrived
        (asked,) = (json.loads(each) for each in told)
        assert type(asked["id"]) is int
        sent = json.loads(line)
        assert (asked["method"], asked.get("params")) == (sent["method"], sent.get("params"))
        _, before = connection.mark()
        for ident in (b'"%d"', b"%d.0", b"%d", b"%d"):
            connection.send(b'{"jsonrpc":"2.0","id":%b,"result":{}}\n' % (ident % asked["id"]))
        _, answers = connection.good((len(connection.to_host.lines), before))
        assert [json.loads(answer)["id"] for answer in answers] == [70], "the first exact answer counts, once"
    with Connection(guard) as connection:
        connection.open_legacy(capabilities=DECLARED)
        told, arrived = ask(connection, line)
        assert not told
        answers = [json.loads(answer) for answer in arrived]
        assert [answer["id"] for answer in answers] == [70]
        assert is_no(answers[0])
