"""A server that says of itself what a file says: `changing.py HOME`; nothing but the interpreter.

HOME/says.json: `name`, `instructions`, `pages` (lists of tools), `modern` (the same again for that era). Whoever
started it finds a line in HOME/started, and the names of the tools that were called in HOME/called.
"""

import json
import os
import sys

HOME = sys.argv[1]
MODERN = "2026-07-28"


def note(file: str, line: str) -> None:
    with open(os.path.join(HOME, file), "a") as out:
        out.write(line + "\n")


def seen() -> str:
    """What a server can see of where it is."""
    facts = {
        "environ": dict(os.environ),
        "cwd": os.getcwd(),
        "argv": sys.argv,
        "fds": sorted(int(name) for name in os.listdir("/proc/self/fd"))[:-1],  # without the one that lists
        "exe": os.readlink("/proc/self/exe"),
    }
    return json.dumps(facts)


def result(request: dict) -> dict:
    params = request.get("params", {})
    modern = params.get("_meta", {}).get("io.modelcontextprotocol/protocolVersion") == MODERN
    with open(os.path.join(HOME, "says.json")) as file:
        says = json.load(file)
    if modern:
        says |= says.get("modern", {})
    info = {"name": says["name"], "version": "1"}
    about = {"instructions": says["instructions"]} if says.get("instructions") else {}
    match request["method"]:
        case "initialize":
            tools = {"listChanged": True}
            version = params["protocolVersion"]
            return {"protocolVersion": version, "capabilities": {"tools": tools}, "serverInfo": info, **about}
        case "server/discover":
            versions = {"supportedVersions": [MODERN], "capabilities": {"tools": {}}}
            return {**versions, "_meta": {"io.modelcontextprotocol/serverInfo": info}, **about}
        case "tools/list":
            page = int(params.get("cursor", "0"))
            more = {"nextCursor": str(page + 1)} if page + 1 < len(says["pages"]) else {}
            return {"tools": says["pages"][page], **more}
        case "tools/call":
            note("called", params["name"])
            return {"content": [{"type": "text", "text": seen() if params["name"] == "look" else "done"}]}
    return {}


def main() -> None:
    note("started", str(os.getpid()))
    for line in sys.stdin.buffer:
        request = json.loads(line)
        if "id" in request and "method" in request:
            told = result(request)
            if "_meta" in request.get("params", {}):
                told = {"resultType": "complete", **told}
            answer = {"jsonrpc": "2.0", "id": request["id"], "result": told}
            os.write(1, json.dumps(answer).encode() + b"\n")


main()
