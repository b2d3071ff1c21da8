"""Streamable HTTP as a client: sessions, streams, resumption, the headers of both eras, and servers without manners.

The names of tests with `73` belong to the corpus of wire attacks.
"""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from mcpguard import limits
from mcpguard.daemon import streamable
from mcpguard.errors import UpstreamError
from tests.daemon.bridges import Side, bridged
from tests.daemon.loops import both_loops, eventually, run
from tests.fakes.remotes import GREETING, STREAM, Remote, Request, answer, event

Story = Callable[[Side, Remote], Awaitable[None]]


def play(place: Path, story: Story, loop: str = "uvloop", **more: Any) -> None:
    """Run a story against a server."""

    async def whole() -> None:
        async with bridged(place, **more) as (side, server):
            await story(side, server)

    run(whole, loop)


def says(server: Remote, method: str, *data: bytes) -> None:
    """Make a server answer one method with these bytes and hang up, the first time first; others as usual."""
    left = list(data)

    async def handler(request: Request) -> bytes:
        if request.name != method:
            return await server.handle(request)
        await request.send(left.pop(0) if len(left) > 1 else left[0])
        return b""

    server.handler = handler


def greeting(request: Request, **fields: str) -> bytes:
    return answer(200, {"jsonrpc": "2.0", "id": request.message["id"], "result": GREETING}, **fields)


# --- sessions ----------------------------------------------------------------------------------------------------


@both_loops
def test_legacy_session_from_greeting_to_goodbye(tmp_path: Path, loop: str) -> None:

    async def story(side: Side, server: Remote) -> None:
        async def handler(request: Request) -> bytes:
            if request.name == "initialize":
                return greeting(request, mcp_session_id="s-1")
            return await server.handle(request)

        server.handler = handler
        assert (await side.greet())["result"] == GREETING
        assert (await side.ask("tools/list"))["result"] == {"echo": {}}
        await eventually(lambda: server.named("GET"))
        first, initialized = server.requests[:2]
        assert initialized.name == "notifications/initialized"
        assert "mcp-session-id" not in first.fields
        assert "mcp-protocol-version" not in first.fields
        assert first.fields["accept"] == "application/json, text/event-stream"
        assert first.fields["content-type"] == "application/json"
        for request in server.requests[1:]:
            assert request.fields["mcp-session-id"] == "s-1"
            assert request.fields["mcp-protocol-version"] == "2025-11-25"
            assert "mcp-method" not in request.fields
        (get,) = server.named("GET")
        assert get.fields["accept"] == "text/event-stream"
        side.outlet.close()
        await side.bridge.gone()
        (delete,) = server.named("DELETE")
        assert delete.fields["mcp-session-id"] == "s-1"

    play(tmp_path, story, loop)


def test_first_revision_does_not_say_which_one_it_is(tmp_path: Path) -> None:
    async def story(side: Side, server: Remote) -> None:
        async def handler(request: Request) -> bytes:
            if request.name == "initialize":
                return request.result(**{**GREETING, "protocolVersion": "2025-03-26"})
            return await server.handle(request)

        server.handler = handler
        await side.greet()
        await side.ask("tools/list")
        assert all("mcp-protocol-version" not in request.fields for request in server.requests)

    play(tmp_path, story)


def test_nothing_overtakes_the_end_of_the_handshake(tmp_path: Path) -> None:
    async def story(side: Side, server: Remote) -> None:
        gate = asyncio.Event()

        async def handler(request: Request) -> bytes:
            if request.name == "notifications/initialized":
                await gate.wait()
            return await server.handle(request)

        server.handler = handler
        await side.greet()
        idents = [side.send("tools/list"), side.send("prompts/list")]
        await eventually(lambda: server.named("notifications/initialized"))
        await asyncio.sleep(0.05)
        assert len(server.requests) == 2
        gate.set()
        assert sorted([(await side.line())["id"], (await side.line())["id"]]) == idents

    play(tmp_path, story)


@pytest.mark.parametrize("session", ["a b", "ä", "x" * 1025])
def test_session_id_that_cannot_be_sent_back_is_refused(tmp_path: Path, session: str) -> None:
    async def story(side: Side, server: Remote) -> None:
        async def handler(request: Request) -> bytes:
            return greeting(request, mcp_session_id=session)

        server.handler = handler
        assert "session id that cannot be sent back" in await side.error("initialize")

    play(tmp_path, story)


