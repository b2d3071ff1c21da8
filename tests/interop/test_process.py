"""What a server inherits is what it would have inherited from its host, whoever started it."""

import json
import sys
from pathlib import Path

import harness
import pytest
from harness import run
from scenarios import Scenario, call

pytestmark = pytest.mark.timeout(60)

# A server without an SDK, whose only tool tells what its process is like.
SERVER = """
import json, os, resource, signal, sys
umask = os.umask(0)
os.umask(umask)
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
facts = {
    "argv": sys.argv[1:],
    "cwd": os.getcwd(),
    "umask": oct(umask),
    "nice": os.nice(0),
    "open files": resource.getrlimit(resource.RLIMIT_NOFILE),
    "core": resource.getrlimit(resource.RLIMIT_CORE),
    "signals blocked": status["SigBlk"].strip(),
    "descriptors": sorted(int(name) for name in os.listdir("/proc/self/fd"))[:3],
    "inherited": [fd for fd in range(3, 256) if os.path.exists(f"/proc/self/fd/{fd}") and os.get_inheritable(fd)],
    "uid": [os.getuid(), os.geteuid(), os.getgid()],
    "groups": sorted(os.getgroups()),
    "terminal": sys.stdin.isatty(),
}
for line in sys.stdin:
    message = json.loads(line)
    if message.get("method") == "initialize":
        result = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "x", "version": "1"}}
    elif message.get("method") == "tools/call":
        result = {"content": [{"type": "text", "text": json.dumps(facts)}]}
    elif message.get("method") == "tools/list":
        result = {"tools": [{"name": "facts", "inputSchema": {"type": "object"}}]}
    else:
        continue
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
"""


@pytest.mark.parametrize("client", ["python", "ts1"])
def test_the_process_is_the_same(client, wrapper, env, tmp_path: Path, monkeypatch):
    command = [sys.executable, "-I", "-c", SERVER, "", "two words", "--flag=ü", "--", "$HOME"]
    monkeypatch.setitem(harness.SERVERS, "facts", command)
    cwd = tmp_path / "work ü"
    cwd.mkdir()
    scenario = Scenario((call("facts"),), options={"cwd": str(cwd)})
    direct, wrapped = (
        run(client, "legacy", "facts", scenario, wrapper=words, directory=tmp_path / name, env=env)
        for words, name in (([], "run-1"), (wrapper, "run-2"))
    )
    assert facts(wrapped) == facts(direct)
    assert facts(direct)["cwd"] == str(cwd)


def facts(outcome: harness.Run) -> dict:
    return json.loads(outcome.outcomes("call")[0]["result"]["content"][0]["text"])


def test_environment(wrapper, env, tmp_path: Path):
    """What the host's configuration sets reaches the server."""
    scenario = Scenario((call("get-env"),))
    outcome = run(
        "ts1", "legacy", "everything", scenario, wrapper=wrapper, directory=tmp_path / "run", env=env
    )
    answer = outcome.outcomes("call")[0]["result"]
    environment = json.loads(answer["content"][0]["text"])
    assert environment["INTEROP_TOKEN"] == env["INTEROP_TOKEN"]
    assert environment["HOME"] == env["HOME"]
    assert environment["PATH"]
