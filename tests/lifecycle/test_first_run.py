"""The first day: an empty home, configurations of hosts, init, servers that work, and everything undone."""

import json
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.cli.homes import PROGRAM, SECRET, real
from tests.lifecycle.stage import Host, House, alive, gone, until


def started(name: str, path: Path) -> tuple[list[str], dict[str, str]]:
    """What a host starts for its server `files`, as its own reader of configurations understands the file."""
    text = path.read_text()
    entry: dict[str, Any]
    match name:
        case "codex":
            entry = tomllib.loads(text)["mcp_servers"]["files"]
        case "goose":
            entry = YAML(typ="safe").load(text)["extensions"]["files"]
            return [entry["cmd"], *entry["args"]], entry["envs"]
        case "vscode":
            plain = text.replace("// servers of mine", "").replace("/* this */", "")
            for gap in (",\n\t\t}", ",\n\t}", ",\n}", ", }"):
                plain = plain.replace(gap, gap[1:])
            entry = json.loads(plain)["servers"]["files"]
        case _:
            entry = json.loads(text)["mcpServers"]["files"]
    return [entry["command"], *entry["args"]], entry.get("env", {})


@pytest.mark.parametrize("loop", ["", "asyncio"])
def test_first_day(loop: str) -> None:
    with House(loop) as place:
        files = real(place)
        before = {path: path.read_bytes() for path in files.values()}

        done = place.mcpguard("init", "--yes")
        assert done.returncode == 0, done
        assert SECRET not in done.stdout + done.stderr
        assert all(path.read_bytes() != before[path] for path in before)

        hosts = {}
        for name, path in files.items():
            words, env = started(name, path)
            assert words[:5] == [PROGRAM, "run", "--name", "files", "--"]
            host = Host(words, place.env | env)
            place.hosts.append(host)
            host.greet()
            tools = host.ask("tools/list")["result"]["tools"]
            assert [tool["name"] for tool in tools] == ["list_directory", "read_file", "delete_file"]
            assert host.call("read_file", path="plan.txt")["result"]["content"][0]["text"] == "meet at noon"
            hosts[name] = host

        status = place.mcpguard("status")
        assert status.returncode == 0
        assert "open     4 connections" in status.stdout
        assert "policy   observe" in status.stdout
        tail = place.mcpguard("audit", "tail", "-n", "100").stdout
        assert tail.count("tools/call read_file              allow") == 4
        verified = place.mcpguard("audit", "verify")
        assert verified.returncode == 0, verified
        assert place.mcpguard("doctor").returncode == 0

        for host in hosts.values():
            host.close_stdin()
            assert host.wait() == 0
            (line,) = host.errors()
            assert line.startswith("mcpguard: no policy is applied: watching only, nothing is refused")

        undone = place.mcpguard("host", "unwrap", "--all", "--yes")
        assert undone.returncode == 0, undone
        assert {path: path.read_bytes() for path in before} == before
        assert place.mcpguard("host", "diff", "--check").returncode == 7

        daemon = place.pid()
        assert place.mcpguard("daemon", "stop").returncode == 0
        assert until(lambda: gone(daemon))
        assert until(lambda: not alive(str(place.root / "notes"), shims=True))
        assert place.mcpguard("status").returncode == 3
        assert [pid for pid in filter(str.isdigit, os.listdir("/proc")) if belongs(pid, place.root)] == []


def belongs(pid: str, home: Path) -> bool:
    """Whether a process was started in this home, by its environment; one that ended belongs to nobody."""
    try:
        return f"HOME={home}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