@pytest.mark.parametrize("change", ["", "another greeting", "subscribed", "forgets again"])
def test_session_that_the_server_forgot_is_begun_anew_where_nobody_notices(
    tmp_path: Path, change: str
) -> None:
    async def story(side: Side, server: Remote) -> None:
        sessions = iter(["s-1", "s-2", "s-3"])
        current = [""]

        async def handler(request: Request) -> bytes:
            if request.name == "initialize":
                current[0] = next(sessions)
                info = (
                    {"name": "r", "version": "2"}
                    if change == "another greeting" and current[0] == "s-2"
                    else None
                )
                found = {**GREETING, **({"serverInfo": info} if info else {})}
                return answer(
                    200,
                    {"jsonrpc": "2.0", "id": request.message["id"], "result": found},
                    mcp_session_id=current[0],
                )
            if request.fields.get("mcp-session-id") != current[0] or (
                change == "forgets again" and request.name == "tools/call"
            ):
                return answer(404)
            return await server.handle(request)

        server.handler = handler
        await side.greet()
        if change == "subscribed":
            await side.ask("resources/subscribe", uri="x:y")
        await side.ask("tools/list")
        current[0] = "forgotten"
        if change:
            sentence = await side.error("tools/call", name="x")
            assert {
                "another greeting": "is another one now",
                "subscribed": "what was subscribed",
                "forgets again": "HTTP 404",
            }[change] in sentence
        else:
            assert (await side.ask("tools/call", name="x"))["result"]["echo"]["name"] == "x"
            assert len(server.named("initialize")) == 2
            assert len(server.named("notifications/initialized")) == 2
            assert [r.fields["mcp-session-id"] for r in server.named("tools/call")] == ["s-1", "s-2"]
        assert len(server.named("tools/call")) <= 2

    play(tmp_path, story)


# --- answers -----------------------------------------------------------------------------------------------------


