"""A server on the Python SDK that serves both eras and uses as much of the protocol as the SDK has.

Tools that need something from the client use the SDK's resolvers, which ask by request on a legacy
connection and by `input_required` on a modern one; where the SDK has no resolver (URL elicitation) the
tool does both by hand.
"""

# No `from __future__ import annotations`: the SDK reads the annotations of closures.
import base64
import json
import sys
import warnings
from typing import Annotated, Any

import anyio
import mcp_types as types
from mcp.server.caching import CacheHint
from mcp.server.lowlevel.server import NotificationOptions
from mcp.server.mcpserver import (
    Context,
    Elicit,
    ElicitationResult,
    ListRoots,
    MCPServer,
    RequestStateSecurity,
    Resolve,
    Sample,
)
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import MCPDeprecationWarning, MCPError
from pydantic import BaseModel, Field

warnings.simplefilter("ignore", MCPDeprecationWarning)

MODERN = "2026-07-28"
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
WAV = base64.b64encode(b"RIFF\x24\x00\x00\x00WAVEfmt ").decode()
CACHE = {
    # One hint above the bound of the guard, one below, one of each scope.
    "tools/list": CacheHint(ttl_ms=60_000, scope="public"),
    "resources/list": CacheHint(ttl_ms=250, scope="public"),
    "prompts/list": CacheHint(ttl_ms=60_000, scope="private"),
    "resources/templates/list": CacheHint(ttl_ms=0, scope="private"),
}

server = MCPServer(
    "interop-python",
    title="Interop (Python)",
    instructions="Instructions with an umlaut: ä, and a line separator: \u2028.",
    website_url="https://example.org/interop",
    version="1.2.3",
    log_level="CRITICAL",
    cache_hints=CACHE,
    request_state_security=RequestStateSecurity.ephemeral(),
)
lowlevel = server._lowlevel_server
seen = {"cancelled": 0, "roots_changed": 0, "level": None, "subscribed": []}


class Weather(BaseModel):
    city: str
    temperature: float = Field(description="Celsius")
    conditions: list[str]


class Name(BaseModel):
    name: str = Field(description="Your name")
    age: int = Field(default=30, ge=0, le=150)


class Sure(BaseModel):
    sure: bool


@server.tool(
    title="Echo", annotations=types.ToolAnnotations(read_only_hint=True), meta={"example.org/kind": "echo"}
)
def echo(text: str) -> str:
    """Return the text."""
    return text


@server.tool()
def add(a: int, b: int = 1) -> int:
    """Add two numbers."""
    return a + b


@server.tool()
def weather(city: str) -> Weather:
    """Structured content that follows an output schema."""
    return Weather(city=city, temperature=20.0, conditions=["sunny", "föhn"])


@server.tool(structured_output=False)
def numbers() -> types.CallToolResult:
    """Numbers that do not survive a double."""
    return types.CallToolResult(
        content=[types.TextContent(type="text", text="numbers")],
        structured_content={"z": 2**63 + 1, "one": 1.0, "tiny": 1e-7, "a": -0.0, "zero": 0, "big": 1e22},
    )


@server.tool(structured_output=False)
def media() -> types.CallToolResult:
    """Every kind of content block."""
    notes = types.Annotations(audience=["user"], priority=0.5)
    return types.CallToolResult(
        content=[
            types.TextContent(type="text", text="text", annotations=notes, _meta={"example.org/n": 1}),
            types.ImageContent(type="image", data=PNG, mime_type="image/png"),
            types.AudioContent(type="audio", data=WAV, mime_type="audio/wav"),
            types.ResourceLink(type="resource_link", uri="memo://notes/1", name="note", size=4),
            types.EmbeddedResource(
                type="resource",
                resource=types.TextResourceContents(
                    uri="memo://inline", text="inline", mime_type="text/plain"
                ),
            ),
            types.EmbeddedResource(
                type="resource", resource=types.BlobResourceContents(uri="memo://blob", blob="AAEC")
            ),
        ],
        _meta={"example.org/trace": {"nested": [1, None, True]}},
    )


@server.tool()
def big(size: int) -> str:
    """A result of `size` characters."""
    return "x" * size


@server.tool(name="any")
def anything(value: Any) -> str:
    """Return the value as JSON."""
    return json.dumps(value)


