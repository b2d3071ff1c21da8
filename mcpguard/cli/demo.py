"""`mcpguard demo`: a real server, a real client, and what mcpguard does between them. No network, nothing kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from mcpguard.cli import demo_server

_POLICY = """\
version = 1
mode = "enforce"
unpinned = "allow"

[[rule]]
id = "look-but-do-not-touch"
server = "files"
tools = ["list_*", "read_*"]
effect = "allow"
"""
_SECONDS = 20.0


class _NotAsToldError(Exception):
    """A step did not do what the story says."""


class _Client:
    """A small MCP host: starts `mcpguard run -- SERVER` and speaks JSON lines with it."""

    def __init__(self, environment: dict[str, str], files: Path) -> None:
        server = [sys.executable, "-I", demo_server.__file__, str(files)]
        self.process = subprocess.Popen(  # noqa: S603 (our own programs)
            [*_MCPGUARD, "run", "--name", "files", "--", *server],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment,
        )  # fmt: skip
        self.ident = 0

    def send(self, line: bytes) -> dict[str, Any]:
        if self.process.stdin is None or self.process.stdout is None:
            raise _NotAsToldError("no pipes to the server")
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline() or b"{}")
        return answer

    def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self.ident += 1
        request = {"jsonrpc": "2.0", "id": self.ident, "method": method, "params": params}
        return self.send(json.dumps(request).encode())

    def call(self, tool: str, path: str) -> dict[str, Any]:
        return self.ask("tools/call", {"name": tool, "arguments": {"path": path}})

    def close(self) -> int:
        if self.process.stdin is not None:
            self.process.stdin.close()
        return self.process.wait(_SECONDS)


_MCPGUARD = [sys.executable, "-I", "-m", "mcpguard"]


@click.command()
def demo() -> None:
    """See mcpguard work: a real file server, a real client, a temporary HOME, a dozen lines.

    Exits 0 only if every step did what it says.
    """
    try:
        with _stage() as (environment, files):
            _play(environment, files)
    except _NotAsToldError as error:
        raise click.ClickException(f"the demo did not go as told: {error}") from error
    click.echo("Next: put `mcpguard run --` before a server's command in your host's configuration;")
    click.echo("      then: mcpguard status   mcpguard audit tail -f   mcpguard policy --help")


@contextmanager
def _stage() -> Iterator[tuple[dict[str, str], Path]]:
    with tempfile.TemporaryDirectory(prefix="mcpguard-demo-") as name:
        home = Path(name)
        files = home / "notes"
        files.mkdir()
        (files / "plan.txt").write_text("meet at noon")
        environment = {key: os.environ[key] for key in ("PATH", "LANG", "LC_ALL") if key in os.environ}
        environment |= {
            "HOME": name,
            "MCPGUARD_RUNTIME_DIR": f"{name}/run",
            "MCPGUARD_STATE_DIR": f"{name}/state",
        }
        try:
            yield environment, files
        finally:
            _mcpguard(environment, "daemon", "stop")


def _mcpguard(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 (our own program)
        [*_MCPGUARD, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=_SECONDS,
    )


def _play(environment: dict[str, str], files: Path) -> None:
    policy = files.parent / "policy.toml"
    policy.write_text(_POLICY)
    applied = _mcpguard(environment, "policy", "apply", str(policy))
    _expect(applied.returncode == 0, f"policy apply: {applied.stderr}")
    _tell("policy", "applied: this server may list and read, nothing else")
    client = _Client(environment, files)
    _greet(client)
    listed = [tool["name"] for tool in _result(client.ask("tools/list", {}))["tools"]]
    _expect(listed == ["list_directory", "read_file"], f"the list shows {listed}")
    _tell("list", f"the server has 3 tools, the host sees {len(listed)}: {', '.join(listed)}")
    text = _result(client.call("read_file", "plan.txt"))["content"][0]["text"]
    _expect(text == "meet at noon", f"read_file gave {text!r}")
    _tell("allowed", f'read_file plan.txt: "{text}"')
    _refused(client, files)
    code = client.close()
    _expect(code == 0, f"the server ended with {code}")
    _tell("end", "the host closed the connection, the server is gone, exit 0")
    verified = _mcpguard(environment, "audit", "verify")
    _expect(verified.returncode == 0, f"audit verify: {verified.stdout}{verified.stderr}")
    _tell("evidence", verified.stdout.splitlines()[1].partition(";")[0])


def _greet(client: _Client) -> None:
    hello = {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "demo", "version": "1"},
    }
    name = _result(client.ask("initialize", hello))["serverInfo"]["name"]
    _expect(name == "demo-files", f"the server is {name}")
    _tell("connect", "host and server speak through mcpguard and see no difference")


def _refused(client: _Client, files: Path) -> None:
    denied = client.call("delete_file", "plan.txt")
    _expect("error" in denied and (files / "plan.txt").exists(), f"delete_file gave {denied}")
    _tell("denied", f'delete_file plan.txt: "{denied["error"]["message"]}", and the file is still there')
    smuggled = (
        b'{"jsonrpc":"2.0","id":99,"method":"tools/call","params":'
        b'{"name":"read_file","name":"delete_file","arguments":{"path":"plan.txt"}}}'
    )
    answer = client.send(smuggled)
    _expect("error" in answer and (files / "plan.txt").exists(), f"the smuggled call gave {answer}")
    _tell("smuggled", f'two "name" keys, one of them delete_file: "{answer["error"]["message"]}"')


def _result(answer: dict[str, Any]) -> dict[str, Any]:
    _expect("result" in answer, f"no result: {answer}")
    result: dict[str, Any] = answer["result"]
    return result


def _expect(held: bool, otherwise: str) -> None:
    if not held:
        raise _NotAsToldError(otherwise)


def _tell(step: str, text: str) -> None:
    click.echo(f"{step:>9}  {text}")