@both_loops
@pytest.mark.parametrize(
    "data",
    [
        b'{"jsonrpc":"2.0","id":1,"result":{}}',
        b'{\n  "jsonrpc": "2.0",\r\n  "id": 1,\n "result": {}}\n',
        b'[{"jsonrpc":"2.0","id":1,"result":{}}]',
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_answer_becomes_one_line(tmp_path: Path, loop: str, data: bytes, streamed: bool) -> None:
    async def story(side: Side, server: Remote) -> None:
        if streamed:
            lines = b"".join(b"data: " + line + b"\n" for line in data.replace(b"\r", b"").split(b"\n"))
            says(server, "tools/list", STREAM + lines + b"\n")
        else:
            head = b"HTTP/1.1 200 X\r\ncontent-type: application/json; charset=utf-8\r\ncontent-length: %d\r\n\r\n"
            says(server, "tools/list", head % len(data) + data)
        side.send("tools/list")
        line = await asyncio.wait_for(side.lines.get(), 10)
        found = json.loads(line)
        assert (found[0] if isinstance(found, list) else found) == {"jsonrpc": "2.0", "id": 1, "result": {}}

    play(tmp_path, story, loop)


def test_73_event_stream_with_carriage_returns_is_read(tmp_path: Path) -> None:
    """htp-018."""

    async def story(side: Side, server: Remote) -> None:
        says(server, "tools/list", STREAM + b'data: {"jsonrpc":"2.0","id":1,"result":{}}\r\r')
        assert (await side.ask("tools/list"))["result"] == {}

    play(tmp_path, story)


@both_loops
def test_server_asks_on_the_stream_of_a_call_and_its_answer_is_posted(tmp_path: Path, loop: str) -> None:
    async def story(side: Side, server: Remote) -> None:
        answered = asyncio.Event()

        async def handler(request: Request) -> bytes:
            if request.name == "answer":
                answered.set()
            if request.name != "tools/call":
                return await server.handle(request)
            await request.send(
                STREAM + event({"jsonrpc": "2.0", "method": "notifications/message", "params": {}})
            )
            await request.send(event({"jsonrpc": "2.0", "id": 7, "method": "roots/list"}))
            await answered.wait()
            await request.send(request.event(done=True))
            return b""

        server.handler = handler
        side.send("tools/call", name="x")
        assert (await side.line())["method"] == "notifications/message"
        assert (await side.line())["method"] == "roots/list"
        side.write({"id": 7, "result": {"roots": []}})
        assert (await side.line())["result"] == {"done": True}
        (posted,) = server.named("answer")
        assert posted.message["result"] == {"roots": []}

    play(tmp_path, story, loop)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (answer(202), "HTTP 202 and nothing"),
        (answer(204), "HTTP 204 and nothing"),
        (answer(503), "HTTP 503"),
        (answer(401), "wants authorisation (HTTP 401)"),
        (answer(403), "wants authorisation (HTTP 403)"),
        (answer(404), "HTTP 404"),
        (answer(500, {"detail": "oops"}), "HTTP 500"),
        (b"HTTP/1.1 200 X\r\ncontent-type: text/html\r\ncontent-length: 2\r\n\r\nhi", "text/html"),
        (b"HTTP/1.1 200 X\r\ncontent-length: 2\r\n\r\n{}", "application/octet-stream"),
        (answer(200, "text"), "what is no message"),
        (answer(200, {"jsonrpc": "2.0", "id": 99, "result": {}}), "another request"),
        (answer(200, {"jsonrpc": "2.0", "id": "1", "result": {}}), "another request"),
        (answer(307, location="http://169.254.169.254/"), "a redirect"),
        (answer(200, {"x": 1}, content_encoding="gzip"), "compressed"),
        (STREAM, "ended the stream before"),
        (STREAM + b"data: {\n\n", "what is no message"),
        (STREAM + b": keep-alive\n\n", "ended the stream before"),
        (
            b"HTTP/1.1 200 X\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{",
            "broke the connection",
        ),
        (b"", "broke the connection"),
    ],
)
def test_request_without_an_answer_gets_a_sentence(tmp_path: Path, data: bytes, words: str) -> None:
    async def story(side: Side, server: Remote) -> None:
        says(server, "tools/call", data)
        ident = side.send("tools/call", name="x")
        while (found := await side.line()).get("id") != ident:
            pass
        assert words in found["error"]["message"]
        assert found["error"]["code"] in (50201, 50202)
        assert len(server.named("tools/call")) == 1  # nothing is sent a second time
        assert (await side.ask("ping"))["result"] == {"echo": {}}  # and the connection goes on

    play(tmp_path, story)


@pytest.mark.parametrize("ident", [1, None, "absent"])
def test_error_of_a_server_arrives_whatever_id_it_has(tmp_path: Path, ident: Any) -> None:
    async def story(side: Side, server: Remote) -> None:
        error = {"code": -32020, "message": "header mismatch", "data": {"a": 1}}
        body = {"jsonrpc": "2.0", "id": ident, "error": error}
        if ident == "absent":
            del body["id"]
        says(server, "tools/call", answer(400, body))
        assert (await side.ask("tools/call", name="x"))["error"] == error

    play(tmp_path, story)


def test_notification_that_is_lost_does_not_end_anything(tmp_path: Path) -> None:
    async def story(side: Side, server: Remote) -> None:
        says(server, "notifications/roots/list_changed", answer(500))
        side.write({"method": "notifications/roots/list_changed"})
        assert (await side.ask("ping"))["result"] == {"echo": {}}

    play(tmp_path, story)


# --- bounds ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("endless", "words"),
    [
        (b": still here\n", "without an event"),
        (b"data: " + b"x" * 1000, "longer than"),
        (b"data: x\n", "longer than"),
        (b'data: {"jsonrpc":"2.0","method":"n"}\n\n', "events to one request"),
    ],
)
def test_endless_stream_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, endless: bytes, words: str
) -> None:
    monkeypatch.setattr(limits, "SSE_LINE_BYTES", 20_000)
    monkeypatch.setattr(limits, "SSE_CHATTER_BYTES", 20_000)
    monkeypatch.setattr(limits, "REMOTE_EVENTS", 100)

    async def story(side: Side, server: Remote) -> None:
        async def handler(request: Request) -> bytes:
            await request.send(STREAM)
            while True:
                await request.send(endless * 100)

        server.handler = handler
        side.send("tools/call", name="x")
        while "error" not in (found := await side.line()):
            pass
        assert words in found["error"]["message"]

    play(tmp_path, story)