@server.tool()
def length(text: str) -> int:
    """The length of the text."""
    return len(text)


@server.tool()
def fail(message: str) -> str:
    """Fail with a message for the model."""
    raise ToolError(message)


@server.tool()
def crash() -> str:
    """Raise something the SDK does not expect."""
    raise ValueError("crashed")


@server.tool()
def refuse(code: int) -> str:
    """Answer with a JSON-RPC error."""
    raise MCPError(code, "refused by the tool", {"hint": {"retry": False}})


@server.tool()
async def slow(steps: int, delay: float, ctx: Context) -> str:
    """Report progress `steps` times."""
    try:
        for step in range(1, steps + 1):
            await anyio.sleep(delay)
            await ctx.report_progress(step, steps, f"step {step}")
        # The last report does not come in one read with the answer.
        await anyio.sleep(delay)
    except anyio.get_cancelled_exc_class():
        seen["cancelled"] += 1
        raise
    return f"done {steps}"


@server.tool()
async def delayed(index: int, delay: float) -> str:
    """Wait, then answer: for answers out of order."""
    await anyio.sleep(delay)
    return f"index {index}"


@server.tool()
async def log(ctx: Context) -> str:
    """One log message at each of three levels."""
    await ctx.log("debug", "quiet", logger_name="interop")
    await ctx.log("info", {"text": "structured", "n": [1, 2]}, logger_name="interop")
    await ctx.log("error", "loud")
    return "logged"


@server.tool()
def state() -> dict[str, object]:
    """What reached the server."""
    return dict(seen)


@server.tool()
async def change(kind: str, ctx: Context) -> str:
    """Change a list (or a resource) and say so."""
    session = ctx.session
    modern = ctx.protocol_version == MODERN
    if kind == "tools":
        server.add_tool(extra, name="extra", description="A tool that came later")
        await (ctx.notify_tools_changed() if modern else session.send_tool_list_changed())
    elif kind == "prompts":
        await (ctx.notify_prompts_changed() if modern else session.send_prompt_list_changed())
    elif kind == "resources":
        await (ctx.notify_resources_changed() if modern else session.send_resource_list_changed())
    else:
        await (ctx.notify_resource_updated(kind) if modern else session.send_resource_updated(kind))
    return kind


def extra() -> str:
    return "extra"


def ask_model(prompt: str) -> Sample:
    message = types.SamplingMessage(role="user", content=types.TextContent(type="text", text=prompt))
    return Sample([message], max_tokens=64, system_prompt="Be brief.", temperature=0.5, stop_sequences=["\n"])


@server.tool()
def sample(prompt: str, answer: Annotated[types.CreateMessageResult, Resolve(ask_model)]) -> str:
    """Ask the client's model."""
    return f"{answer.model}: {answer.content.text} ({answer.stop_reason})"


def ask_name() -> Elicit[Name]:
    return Elicit("What is your name?", Name)


def ask_sure(name: Annotated[ElicitationResult[Name], Resolve(ask_name)]) -> Elicit[Sure]:
    return Elicit(f"Are you sure? ({name.action})", Sure)


@server.tool()
def ask(name: Annotated[ElicitationResult[Name], Resolve(ask_name)]) -> str:
    """Ask the person one question."""
    return f"{name.action}: {name.data.model_dump_json() if name.action == 'accept' else None}"


@server.tool()
def ask_twice(
    name: Annotated[ElicitationResult[Name], Resolve(ask_name)],
    sure: Annotated[ElicitationResult[Sure], Resolve(ask_sure)],
) -> str:
    """Ask two questions, the second because of the first: two rounds in the modern era."""
    return f"{name.action}, {sure.action}"


def ask_roots() -> ListRoots:
    return ListRoots()


@server.tool()
def roots(found: Annotated[types.ListRootsResult, Resolve(ask_roots)]) -> list[str]:
    """The client's roots."""
    return [f"{root.name}={root.uri}" for root in found.roots]


