"""The bridge: order, back-pressure, and the end of a connection to a remote server."""

import asyncio
import json
from pathlib import Path

import pytest

from mcpguard import limits
from mcpguard.audit import redact
from mcpguard.daemon.remote import Mirrors, reach
from mcpguard.errors import TrustError
from mcpguard.identity.remote import Remote as Described
from tests.daemon.bridges import bridged, descriptors
from tests.daemon.loops import both_loops, eventually, run
from tests.fakes.remotes import STREAM, Request, answer, event


@both_loops
def test_nothing_is_left_open(tmp_path: Path, loop: str) -> None:
    async def story() -> None:
        async with bridged(tmp_path) as (side, _):
            await side.greet()
            assert (await side.ask("ping"))["result"]

    before = descriptors()
    run(story, loop)
    assert descriptors() == before


@both_loops
def test_calls_do_not_wait_for_each_other(tmp_path: Path, loop: str) -> None:
    async def story() -> None:
        async with bridged(tmp_path) as (side, server):
            last = asyncio.Event()

            async def handler(request: Request) -> bytes:
                if request.message["params"].get("wait"):
                    await last.wait()
                return await server.handle(request)

            server.handler = handler
            waiting = [side.send("tools/call", wait=True) for _ in range(100)]
            quick = side.send("tools/call")
            assert (await side.line())["id"] == quick
            last.set()
            assert sorted([(await side.line())["id"] for _ in waiting]) == waiting

    run(story, loop)


def test_only_so_many_requests_are_on_their_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REMOTE_CALLS", 3)

    async def story() -> None:
        async with bridged(tmp_path) as (side, server):
            go = asyncio.Event()

            async def handler(request: Request) -> bytes:
                await go.wait()
                return await server.handle(request)

            server.handler = handler
            idents = [side.send("tools/call") for _ in range(10)]
            await eventually(lambda: len(server.requests) == 3)
            await asyncio.sleep(0.05)
            assert len(server.requests) == 3
            go.set()
            assert sorted([(await side.line())["id"] for _ in idents]) == idents

    run(story)


def test_host_is_not_read_while_too_much_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REMOTE_CALLS", 1)
    monkeypatch.setattr(limits, "REMOTE_WAITING_BYTES", 100_000)

    async def story() -> None:
        async with bridged(tmp_path) as (side, server):
            go = asyncio.Event()

            async def handler(request: Request) -> bytes:
                await go.wait()
                return answer(200, {"jsonrpc": "2.0", "id": request.message["id"], "result": {}})

            server.handler = handler
            idents = [side.send("tools/call", filler="x" * 10_000) for _ in range(300)]
            await eventually(lambda: server.requests)
            await asyncio.sleep(0.1)
            assert side.outlet.kept > 1_000_000  # still with its sender
            go.set()
            assert sorted([(await side.line())["id"] for _ in idents]) == idents

    run(story)


def test_server_is_not_read_while_the_host_does_not_read(tmp_path: Path) -> None:
    async def story() -> None:
        async with bridged(tmp_path) as (side, server):
            sent = 0

            async def handler(request: Request) -> bytes:
                nonlocal sent
                await request.send(STREAM)
                notice = event(
                    {"jsonrpc": "2.0", "method": "notifications/message", "params": {"x": "y" * 100_000}}
                )
                while True:
                    await request.send(notice)
                    sent += len(notice)

            server.handler = handler
            side.inlet.pause()
            side.send("tools/call")
            before = -1
            while sent != before:
                before = sent
                await asyncio.sleep(0.2)
            assert limits.QUEUE_BYTES < sent < 4 * limits.QUEUE_BYTES
            side.inlet.resume()
            await eventually(lambda: sent > before)
            assert sent > before

    run(story)