def test_body_beyond_its_bound_is_refused(tmp_path: Path) -> None:
    async def story(side: Side, server: Remote) -> None:
        big = answer(200, {"jsonrpc": "2.0", "id": 1, "result": {"x": "y" * limits.LINE_BYTES}})
        says(server, "tools/call", big)
        assert "a body of more than" in await side.error("tools/call")

    play(tmp_path, story)


@pytest.mark.parametrize("bound", ["REMOTE_FIRST_BYTE_SECONDS", "REMOTE_IDLE_SECONDS"])
def test_silent_server_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str) -> None:
    monkeypatch.setattr(limits, bound, 0.2)

    async def story(side: Side, server: Remote) -> None:
        async def handler(request: Request) -> bytes:
            if bound == "REMOTE_IDLE_SECONDS":
                head = b"HTTP/1.1 200 X\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{"
                await request.send(head)
            await asyncio.sleep(60)
            return b""

        server.handler = handler
        assert "does not answer in time" in await side.error("tools/call")

    play(tmp_path, story)


def test_stream_that_stays_open_after_its_answer_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "REMOTE_TAIL_SECONDS", 0.1)

    async def story(side: Side, server: Remote) -> None:
        closed = asyncio.Event()

        async def handler(request: Request) -> bytes:
            await request.send(STREAM + request.event(done=True))
            try:
                while True:
                    await asyncio.sleep(0.01)
                    await request.send(b": still here\n")
            finally:
                closed.set()

        server.handler = handler
        assert (await side.ask("tools/call"))["result"] == {"done": True}
        await asyncio.wait_for(closed.wait(), 10)

    play(tmp_path, story)


# --- resumption --------------------------------------------------------------------------------------------------


@both_loops
def test_broken_stream_is_resumed_where_it_ended(tmp_path: Path, loop: str) -> None:
    async def story(side: Side, server: Remote) -> None:
        async def handler(request: Request) -> bytes:
            if request.name == "tools/call":
                await request.send(STREAM + b"id: e-0\nretry: 10\ndata:\n\n")  # a priming event
                await request.send(event({"jsonrpc": "2.0", "method": "notifications/message"}, "e-1"))
                await request.send(b'id: e-2\ndata: {"cut')
                return b""
            if request.name == "GET" and request.fields.get("last-event-id") == "e-1":
                return STREAM + event({"jsonrpc": "2.0", "method": "notifications/progress"}, "e-2")
            if request.name == "GET" and request.fields.get("last-event-id") == "e-2":
                return STREAM + event({"jsonrpc": "2.0", "id": 1, "result": {}}, "e-3")
            return await server.handle(request)

        server.handler = handler
        side.send("tools/call", name="x")
        assert (await side.line())["method"] == "notifications/message"
        assert (await side.line())["method"] == "notifications/progress"
        assert (await side.line())["result"] == {}
        assert [request.fields["last-event-id"] for request in server.named("GET")] == ["e-1", "e-2"]
        assert len(server.named("tools/call")) == 1

    play(tmp_path, story, loop)


@pytest.mark.parametrize("modern", [False, True])
def test_stream_that_brings_nothing_is_resumed_only_so_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, modern: bool
) -> None:
    monkeypatch.setattr(limits, "REMOTE_RESUMES", 3)

    async def story(side: Side, server: Remote) -> None:
        async def handler(request: Request) -> bytes:
            await request.send(STREAM + b"id: e-0\nretry: 0\ndata:\n\n")
            return b""

        server.handler = handler
        sentence = await side.error("tools/call", modern=modern)
        assert "ended the stream before it had answered" in sentence
        assert len(server.named("GET")) == (0 if modern else 3)

    play(tmp_path, story)


