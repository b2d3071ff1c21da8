"""A little MCP file server for `mcpguard demo`: three tools over one directory, standard library only.

It is careless on purpose, as servers are: of two equal keys it takes the last, and it deletes what it is told to.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

_PATH = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
_TOOLS = [
    {"name": "list_directory", "description": "List the files.", "inputSchema": {"type": "object"}},
    {"name": "read_file", "description": "Read a file.", "inputSchema": _PATH},
    {"name": "delete_file", "description": "Delete a file.", "inputSchema": _PATH},
]


def _call(root: Path, name: str, arguments: dict[str, Any]) -> str:
    match name:
        case "list_directory":
            return "\n".join(sorted(path.name for path in root.iterdir()))
        case "read_file":
            return (root / str(arguments["path"])).read_text()
        case "delete_file":
            (root / arguments["path"]).unlink()
            return "deleted"
        case _:
            raise LookupError(f"no tool {name}")


def _answer(root: Path, request: dict[str, Any]) -> dict[str, Any]:
    match request["method"]:
        case "initialize":
            return {
                "protocolVersion": request["params"]["protocolVersion"],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "demo-files", "version": "1"},
            }
        case "tools/list":
            return {"tools": _TOOLS}
        case "tools/call":
            params = request["params"]
            try:
                text = _call(root, params["name"], params.get("arguments", {}))
            except (OSError, LookupError) as error:
                return {"content": [{"type": "text", "text": str(error)}], "isError": True}
            return {"content": [{"type": "text", "text": text}]}
        case _:
            return {}


def main() -> None:
    """Serve the directory named by the first argument, on stdin and stdout."""
    root = Path(sys.argv[1])
    for line in sys.stdin.buffer:
        request = json.loads(line)
        if "id" in request:
            answer = {"jsonrpc": "2.0", "id": request["id"], "result": _answer(root, request)}
            sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