@server.tool(structured_output=False)
async def open_url(ctx: Context) -> types.CallToolResult | types.InputRequiredResult:
    """Ask the person to open a page."""
    if ctx.protocol_version != MODERN:
        result = await ctx.elicit_url(
            "Please sign in", "https://example.org/sign-in?a=1&b=2", "elicitation-1"
        )
        await ctx.session.send_elicit_complete("elicitation-1")
        return text(f"{result.action}")
    if ctx.input_responses:
        return text(f"{ctx.input_responses['page'].action} {ctx.request_state}")
    params = types.ElicitRequestURLParams(
        mode="url", message="Please sign in", url="https://example.org/sign-in?a=1&b=2"
    )
    return types.InputRequiredResult(
        input_requests={"page": types.ElicitRequest(params=params)}, request_state="state \u2028 of open_url"
    )


@server.tool()
async def ping_client(ctx: Context) -> str:
    """Ping the other way round (legacy only)."""
    await ctx.session.send_ping()
    return "pong"


def text(value: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=value)])


@server.resource("memo://notes/{number}", title="Notes", mime_type="text/plain")
def note(number: str) -> str:
    """A note."""
    return f"note {number}"


@server.resource("memo://text", mime_type="text/markdown", description="Text with separators")
def text_resource() -> str:
    return "one\u2028two\u0085three\r\nfour"


@server.resource("memo://bytes", mime_type="application/octet-stream")
def bytes_resource() -> bytes:
    return bytes(range(256))


def numbered(number: int):
    def read() -> str:
        return str(number)

    return read


for index in range(23):
    server.resource(f"memo://numbered/{index}", name=f"numbered-{index}")(numbered(index))


@server.prompt(title="Greeting")
def greet(name: str, tone: str = "friendly") -> str:
    """Greet somebody."""
    return f"Greet {name} in a {tone} way."


@server.prompt()
def conversation() -> list[dict[str, object]]:
    """Several messages."""
    return [
        {"role": "user", "content": {"type": "text", "text": "Hello"}},
        {"role": "assistant", "content": {"type": "image", "data": PNG, "mimeType": "image/png"}},
    ]


@server.completion()
async def complete(ref, argument, context):
    words = ["formal", "friendly", "frosty"]
    if context and context.arguments:
        words = [f"{word} {value}" for word in words for value in context.arguments.values()]
    values = [word for word in words if word.startswith(argument.value)]
    return types.Completion(values=values, total=len(values), has_more=False)


def page(items, params, size):
    """Cursors are opaque to everybody else; the last page has none."""
    start = int(params.cursor.removeprefix("from-")) if params and params.cursor else 0
    cursor = f"from-{start + size}" if start + size < len(items) else None
    return items[start : start + size], cursor


async def list_tools(_ctx, params):
    if params and params.cursor and not params.cursor.startswith("from-"):
        raise MCPError(types.INVALID_PARAMS, "unknown cursor")
    tools, cursor = page(await server.list_tools(), params, 7)
    return types.ListToolsResult(tools=tools, next_cursor=cursor)


async def list_resources(_ctx, params):
    resources, cursor = page(await server.list_resources(), params, 10)
    return types.ListResourcesResult(resources=resources, next_cursor=cursor)


async def subscribe(_ctx, params):
    seen["subscribed"].append(str(params.uri))
    return types.EmptyResult()


async def unsubscribe(_ctx, params):
    seen["subscribed"].remove(str(params.uri))
    return types.EmptyResult()


async def set_level(_ctx, params):
    seen["level"] = params.level
    return types.EmptyResult()


async def roots_changed(_ctx, _params):
    seen["roots_changed"] += 1


lowlevel.add_request_handler("tools/list", types.PaginatedRequestParams, list_tools)
lowlevel.add_request_handler("resources/list", types.PaginatedRequestParams, list_resources)
lowlevel.add_request_handler("resources/subscribe", types.SubscribeRequestParams, subscribe)
lowlevel.add_request_handler("resources/unsubscribe", types.UnsubscribeRequestParams, unsubscribe)
lowlevel.add_request_handler("logging/setLevel", types.SetLevelRequestParams, set_level)
lowlevel.add_notification_handler("notifications/roots/list_changed", types.NotificationParams, roots_changed)


async def main() -> None:
    print("[server] python: started", file=sys.stderr, flush=True)
    changed = NotificationOptions(prompts_changed=True, resources_changed=True, tools_changed=True)
    async with stdio_server() as (read_stream, write_stream):
        await lowlevel.run(read_stream, write_stream, lowlevel.create_initialization_options(changed))
    print("[server] python: ended", file=sys.stderr, flush=True)


if __name__ == "__main__":
    anyio.run(main)
