"""Homes with configurations of agent hosts, and what is in them."""

import json
import os
import sys
from pathlib import Path
from typing import Any

from mcpguard.cli import demo_server
from tests.lifecycle.stage import House

PROGRAM = str(Path(sys.executable).parent / "mcpguard")
"""What `mcpguard run` is called in configurations, as long as no link in the home leads to it."""
SECRET = "hunter2-hunter2"
SERVER = ["-I", demo_server.__file__]


def put(path: Path, content: Any) -> Path:
    """A configuration: text as it is, anything else as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content, indent=2) + "\n")
    return path


def servers(*names: str, key: str = "mcpServers", **more: Any) -> dict[str, Any]:
    """A configuration with these servers."""
    return {key: {name: {"command": "npx", "args": ["-y", name], **more} for name in names}}


def argv(path: Path, name: str, key: str = "mcpServers") -> list[str]:
    """What a JSON configuration starts for a server."""
    entry = json.loads(path.read_bytes())[key][name]
    return [entry["command"], *entry.get("args", [])]


def guarded(name: str, *words: str) -> list[str]:
    """What is started for a server behind mcpguard."""
    return [PROGRAM, "run", "--name", name, "--", *(words or ("npx", "-y", name))]


def tree(home: Path) -> dict[str, tuple[int, int, bytes]]:
    """Everything in a home: mode, time of the last change, and bytes or where a link leads."""
    found = {}
    for folder, folders, files in os.walk(home):
        for path in (Path(folder, name) for name in (*folders, *files)):
            info = path.lstat()
            if path.is_symlink():
                data = os.fsencode(os.readlink(path))
            else:
                data = path.read_bytes() if path.is_file() else b""
            found[str(path.relative_to(home))] = (info.st_mode, info.st_mtime_ns, data)
    return found


def real(place: House) -> dict[str, Path]:
    """Configurations of four hosts with a server that works, in four dialects, and secrets in them."""
    notes = place.root / "notes"
    notes.mkdir()
    (notes / "plan.txt").write_text("meet at noon")
    start, args = sys.executable, [*SERVER, str(notes)]
    words = json.dumps(args)
    return {
        "claude-code": put(
            place.root / ".claude.json",
            {
                "numStartups": 7,
                "mcpServers": {"files": {"type": "stdio", "command": start, "args": args, "env": {"API_KEY": SECRET}}},
                "projects": {str(notes): {"mcpServers": {"files": {"command": start, "args": args}}}},
            },
        ),
        "codex": put(
            place.root / ".codex/config.toml",
            f'# mine\nmodel = "x"  # best\n\n[mcp_servers.files]\ncommand = {json.dumps(start)}\nargs = {words}\n'
            f'env = {{ "API_KEY" = "{SECRET}" }}\n',
        ),
        "vscode": put(
            place.root / ".config/Code/User/mcp.json",
            '{\n\t// servers of mine\n\t"servers": {\n\t\t"files": {\n\t\t\t"type": "stdio",\n'
            f'\t\t\t"command": {json.dumps(start)}, /* this */\n\t\t\t"args": {words},\n\t\t}},\n'
            '\t\t"far": { "type": "http", "url": "https://h.test/mcp", },\n\t},\n}\n',
        ),
        "goose": put(
            place.root / ".config/goose/config.yaml",
            "GOOSE_MODEL: x # best\nextensions:\n  files:\n    type: stdio\n    name: files\n    enabled: true\n"
            f"    cmd: {json.dumps(start)}\n    args:\n" + "".join(f"    - {json.dumps(word)}\n" for word in args)
            + f"    envs:\n      API_KEY: {SECRET}\n    timeout: 300\n",
        ),
    }  # fmt: skip
