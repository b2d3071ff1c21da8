"""A server that takes its time and speaks of its own accord: `talking.py HOME`; nothing but the interpreter.

Tools: `now` answers at once, `later` reports progress and answers when HOME/go is there, `hang` never answers, `ask`
asks the host for a sample (legacy), `say` logs something first, `big` answers with `bytes` characters. HOME/cancelled has a line for
each cancelled request.
"""

import json
import os
import sys
import threading
import time

HOME = sys.argv[1]
NAMES = ("now", "later", "hang", "ask", "say", "big")
LOCK = threading.Lock()
MODERN = "2026-07-28"
asked: dict[str, object] = {}


def send(message: dict) -> None:
    data = json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n"
    with LOCK:
        while data:
            data = data[os.write(1, data) :]


def text(value: str) -> dict:
    return {"content": [{"type": "text", "text": value}]}


def call(request: dict) -> None:
    params = request["params"]
    name, arguments, tags = params["name"], params.get("arguments", {}), params.get("_meta", {})
    modern = "io.modelcontextprotocol/protocolVersion" in tags
    end = {"resultType": "complete"} if modern else {}
    if name == "hang":
        return
    if name == "later":
        number = 0
        while not os.path.exists(os.path.join(HOME, "go")):
            number += 1
            if "progressToken" in tags:
                send(
                    {
                        "method": "notifications/progress",
                        "params": {"progressToken": tags["progressToken"], "progress": number},
                    }
                )
            time.sleep(0.05)
    if name == "ask":
        asked["sample"] = request["id"]
        send({"id": "sample", "method": "sampling/createMessage", "params": {"messages": [], "maxTokens": 1}})
        return
    if name == "say":
        send({"method": "notifications/message", "params": {"level": "info", "data": "something"}})
    said = "x" * arguments.get("bytes", 1) if name == "big" else json.dumps({"pid": os.getpid(), **arguments})
    send({"id": request["id"], "result": end | text(said)})


def answer(request: dict) -> None:
    params = request.get("params", {})
    modern = "io.modelcontextprotocol/protocolVersion" in params.get("_meta", {})
    end = {"resultType": "complete"} if modern else {}
    capabilities = {"tools": {"listChanged": True}, "logging": {}}
    info = {"name": "talking", "version": "1"}
    match request["method"]:
        case "initialize":
            told = {
                "protocolVersion": params["protocolVersion"],
                "capabilities": capabilities,
                "serverInfo": info,
            }
        case "server/discover":
            told = {
                "supportedVersions": [MODERN],
                "capabilities": capabilities,
                "_meta": {"io.modelcontextprotocol/serverInfo": info},
            }
        case "tools/list":
            told = {"tools": [{"name": name, "description": name, "inputSchema": SCHEMA} for name in NAMES]}
            if modern:
                told |= {"ttlMs": 0, "cacheScope": "private"}
        case _:
            told = {}
    send({"id": request["id"], "result": end | told})


SCHEMA = {"type": "object", "properties": {"where": {"type": "string", "x-mcp-header": "Where"}}}


def main() -> None:
    for line in sys.stdin.buffer:
        message = json.loads(line)
        if message.get("method") == "notifications/cancelled":
            with open(os.path.join(HOME, "cancelled"), "a") as out:
                out.write(f"{message['params']['requestId']}\n")
        elif message.get("method") == "tools/call":
            threading.Thread(target=call, args=(message,), daemon=True).start()
        elif "method" in message and "id" in message:
            answer(message)
        elif message.get("id") == "sample":
            said = message.get("result", message.get("error"))
            send({"id": asked.pop("sample"), "result": text(json.dumps(said))})


main()