@both_loops
@pytest.mark.parametrize("patient", [True, False])
def test_end_of_file_lets_what_was_asked_be_answered_for_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loop: str, patient: bool
) -> None:
    monkeypatch.setattr(limits, "EOF_GRACE_SECONDS", 10.0 if patient else 0.2)

    async def story() -> None:
        async with bridged(tmp_path) as (side, server):
            go = asyncio.Event()

            async def handler(request: Request) -> bytes:
                if patient:
                    await go.wait()
                    return await server.handle(request)
                await asyncio.sleep(60)
                return b""

            server.handler = handler
            ident = side.send("tools/call")
            await eventually(lambda: server.requests)
            side.outlet.close()
            await asyncio.sleep(0.02)
            go.set()
            assert await asyncio.wait_for(side.bridge.wait(), 8) == 0
            await side.ended.wait()
            if patient:
                assert (await side.line())["id"] == ident
            assert side.lines.empty()

    run(story, loop)


@both_loops
def test_killed_connection_ends_at_once_and_still_says_goodbye(tmp_path: Path, loop: str) -> None:
    async def story() -> None:
        async with bridged(tmp_path) as (side, server):

            async def handler(request: Request) -> bytes:
                if request.name == "initialize":
                    found = {"jsonrpc": "2.0", "id": 1, "result": {"protocolVersion": "2025-11-25"}}
                    return answer(200, found, mcp_session_id="s")
                if request.name == "tools/call":
                    await asyncio.sleep(60)
                return await server.handle(request)

            server.handler = handler
            await side.greet()
            side.send("tools/call")
            await eventually(lambda: server.named("tools/call"))
            side.bridge.kill()
            side.bridge.term()
            assert await asyncio.wait_for(side.bridge.wait(), 5) == 0
            await asyncio.wait_for(side.bridge.gone(), 5)
            assert len(server.named("DELETE")) == 1

    run(story, loop)


def test_server_that_does_not_take_goodbye_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REMOTE_GOODBYE_SECONDS", 0.1)

    async def story() -> None:
        async with bridged(tmp_path) as (side, server):

            async def handler(request: Request) -> bytes:
                if request.name == "DELETE":
                    await asyncio.sleep(60)
                found = {"jsonrpc": "2.0", "id": 1, "result": {}}
                return answer(200, found, mcp_session_id="s")

            server.handler = handler
            await side.ask("initialize")

    run(story)


def test_server_that_cannot_be_reached_leaves_nothing_open() -> None:
    before = descriptors()
    with pytest.raises(TrustError):
        run(lambda: reach(Described("https://127.0.0.1:1/", ca="system"), {}))
    assert descriptors() == before


def test_headers_of_arguments_come_from_pinned_definitions_only() -> None:
    schema = {"properties": {"a": {"type": "string", "x-mcp-header": "A"}}}
    mirrors = Mirrors({"t": {"inputSchema": schema}, "none": {}})
    call = {"params": {"name": "t", "arguments": {"a": "x"}}}
    assert mirrors.fields(call) == mirrors.fields(call) == {"Mcp-Param-A": "x"}
    for message in ({"params": {"name": "other"}}, {"params": {"name": 7}}, {}, {"params": {"name": "none"}}):
        assert mirrors.fields(json.loads(json.dumps(message))) == {}


def test_a_secret_that_stood_in_the_place_of_a_handle_is_in_no_header() -> None:
    """The vault teaches the redactor what it gives; schemas need not mark it."""
    schema = {
        "properties": {
            "region": {"type": "string", "x-mcp-header": "Region"},
            "key": {"type": "string", "x-mcp-header": "Key"},
        }
    }
    mirrors = Mirrors({"t": {"name": "t", "inputSchema": schema}})
    before = redact.current()
    redact.install(redact.Redactor(b"k" * 32))
    try:
        redact.current().learn([b"correct-horse-battery"])
        message = {
            "params": {"name": "t", "arguments": {"region": "eu", "key": "Bearer correct-horse-battery"}}
        }
        assert mirrors.fields(message) == {"Mcp-Param-Region": "eu"}
        message["params"]["arguments"]["key"] = "nothing secret"
        assert mirrors.fields(message) == {"Mcp-Param-Region": "eu", "Mcp-Param-Key": "nothing secret"}
    finally:
        redact.install(before)
