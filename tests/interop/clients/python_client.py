"""Run a scenario with the Python SDK: `python_client.py --era legacy|modern|auto --scenario FILE -- CMD...`.

The scenario is a JSON object (see scenarios.py for its words); the transcript is printed as JSON lines:
what the SDK gave to its caller, step by step, and between the steps every line as it came off the wire.
"""

import argparse
import contextlib
import json
import os
import time
import warnings
from importlib.metadata import version

import anyio
import mcp.client.stdio as sdk_stdio
import mcp_types as types
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.shared.exceptions import MCPDeprecationWarning, MCPError
from pydantic import BaseModel

warnings.simplefilter("ignore", MCPDeprecationWarning)

MODES = {"legacy": "legacy", "modern": "2026-07-28", "auto": "auto"}


def emit(**record):
    print(json.dumps(record), flush=True)


def plain(value):
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True, exclude_none=True)
    return value


def expand(value):
    """Turn {"$repeat": [text, count]} into the text: a megabyte is not written out in a scenario."""
    if isinstance(value, dict):
        if "$repeat" in value:
            piece, count = value["$repeat"]
            return piece * count
        return {key: expand(item) for key, item in value.items()}
    if isinstance(value, list):
        return [expand(item) for item in value]
    return value


def indexed(value, index):
    if isinstance(value, dict):
        if "$index" in value:
            return index * value["$index"]
        if "$reverse" in value:
            step, count = value["$reverse"]
            return (count - index) * step
        return {key: indexed(item, index) for key, item in value.items()}
    return value


class Tapped:
    """A stream of the transport, with a copy of what passes."""

    def __init__(self, inner):
        self.inner = inner

    def __getattr__(self, name):
        return getattr(self.inner, name)

    async def __aenter__(self):
        await self.inner.__aenter__()
        return self

    async def __aexit__(self, *exc):
        return await self.inner.__aexit__(*exc)

    async def send(self, item):
        emit(wire="sent", raw=item.message.model_dump_json(by_alias=True, exclude_unset=True))
        await self.inner.send(item)


