"""The Python SDK's HTTP client, both eras, through listeners: over a Unix socket and over TLS with a certificate."""

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx2
import mcp_types as types
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from mcpguard.identity.manifest import Launch
from tests.lifecycle.land import Land, pin, trust_set
from tests.lifecycle.peers import Authority, Served, talking
from tests.lifecycle.stage import until

SERVER = Path(__file__).parent / "servers" / "python_server.py"
MODES = {"legacy": "legacy", "modern": "2026-07-28", "auto": "auto"}


@pytest.fixture(scope="module")
def land() -> Iterator[Land]:
    """Watching only, so that a server whose definitions nobody has pinned is as without a guard."""
    with Land() as made:
        made.serve()
        from tests.identity.signing import A  # noqa: PLC0415

        assert made.trust(trust_set(), A)["ok"]
        talking(made)
        server = made.server("sdk")
        argv = (sys.executable, str(SERVER))
        server.replace(
            launch=Launch(argv, argv),
            executables=(pin(sys.executable), pin(SERVER)),
            server_name="interop-python",
            instructions_sha256="",
            tools={},
        )
        reply = server.put()
        assert reply["ok"], reply
        yield made


@pytest.fixture(scope="module")
def authority(land: Land) -> Authority:
    return Authority(land.root)


@pytest.fixture(scope="module")
def place(land: Land) -> Iterator[Path]:
    path = land.root / "guard.sock"
    with Served(land, "--listen", f"unix:{path}", "--name", "near"):
        yield path


@pytest.fixture(scope="module")
def port(land: Land, authority: Authority) -> Iterator[int]:
    with Served(land, "--listen", "tls:127.0.0.1:0", "--name", "far", *authority.words) as served:
        yield served.port


@pytest.fixture(params=["unix", "tls"])
def way(
    request: pytest.FixtureRequest, place: Path, port: int, authority: Authority
) -> tuple[str, dict[str, object]]:
    """Base URL, and how httpx gets there."""
    if request.param == "unix":
        return "http://localhost", {"transport": httpx2.AsyncHTTPTransport(uds=str(place))}
    return f"https://localhost:{port}", {"verify": authority.client("build-agent")}


@asynccontextmanager
async def connected(
    way: tuple[str, dict[str, object]], mode: str, server: str = "sdk", **more: object
) -> AsyncIterator[Client]:
    base, options = way
    async with httpx2.AsyncClient(**options, timeout=60) as http:  # type: ignore[arg-type]
        transport = streamable_http_client(f"{base}/mcp/{server}", http_client=http)
        async with Client(transport, mode=MODES[mode], cache=None, **more) as client:  # type: ignore[arg-type]
            yield client


@pytest.mark.parametrize("mode", MODES)
def test_what_a_session_does(way: tuple[str, dict[str, object]], mode: str) -> None:
    async def story() -> None:
        async with connected(way, mode) as client:
            tools = (await client.list_tools()).tools
            assert {"echo", "weather"} <= {tool.name for tool in tools} or len(tools) > 5
            said = await client.call_tool("echo", {"text": "ä\u2028 and more"})
            assert said.content[0].text == "ä\u2028 and more"  # type: ignore[union-attr]
            assert len((await client.list_resources()).resources) > 0
            assert len((await client.list_prompts()).prompts) > 0
            with pytest.raises(MCPError):
                await client.read_resource("file:///no/such")

    anyio.run(story)


@pytest.mark.parametrize("mode", ["legacy", "modern"])
def test_progress_arrives_with_its_call(way: tuple[str, dict[str, object]], mode: str, land: Land) -> None:
    go = land.root / "talk" / "go"
    go.unlink(missing_ok=True)

    async def story() -> None:
        seen: list[float] = []

        async def progressed(progress: float, total: float | None, message: str | None) -> None:
            seen.append(progress)
            if progress >= 3:
                go.touch()

        async with connected(way, mode, "talk") as client:
            await client.call_tool("later", {}, progress_callback=progressed)
        assert seen[:3] == [1, 2, 3]

    anyio.run(story)


def test_sampling_is_asked_on_a_legacy_stream(way: tuple[str, dict[str, object]]) -> None:
    async def story() -> None:
        async def sample(
            context: object, params: types.CreateMessageRequestParams
        ) -> types.CreateMessageResult:
            content = types.TextContent(type="text", text="from the client")
            return types.CreateMessageResult(
                role="assistant", content=content, model="m", stop_reason="endTurn"
            )

        async with connected(way, "legacy", "talk", sampling_callback=sample) as client:
            told = await client.call_tool("ask", {})
            assert "from the client" in told.content[0].text  # type: ignore[union-attr]

    anyio.run(story)


@pytest.mark.parametrize("mode", ["legacy", "modern"])
def test_a_call_that_is_given_up_is_cancelled(
    way: tuple[str, dict[str, object]], mode: str, land: Land
) -> None:
    cancelled = land.root / "talk" / "cancelled"
    cancelled.unlink(missing_ok=True)

    async def story() -> None:
        async with connected(way, mode, "talk") as client:
            with anyio.move_on_after(1):
                await client.call_tool("hang", {})
            assert await anyio.to_thread.run_sync(lambda: until(cancelled.exists))
            assert "content" in (await client.call_tool("now", {})).model_dump()

    anyio.run(story)


@pytest.mark.parametrize("mode", ["legacy", "modern"])
def test_many_calls_at_once(way: tuple[str, dict[str, object]], mode: str) -> None:
    async def story() -> None:
        async with connected(way, mode, "talk") as client:
            found: list[int] = []

            async def call(number: int) -> None:
                told = await client.call_tool("now", {"n": number})
                assert f'"n": {number}' in told.content[0].text  # type: ignore[union-attr]
                found.append(number)

            async with anyio.create_task_group() as group:
                for number in range(40):
                    group.start_soon(call, number)
            assert sorted(found) == list(range(40))

    anyio.run(story)


def test_change_notifications_by_listen(way: tuple[str, dict[str, object]], land: Land) -> None:
    """A policy that hides a tool is told on the stream of a subscription, as on stdio."""

    async def story() -> None:
        async with (
            connected(way, "modern", "sdk") as client,
            client.listen(tools_list_changed=True) as events,
        ):
            await client.list_tools()
            await anyio.to_thread.run_sync(lambda: land.policy(ONLY_NOW))
            with anyio.fail_after(20):
                async for _ in events:
                    break
            assert [
                tool.name for tool in (await client.list_tools()).tools
            ] == []  # none of its definitions is pinned

    try:
        anyio.run(story)
    finally:
        land.policy('version = 1\nmode = "observe"\n')


ONLY_NOW = 'version = 1\nmode = "enforce"\nunpinned = "allow"\n[[rule]]\nid = "a"\nserver = "*"\ntools = ["now"]\neffect = "allow"\n'
