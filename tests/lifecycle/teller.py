"""A small MCP server that tells what it has: `teller.py DIRECTORY`; nothing but the interpreter.

What it tells goes to a file in DIRECTORY, whose path it answers: nothing on the way hides anything of that.
"""

import json
import os
import sys
import time

HOME = sys.argv[1] if len(sys.argv) > 1 else "."
TOOLS = [
    {"name": name, "description": f"Does {name}.", "inputSchema": {"type": "object"}}
    for name in ("tell", "repeat", "send", "fail", "slow")
]


def call(name: str, arguments: dict) -> str:
    with open(os.path.join(HOME, "calls"), "a") as file:
        file.write(json.dumps(arguments) + "\n")
    match name:
        case "tell" | "slow":
            if name == "slow":
                time.sleep(arguments["seconds"])
            path = os.path.join(HOME, f"told-{os.getpid()}")
            with open(path, "w") as file:
                facts = {
                    "environ": dict(os.environ),
                    "argv": sys.argv,
                    "pid": os.getpid(),
                    "cwd": os.getcwd(),
                }
                for variable, value in os.environ.items():
                    if value.startswith("/proc/self/fd/"):
                        with open(value) as held:
                            facts[variable] = held.read()
                        facts[f"{variable} mode"] = os.stat(value).st_mode & 0o777
                json.dump(facts, file)
            return path
        case "repeat":
            return os.environ.get(arguments["variable"], "")
        case "send":
            path = os.path.join(HOME, "told-sent")
            with open(path, "w") as file:
                json.dump(arguments, file)
            return f"sent {json.dumps(arguments)}"
    return "?"


def main() -> None:
    for line in sys.stdin.buffer:
        request = json.loads(line)
        if "id" not in request or "method" not in request:
            continue
        params = request.get("params", {})
        result: dict = {}
        match request["method"]:
            case "initialize":
                result = {
                    "protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}},
                    "serverInfo": {"name": "teller", "version": "1"},
                }  # fmt: skip
            case "tools/list":
                result = {"tools": TOOLS}
            case "tools/call" if params["name"] == "fail":
                error = {
                    "code": -32000,
                    "message": f"bad token {os.environ.get(params['arguments']['variable'])}",
                }
                sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": request["id"], "error": error}) + "\n")
                sys.stdout.flush()
                continue
            case "tools/call":
                result = {
                    "content": [{"type": "text", "text": call(params["name"], params.get("arguments", {}))}]
                }
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