class Session:
    def __init__(self, scenario):
        self.scenario = scenario
        self.answer = scenario.get("answer", {})
        self.roots = scenario.get("roots", [])
        self.notifications = []
        self.arrived = anyio.Event()
        self.listens = {}
        self.process = None

    # What the server asks of the client.

    async def on_sampling(self, _context, params):
        if "error" in self.answer.get("sampling", {}):
            return types.ErrorData(**self.answer["sampling"]["error"])
        text = types.TextContent(type="text", text="A fixed answer: \u2028 ü")
        return types.CreateMessageResult(
            role="assistant", content=text, model="fixed-model", stop_reason="endTurn"
        )

    async def on_elicitation(self, _context, params):
        mode = "url" if isinstance(params, types.ElicitRequestURLParams) else "form"
        answer = self.answer.get(mode, {"action": "accept"})
        content = answer.get("content")
        if content is not None and mode == "form":
            # One set of answers serves every form: give what this form asks for.
            content = {key: content[key] for key in params.requested_schema["properties"] if key in content}
        return types.ElicitResult(action=answer["action"], content=content)

    async def on_roots(self, _context):
        return types.ListRootsResult(roots=[types.Root(**root) for root in self.roots])

    async def on_message(self, message):
        if isinstance(message, Exception):
            emit(unexpected=repr(message))
            return
        # Requests come here too; only notifications have no answer.
        self.notifications.append(plain(message))
        self.arrived.set()

    # The steps of a scenario.

    async def run(self, transport, mode):
        client = Client(
            transport,
            mode=mode,
            sampling_callback=self.on_sampling,
            elicitation_callback=self.on_elicitation,
            list_roots_callback=self.on_roots,
            logging_callback=self.on_log,
            log_level=self.scenario.get("log_level"),
            message_handler=self.on_message,
            client_info=types.Implementation(name="interop-python-client", version="1.0"),
            read_timeout_seconds=20,
        )
        emit(step="connect")
        async with client:
            emit(
                result={
                    "version": client.protocol_version,
                    "server": plain(client.server_info),
                    "capabilities": plain(client.server_capabilities),
                    "instructions": client.instructions,
                }
            )
            for step in self.scenario["steps"]:
                emit(step=step["op"], **{k: v for k, v in step.items() if k in {"name", "uri", "unordered"}})
                await self.step(client, step)
            emit(step="close")
            for scope in list(self.listens.values()):
                await scope.aclose()
            started = time.monotonic()
        return time.monotonic() - started

    async def on_log(self, params):
        pass

    async def step(self, client, step):
        try:
            emit(result=plain(await getattr(self, "op_" + step["op"])(client, step)))
        except MCPError as error:
            emit(error={"code": error.error.code, "message": error.error.message, "data": error.error.data})
        except Exception as error:
            emit(error={"type": type(error).__name__, "message": str(error)})

    async def op_list(self, client, step):
        method = {
            "tools": client.list_tools,
            "resources": client.list_resources,
            "templates": client.list_resource_templates,
            "prompts": client.list_prompts,
        }[step["kind"]]
        pages, cursor = [], None
        while True:
            page = await method(cursor=cursor, cache_mode="refresh")
            pages.append(plain(page))
            cursor = page.next_cursor
            if cursor is None:
                return pages

    async def op_call(self, client, step):
        seen = []

        async def progress(value, total, message):
            seen.append([value, total, message])

        callback = progress if step.get("progress") else None
        result = await client.call_tool(step["name"], expand(step.get("args")), progress_callback=callback)
        return {"result": plain(result), "progress": seen} if step.get("progress") == "caller" else result

    async def op_concurrent(self, client, step):
        results = [None] * step["count"]

        async def one(index):
            results[index] = plain(await client.call_tool(step["name"], indexed(step["args"], index)))

        async with anyio.create_task_group() as group:
            for index in range(step["count"]):
                group.start_soon(one, index)
        return results

    async def op_cancel(self, client, step):
        """Cancel a call once it has reported progress: then it is certain that it runs."""
        running = anyio.Event()

        async def progress(*_):
            running.set()

        async with anyio.create_task_group() as group:

            async def call():
                await client.call_tool(step["name"], step["args"], progress_callback=progress)

            group.start_soon(call)
            with anyio.fail_after(10):
                await running.wait()
            group.cancel_scope.cancel()
        return "cancelled"

    async def op_read(self, client, step):
        return await client.read_resource(step["uri"], cache_mode="refresh")

    async def op_prompt(self, client, step):
        return await client.get_prompt(step["name"], step.get("args"))

    async def op_complete(self, client, step):
        ref = step["ref"]
        kind = types.PromptReference if ref["type"] == "ref/prompt" else types.ResourceTemplateReference
        return await client.complete(kind(**ref), step["argument"], step.get("context"))

    async def op_level(self, client, step):
        return await client.set_logging_level(step["level"])

    async def op_ping(self, client, step):
        return await client.send_ping()

    async def op_subscribe(self, client, step):
        return await client.subscribe_resource(step["uri"])

    async def op_unsubscribe(self, client, step):
        return await client.unsubscribe_resource(step["uri"])

    async def op_roots(self, client, step):
        self.roots = step["roots"]
        await client.send_roots_list_changed()

    async def op_answer(self, client, step):
        self.answer = {**self.answer, **step["answer"]}

    async def op_sleep(self, client, step):
        await anyio.sleep(step["seconds"])

    async def op_raw(self, client, step):
        """A request the SDK has no method for."""
        request = types.Request(method=step["method"], params=step.get("params"))
        result = await client.session.send_request(request, types.Result)
        return {**(result.model_extra or {}), **plain(result)}

    async def op_wait(self, client, step):
        """Wait until `count` notifications of one method have arrived, and take them."""

        def matching():
            return [n for n in self.notifications if n.get("method") == step["method"]]

        with anyio.move_on_after(step.get("seconds", 5)):
            while len(matching()) < step.get("count", 1):
                self.arrived = anyio.Event()
                await self.arrived.wait()
        found = matching()
        self.notifications = [n for n in self.notifications if n not in found]
        return found

    async def op_listen(self, client, step):
        stack = contextlib.AsyncExitStack()
        wanted = step["filter"]
        sub = await stack.enter_async_context(
            client.listen(
                tools_list_changed=wanted.get("toolsListChanged", False),
                prompts_list_changed=wanted.get("promptsListChanged", False),
                resources_list_changed=wanted.get("resourcesListChanged", False),
                resource_subscriptions=wanted.get("resourceSubscriptions", ()),
            )
        )
        self.listens[step["key"]] = stack
        return sub.honored

    async def op_unlisten(self, client, step):
        await self.listens.pop(step["key"]).aclose()


async def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--era", choices=MODES, default="legacy")
    arguments.add_argument("--scenario", required=True)
    arguments.add_argument("command", nargs="+")
    options = arguments.parse_args()
    with open(options.scenario, encoding="utf-8") as file:
        scenario = json.load(file)
    session = Session(scenario)

    parse, spawn = sdk_stdio._parse_line, sdk_stdio._create_platform_compatible_process

    def parse_line(line):
        emit(wire="received", raw=line)
        return parse(line)

    async def spawn_process(**how):
        session.process = await spawn(**how)
        return session.process

    # The SDK shows neither the lines it reads nor the process it starts.
    sdk_stdio._parse_line, sdk_stdio._create_platform_compatible_process = parse_line, spawn_process

    command, *args = options.command
    env = {name: os.environ[name] for name in scenario.get("env", ()) if name in os.environ}
    parameters = StdioServerParameters(command=command, args=args, env=env, cwd=scenario.get("cwd"))

    @contextlib.asynccontextmanager
    async def transport():
        async with stdio_client(parameters) as (read, write):
            yield read, Tapped(write)

    emit(client="python", sdk=version("mcp"), era=options.era)
    seconds = await session.run(transport(), MODES[options.era])
    emit(closed={"status": session.process.returncode, "seconds": seconds})


if __name__ == "__main__":
    anyio.run(main)
