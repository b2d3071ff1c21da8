"""A real npm server from the registry: registered, pinned, run without npx, refused once its tree has changed."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

GUARD = Path(sys.executable).with_name("mcpguard")
PACKAGE = "@modelcontextprotocol/server-memory"
HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}


@pytest.fixture(scope="module", autouse=True)
def registry() -> None:
    found = subprocess.run(["npm", "view", PACKAGE, "version"], capture_output=True, timeout=100, check=False)
    if found.returncode:
        pytest.skip("the npm registry cannot be reached, and this is about a package of it")


@pytest.fixture
def env(tmp_path: Path) -> Iterator[dict[str, str]]:
    """As a user has it: npm's own configuration is kept, our state is not."""
    (tmp_path / "words").write_text("correct horse")
    (tmp_path / "words").chmod(0o600)
    env = {
        **os.environ,
        "MCPGUARD_RUNTIME_DIR": str(tmp_path / "run"),
        "MCPGUARD_STATE_DIR": str(tmp_path / "state"),
        "MCPGUARD_PASSPHRASE_FILE": str(tmp_path / "words"),
        "MEMORY_FILE_PATH": str(tmp_path / "memory.json"),
    }
    yield env
    subprocess.run([GUARD, "daemon", "stop"], env=env, capture_output=True, timeout=20, check=False)


def guard(env: dict[str, str], *words: str, code: int = 0) -> str:
    done = subprocess.run(
        [GUARD, *words],
        env=env,
        capture_output=True,
        text=True,
        timeout=200,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == code, (words, done.stdout, done.stderr)
    return done.stdout + done.stderr


def start(env: dict[str, str]) -> tuple[dict[str, Any], str]:
    """The first answer of the server behind the guard, for a host that says npx; and its stderr."""
    with subprocess.Popen(
        [GUARD, "run", "--", "npx", "-y", PACKAGE],
        env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as host:  # fmt: skip
        host.stdin.write(json.dumps(HELLO) + "\n")
        host.stdin.flush()
        line = host.stdout.readline()
        host.stdin.close()
        said = host.stderr.read()
    return (json.loads(line) if line else {}), said


def test_pinned_server_runs_without_npx_and_not_at_all_once_it_changed(
    env: dict[str, str], tmp_path: Path
) -> None:
    npm_cache = {**env, "npm_config_cache": str(tmp_path / "cache")}
    guard(
        npm_cache,
        "server",
        "add",
        "server-memory",
        "--pass",
        "MEMORY_FILE_PATH",
        "--yes",
        "--",
        "npx",
        "-y",
        PACKAGE,
    )
    said = guard(env, "server", "pin", "server-memory", "--yes")
    assert "(compared, not executed)" in said
    envelope = json.loads((tmp_path / "state/servers/server-memory/manifest.json").read_text())
    predicate = json.loads(base64.b64decode(envelope["payload"]))["predicate"]
    tree = tmp_path / "state/store/npm" / predicate["packages"][0]["tree"]["sha256"]
    assert predicate["launch"]["host_argv"] == ["npx", "-y", PACKAGE]
    assert tree.is_dir()

    offline = {**env, "npm_config_registry": "http://127.0.0.1:9", "npm_config_cache": str(tmp_path / "none")}
    answer, _ = start(offline)
    assert answer["result"]["serverInfo"]["name"] == "memory-server"
    assert not (tmp_path / "none").exists()  # npm did not run

    program = tree / "node_modules" / PACKAGE / "dist" / "index.js"
    program.chmod(0o600)
    program.write_text(program.read_text() + "\n")
    answer, said = start(env)
    assert "result" not in answer
    assert "has changed" in said + json.dumps(answer)