def test_server_decides_how_long_a_stream_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    sleep = asyncio.sleep

    async def slept(seconds: float) -> None:
        waits.append(seconds)
        await sleep(0)

    monkeypatch.setattr(streamable.asyncio, "sleep", slept)

    async def story(side: Side, server: Remote) -> None:
        async def handler(request: Request) -> bytes:
            if request.name == "GET":
                return STREAM + event({"jsonrpc": "2.0", "id": 1, "result": {}})
            return STREAM + b"id: e-0\nretry: 1500\ndata:\n\n"

        server.handler = handler
        assert (await side.ask("tools/call"))["result"] == {}
        assert waits == [1.5]

    play(tmp_path, story)


@both_loops
def test_own_stream_of_the_server_is_read_and_resumed_until_there_is_none(tmp_path: Path, loop: str) -> None:
    async def story(side: Side, server: Remote) -> None:
        notice = {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}

        async def handler(request: Request) -> bytes:
            if request.name != "GET":
                return await server.handle(request)
            last = request.fields.get("last-event-id")
            if last is None:
                return STREAM + b"retry: 1\n" + event(notice, "g-1")
            return STREAM + event(notice, "g-2") if last == "g-1" else answer(405)

        server.handler = handler
        await side.greet()
        for _ in range(2):
            assert (await side.line())["method"] == "notifications/tools/list_changed"
        await eventually(lambda: len(server.named("GET")) == 3)
        await asyncio.sleep(0.05)
        assert [request.fields.get("last-event-id") for request in server.named("GET")] == [
            None,
            "g-1",
            "g-2",
        ]

    play(tmp_path, story, loop)


# --- the modern era ----------------------------------------------------------------------------------------------

SCHEMA = {
    "type": "object",
    "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"},
        "where": {"properties": {"count": {"type": "integer", "x-mcp-header": "Count"}}},
        "deep": {"type": "boolean", "x-mcp-header": "Deep"},
        "key": {"type": "string", "x-mcp-header": "Key", "format": "password"},
    },
}
TOOLS = {
    "find": {"name": "find", "inputSchema": SCHEMA},
    "bad": {"name": "bad", "inputSchema": {"properties": {"a": {"type": "number", "x-mcp-header": "A"}}}},
}


@both_loops
def test_modern_request_has_the_headers_of_its_body(tmp_path: Path, loop: str) -> None:
    async def story(side: Side, server: Remote) -> None:
        arguments = {"region": "Köln", "where": {"count": 3}, "deep": True, "key": "s3cret"}
        await side.ask("tools/call", modern=True, name="find", arguments=arguments)
        fields = server.requests[0].fields
        assert fields["mcp-protocol-version"] == "2026-07-28"
        assert fields["mcp-method"] == "tools/call"
        assert fields["mcp-name"] == "find"
        assert fields["mcp-param-region"] == "=?base64?S8O2bG4=?="
        assert fields["mcp-param-count"] == "3"
        assert fields["mcp-param-deep"] == "true"
        assert "mcp-param-key" not in fields
        assert not any("s3cret" in value for value in fields.values())
        assert "mcp-session-id" not in fields
        await side.ask("resources/read", modern=True, uri="file:///ä")
        assert server.requests[1].fields["mcp-name"].startswith("=?base64?")
        await side.ask("server/discover", modern=True)
        assert "mcp-name" not in server.requests[2].fields
        assert "cannot be called over HTTP" in await side.error(
            "tools/call", modern=True, name="bad", arguments={}
        )
        assert len(server.requests) == 3

    play(tmp_path, story, loop, tools=TOOLS)


