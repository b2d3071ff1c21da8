"""How sessions end that do not end well: nobody is left behind, nobody waits for ever."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import CLIENTS, HERE, alive

pytestmark = pytest.mark.timeout(60)

# A server that answers `initialize` and does then what its argument says. It needs no SDK.
SERVER = """
import json, os, signal, sys, time
how, place = sys.argv[1:]
with open(place, "w") as file:
    file.write(str(os.getpid()))
for line in sys.stdin:
    message = json.loads(line)
    if message.get("method") == "initialize":
        result = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "x", "version": "1"}}
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
    elif message.get("method") == "tools/call" and how == "crash":
        os._exit(3)
    elif message.get("method") == "tools/call" and how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif message.get("method") == "tools/list":
        tool = {"name": "t", "inputSchema": {"type": "object"}}
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": {"tools": [tool]}}), flush=True)
if how == "status":
    sys.exit(7)
if how == "deaf":
    # Ends neither at the end of its input nor when it is asked to.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(60)
"""


@pytest.fixture
def start(wrapper, env, tmp_path) -> Iterator[Callable[..., subprocess.Popen]]:
    started: list[subprocess.Popen] = []

    def starts(client: str, how: str, steps: list) -> subprocess.Popen:
        started.append(_start(client, how, wrapper, env, tmp_path, steps))
        return started[-1]

    yield starts
    for process in started:
        process.kill()
        process.communicate(timeout=10)


def _start(
    client: str, how: str, wrapper: list[str], env: dict[str, str], directory: Path, steps: list
) -> subprocess.Popen:
    scenario = directory / "scenario.json"
    scenario.write_text(
        json.dumps({"steps": steps, "env": ["HOME", "MCPGUARD_RUNTIME_DIR"]}), encoding="utf-8"
    )
    command = [*CLIENTS[client], "--era", "legacy", "--scenario", scenario, "--", *wrapper]
    command += [sys.executable, "-I", "-c", SERVER, how, directory / "pid"]
    return subprocess.Popen(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=env,
        cwd=HERE,
        start_new_session=True,
    )


def server_pid(directory: Path, within: float = 10) -> int:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if (directory / "pid").exists() and (text := (directory / "pid").read_text(encoding="utf-8")):
            return int(text)
        time.sleep(0.02)
    raise AssertionError("no server was started")


def gone(pid: int, within: float) -> bool:
    deadline = time.monotonic() + within
    while alive(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def closed(output: bytes) -> dict:
    return [json.loads(line) for line in output.split(b"\n") if line][-1]["closed"]


CALL = [{"op": "call", "name": "t", "args": {}}]


@pytest.mark.parametrize("client", CLIENTS)
def test_the_status_of_the_server_is_the_status_of_the_wrapper(client, start):
    process = start(client, "status", [])
    output, _ = process.communicate(timeout=30)
    assert closed(output)["status"] == 7


@pytest.mark.parametrize(
    ("client", "how", "status"),
    [("python", "crash", 3), ("ts1", "crash", 3), ("ts2", "crash", 3), ("ts2", "killed", None)],
)
def test_a_server_that_dies_in_a_call(client, how, status, start, tmp_path):
    """The client hears of it at once, and does not wait for an answer that never comes."""
    started = time.monotonic()
    process = start(client, how, [*CALL, {"op": "sleep", "seconds": 0.1}])
    output, errors = process.communicate(timeout=30)
    assert time.monotonic() - started < 10, errors
    records = [json.loads(line) for line in output.split(b"\n") if line]
    error = next(record["error"] for record in records if "error" in record)
    # The client finds out ("connection closed"), or the guard answers for the server.
    assert any(word in error["message"].lower() for word in ("closed", "ended")), error
    if status is not None:
        assert records[-1]["closed"]["status"] == status
    assert gone(server_pid(tmp_path), 2)


@pytest.mark.parametrize("client", ["python", "ts2"])
def test_a_server_that_does_not_end(client, start, tmp_path):
    """The clients wait for two seconds, ask, wait again and kill; nothing is left after that."""
    process = start(client, "deaf", [])
    output, errors = process.communicate(timeout=30)
    assert closed(output)["seconds"] < 6, errors
    assert gone(server_pid(tmp_path), 3)


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_that_is_killed(client, start, tmp_path):
    """Its end closes the server's input, which is all a server gets to know."""
    process = start(client, "well", [{"op": "list", "kind": "tools"}, {"op": "sleep", "seconds": 60}])
    pid = server_pid(tmp_path)
    assert process.stdout
    while b'"step": "sleep"' not in (line := process.stdout.readline()) and b'"step":"sleep"' not in line:
        assert line
    process.kill()
    process.communicate(timeout=10)
    assert gone(pid, 5)
