"""Real agent hosts, whose configurations `mcpguard init` has changed, against a real server: they connect, nothing stays.

Hosts that look after their servers without an account do so here; the others have to find their configuration as valid
as before. Where a host needs a model to start a server, nothing more can be shown.
"""

import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import GUARD, daemon_home

HERE = Path(__file__).parent / "hosts"
MODULES = HERE / "node_modules"
BIN = MODULES / ".bin"
SERVER = Path(__file__).parents[2] / "mcpguard" / "cli" / "demo_server.py"
QUIET = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1", "DISABLE_TELEMETRY": "1",
    "OPENCODE_DISABLE_AUTOUPDATE": "1", "OPENCODE_DISABLE_MODELS_FETCH": "1", "NO_UPDATE_NOTIFIER": "1",
    "NO_COLOR": "1", "COPILOT_AUTO_UPDATE": "false", "CI": "1",
}  # fmt: skip
SECONDS = 90

pytestmark = pytest.mark.timeout(900)


def packaged(pattern: str) -> str:
    """A program that a package brings for this kind of machine."""
    machine = {"x86_64": "x64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    found = sorted(MODULES.glob(pattern.format(machine=machine)))
    assert found, f"no program {pattern} for this machine"
    return str(found[0])


CLAUDE = "@anthropic-ai/claude-code-linux-{machine}/claude"
OPENCODE = "opencode-linux-{machine}/bin/opencode"

CONNECTING: dict[str, tuple[Callable[[], list[str]], str]] = {
    "claude-code": (lambda: [packaged(CLAUDE), "mcp", "list"], "Connected"),
    "gemini": (lambda: [str(BIN / "gemini"), "mcp", "list"], "Connected"),
    "qwen-code": (lambda: [str(BIN / "qwen"), "mcp", "list"], "Connected"),
    "opencode": (lambda: [packaged(OPENCODE), "mcp", "list"], "connected"),
}
READING: dict[str, tuple[Callable[[], list[str]], str]] = {
    "codex": (lambda: [str(BIN / "codex"), "mcp", "list"], "run --name files --"),
    "copilot": (lambda: [str(BIN / "copilot"), "mcp", "get", "files"], "run --name files --"),
    "cline": (lambda: [str(BIN / "cline"), "config", "mcp"], "files [stdio]"),
}


@pytest.fixture(scope="module", autouse=True)
def hosts() -> None:
    """Install what the lock says, without running anything of it.

    Not by `npm ci`: it refuses a lock without those packages of other platforms that the registry did not have.
    """
    stamp = MODULES / ".package-lock.json"
    if stamp.exists() and stamp.stat().st_mtime >= (HERE / "package-lock.json").stat().st_mtime:
        return
    npm = shutil.which("npm")
    assert npm is not None
    words = [npm, "install", "--no-save", "--ignore-scripts"]
    subprocess.run(words, cwd=HERE, capture_output=True, check=True, timeout=600)
    stamp.touch()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A HOME of a user of all these hosts, with one server in each of them, after `mcpguard init`."""
    for env in daemon_home(tmp_path_factory.mktemp("hosts")):
        where = Path(env["HOME"])
        for name, text in configurations(where).items():
            (where / name).parent.mkdir(parents=True, exist_ok=True)
            (where / name).write_text(text)
        done = guard(env, "init", "--yes")
        assert done.returncode == 0, done
        assert "7 servers of" in done.stdout
        yield {**env, **QUIET}


def configurations(where: Path) -> dict[str, str]:
    """What each host is told of the server, in its own words."""
    files = where / "files"
    files.mkdir(parents=True)
    (files / "hello.txt").write_text("hello\n")
    command, arguments = sys.executable, ["-I", str(SERVER), str(files)]
    entry = {"command": command, "args": arguments}
    common = json.dumps({"mcpServers": {"files": entry}}, indent=2)
    copilot = {"mcpServers": {"files": {"type": "local", "tools": ["*"], **entry}}}
    opencode = {"mcp": {"files": {"type": "local", "command": [command, *arguments], "enabled": True}}}
    return {
        ".claude.json": common,
        ".gemini/settings.json": common,
        ".gemini/trustedFolders.json": json.dumps({str(files): "TRUST_FOLDER"}),
        ".qwen/settings.json": common,
        ".cline/data/settings/cline_mcp_settings.json": common,
        ".copilot/mcp-config.json": json.dumps(copilot, indent=2),
        ".config/opencode/opencode.json": "// mine\n" + json.dumps(opencode, indent=2),
        ".codex/config.toml": f"# mine\n[mcp_servers.files]\ncommand = '{command}'\nargs = {json.dumps(arguments)}\n",
    }


def guard(env: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(GUARD), *words], env=env, capture_output=True, text=True, timeout=60, check=False
    )


def told(env: dict[str, str], words: list[str]) -> str:
    """What a host prints."""
    done = subprocess.run(
        words, env=env, cwd=Path(env["HOME"]) / "files", stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=SECONDS, check=False,
    )  # fmt: skip
    return done.stdout + done.stderr


def sessions(env: dict[str, str]) -> list[dict[str, Any]]:
    lines = guard(env, "audit", "tail", "-n", "10000", "--json").stdout.splitlines()
    return [record for record in map(json.loads, lines) if record["type"] == "session"]


def servers(env: dict[str, str]) -> list[str]:
    """Server processes of this home that are alive."""
    mark = str(Path(env["HOME"]) / "files").encode()
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if mark in words:
            found.append(name)
    return found


@pytest.mark.parametrize("host", CONNECTING)
def test_a_host_connects_through_mcpguard_and_leaves_nothing(home: dict[str, str], host: str) -> None:
    command, word = CONNECTING[host]
    before = len(sessions(home))
    seen = told(home, command())
    assert word in seen, seen
    events = sessions(home)[before:]
    assert [one["event"] for one in events][:2] == ["begin", "ready"], seen
    assert all(one["server"] == "files" for one in events)
    assert events[0]["host"]["grade"] >= "G1", events[0]["host"]
    deadline = time.monotonic() + 10
    while servers(home) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert servers(home) == []
    assert json.loads(guard(home, "audit", "verify", "--json").stdout)["state"] == "ok"


@pytest.mark.parametrize("host", READING)
def test_a_host_reads_the_changed_configuration(home: dict[str, str], host: str) -> None:
    command, words = READING[host]
    seen = told(home, command())
    assert words in " ".join(seen.split()), seen


def test_every_entry_is_as_it_was_after_unwrapping(home: dict[str, str]) -> None:
    """Last: hosts may have written state of their own into their files, so entries are compared, and files where not."""
    where = Path(home["HOME"])
    wanted = configurations_again(where)
    done = guard(home, "host", "unwrap", "--all", "--yes")
    assert done.returncode == 0, done
    for name, text in wanted.items():
        now = (where / name).read_text()
        if name.endswith(".toml"):
            assert tomllib.loads(now)["mcp_servers"] == tomllib.loads(text)["mcp_servers"]
        elif name not in (".claude.json", ".gemini/settings.json", ".qwen/settings.json"):
            assert now == text
        else:
            assert json.loads(now)["mcpServers"] == json.loads(text)["mcpServers"]


def configurations_again(where: Path) -> dict[str, str]:
    """As before, without making the folder."""
    shutil.rmtree(where / "files")
    return {name: text for name, text in configurations(where).items() if "trusted" not in name}