@both_loops
def test_modern_call_is_cancelled_by_closing_its_answer(tmp_path: Path, loop: str) -> None:
    async def story(side: Side, server: Remote) -> None:
        closed = asyncio.Event()

        async def handler(request: Request) -> bytes:
            if request.name != "tools/call":
                return await server.handle(request)
            await request.send(STREAM + event({"jsonrpc": "2.0", "method": "notifications/progress"}))
            try:
                while True:
                    await asyncio.sleep(0.01)
                    await request.send(b": still here\n")
            finally:
                closed.set()

        server.handler = handler
        ident = side.send("tools/call", modern=True, name="x")
        await side.line()
        side.write({"method": "notifications/cancelled", "params": {"requestId": ident, "_meta": {}}})
        await asyncio.wait_for(closed.wait(), 10)
        side.write(
            {
                "method": "notifications/roots/list_changed",
                "params": {"_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}},
            }
        )
        assert (await side.ask("ping", modern=True))["result"]
        assert [request.name for request in server.requests] == ["tools/call", "ping"]
        assert side.lines.empty()

    play(tmp_path, story, loop)


def test_legacy_call_is_cancelled_by_a_message(tmp_path: Path) -> None:
    async def story(side: Side, server: Remote) -> None:
        cancelled = asyncio.Event()

        async def handler(request: Request) -> bytes:
            if request.name == "notifications/cancelled":
                cancelled.set()
            if request.name == "tools/call":
                await cancelled.wait()
            return await server.handle(request)

        server.handler = handler
        ident = side.send("tools/call", name="x")
        await eventually(lambda: server.named("tools/call"))
        side.write({"method": "notifications/cancelled", "params": {"requestId": ident}})
        assert (await side.line())["id"] == ident

    play(tmp_path, story)


# --- authorisation -----------------------------------------------------------------------------------------------


class Tokens:
    """An authorizer with a list of tokens: the next one after each challenge."""

    def __init__(self, *tokens: str) -> None:
        self.tokens = list(tokens)
        self.challenges: list[tuple[int, str]] = []
        self.asked: list[tuple[str, str]] = []

    async def headers(self, method: str, url: str) -> Mapping[str, str]:
        self.asked.append((method, url))
        if not self.tokens:
            raise UpstreamError("there is no token", code=126, hint="mcpguard login far")
        return {"Authorization": f"Bearer {self.tokens[0]}"}

    async def challenged(self, status: int, www_authenticate: str, dpop_nonce: str = "") -> bool:
        self.challenges.append((status, www_authenticate))
        self.tokens.pop(0)
        return True


@pytest.mark.parametrize("tokens", [("new",), ("old", "new"), ("old", "older", "new"), ()])
def test_request_is_authorised_and_tried_once_more_after_a_challenge(
    tmp_path: Path, tokens: tuple[str, ...]
) -> None:
    authorizer = Tokens(*tokens)

    async def story(side: Side, server: Remote) -> None:
        async def handler(request: Request) -> bytes:
            if request.fields.get("authorization") != "Bearer new":
                return answer(401, www_authenticate='Bearer error="invalid_token"')
            return await server.handle(request)

        server.handler = handler
        found = await side.ask("tools/call", name="x")
        if tokens in (("new",), ("old", "new")):
            assert found["result"]
            assert authorizer.challenges == [(401, 'Bearer error="invalid_token"')] * (len(tokens) - 1)
        elif tokens:
            assert "wants authorisation" in found["error"]["message"]
            assert len(authorizer.challenges) == 1
        else:
            assert "there is no token: mcpguard login far" in found["error"]["message"]
            assert server.requests == []
        assert set(authorizer.asked) == {("POST", "http://localhost/mcp")}

    play(tmp_path, story, authorizer=authorizer)


# --- the corpus --------------------------------------------------------------------------------------------------

CORPUS = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "vectors" / "attacks.jsonl").read_text().splitlines()
    if '"http-s2c"' in line
]


@pytest.mark.parametrize("attack", CORPUS, ids=lambda attack: attack["id"])
def test_73_attack_of_the_corpus_gets_an_error_or_is_made_plain(
    tmp_path: Path, attack: dict[str, Any]
) -> None:
    """The server's side of the `http` group. htp-020 passes here, and is refused by the gate (tests/lifecycle)."""

    async def story(side: Side, server: Remote) -> None:
        says(server, "tools/call", base64.b64decode(attack["bytes_b64"]))
        while side.ident < 6:
            side.ident += 1  # the answers of the corpus are to request 7
        ident = side.send("tools/call", modern=attack["era"] == "modern", name="x")
        found = await side.line()
        if attack["id"] == "htp-020":
            assert found["method"] == "sampling/createMessage"
            found = await side.line()
        assert found["id"] == ident
        assert ("error" in found) is (attack["expected"] == "reject")
        assert len(server.requests) == 1

    play(tmp_path, story)


def test_the_corpus_is_there() -> None:
    assert len(CORPUS) >= 6
