"""Real clients under an enforced policy: what is refused does not happen, and the session goes on."""

import dataclasses
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import GUARD, daemon_home
from harness import Run, run
from scenarios import LEGACY, Scenario, call, lists, read
from transcript import MAX_TTL_MS

pytestmark = pytest.mark.timeout(120)

POLICY = """
version = 1
mode = "enforce"
unpinned = "allow"

[[rule]]
id = "everything-else"
server = "*"
tools = ["*"]
methods = [
  "resources/*", "prompts/*", "completion/complete", "sampling/createMessage", "elicitation/create",
  "roots/list", "subscriptions/listen",
]
effect = "allow"

[[rule]]
id = "no-media"
server = "*"
tools = ["media", "add*", "get-sum", "get-env"]
effect = "deny"

[[rule]]
id = "no-prompts"
server = "*"
methods = ["prompts/*", "sampling/createMessage"]
effect = "deny"
"""

CLIENTS = [("python", "legacy"), ("python", "auto"), ("ts1", "legacy"), ("ts2", "legacy"), ("ts2", "modern")]


@dataclasses.dataclass(frozen=True)
class Case:
    """What there is to refuse and to allow on one server."""

    denied: str
    arguments: dict[str, object]
    allowed: str
    allowed_arguments: dict[str, object]
    samples: str


CASES = {
    "python": Case("add", {"a": 1}, "echo", {"text": "hello"}, "sample"),
    "ts2": Case("media", {}, "echo", {"text": "hello"}, "sample"),
    "everything": Case("get-sum", {"a": 1, "b": 2}, "echo", {"message": "hello"}, "trigger-sampling-request"),
}


@pytest.fixture(scope="module")
def enforced(tmp_path_factory: pytest.TempPathFactory, guarded: bool) -> Iterator[dict[str, str]]:
    """An environment of its own whose daemon enforces POLICY."""
    if not guarded:
        pytest.skip("policy needs mcpguard as the wrapper")
    for env in daemon_home(tmp_path_factory.mktemp("policy")):
        file = Path(env["HOME"]) / "policy.toml"
        file.write_text(POLICY, encoding="utf-8")
        done = subprocess.run(
            [GUARD, "policy", "apply", file],
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        yield env


def session(
    client: str, mode: str, server: str, wrapper: list[str], env: dict[str, str], directory: Path
) -> Run:
    case = CASES[server]
    steps = (
        {"op": "sleep", "seconds": 0.1},
        *lists(),
        call(case.denied, **case.arguments),
        call(case.allowed, **case.allowed_arguments),
        call("nothing-of-the-kind"),
        {"op": "prompt", "name": "greet", "args": {"name": "x"}},
        call(case.samples, prompt="hello"),
        read("memo://text"),
        {"op": "concurrent", "name": case.denied, "count": 5, "args": case.arguments},
        {"op": "ping", "only": LEGACY},
        call(case.allowed, **case.allowed_arguments),
    )
    return run(client, mode, server, Scenario(steps), wrapper=wrapper, directory=directory, env=env)


# server-everything speaks the legacy era only: the legacy clients do.
SESSIONS = [
    (client, mode, server)
    for server in CASES
    for client, mode in CLIENTS
    if server != "everything" or mode != "modern"
]


@pytest.mark.parametrize(("client", "mode", "server"), SESSIONS)
def test_denied_tools(client, mode, server, wrapper, enforced, tmp_path: Path):
    case = CASES[server]
    outcome = session(client, mode, server, wrapper, enforced, tmp_path / "run")

    # Not listed; the others are.
    tools = outcome.outcomes("list")[0]["result"]
    names = [
        tool["name"] for page in (tools if isinstance(tools, list) else [tools]) for tool in page["tools"]
    ]
    assert case.denied not in names
    assert case.allowed in names

    # Calling it is answered: with a result the model can read, or as a tool that does not exist.
    refusals = outcome.outcomes("call", case.denied)
    assert len(refusals) == 1
    assert refused(refusals[0]), refusals[0]
    many = outcome.outcomes("concurrent", case.denied)[0]
    assert "error" in many or all(refused({"result": one}) for one in many["result"])

    # The session goes on.
    for answer in outcome.outcomes("call", case.allowed):
        assert "hello" in json.dumps(answer["result"])
    assert len(outcome.outcomes("call", case.allowed)) == 2

    # None of it reached the server; what was allowed did, and only that.
    called = [message["params"]["name"] for message in outcome.received("tools/call")]
    assert case.denied not in called
    assert called.count(case.allowed) == 2
    assert outcome.gone()


@pytest.mark.parametrize(("client", "server"), [("python", "python"), ("ts2", "ts2")])
def test_lists_may_not_be_shared_or_kept(client, server, wrapper, enforced, tmp_path: Path):
    """What a principal may see is decided anew as policy changes: caches must ask again, and each for itself."""
    outcome = run(
        client,
        "modern",
        server,
        Scenario(tuple(lists())),
        wrapper=wrapper,
        directory=tmp_path / "run",
        env=enforced,
    )
    results = [
        json.loads(record["raw"]).get("result", {})
        for record in outcome.records
        if record.get("wire") == "received"
    ]
    pages = [result for result in results if {"tools", "resources", "resourceTemplates"} & set(result)]
    assert len(pages) > 5
    assert {page["cacheScope"] for page in pages} == {"private"}
    assert max(page["ttlMs"] for page in pages) <= MAX_TTL_MS


def refused(record: dict) -> bool:
    if "error" in record:
        return record["error"].get("code") == -32602
    return record["result"].get("isError") is True


@pytest.mark.parametrize(("client", "mode"), CLIENTS)
def test_denied_methods(client, mode, wrapper, enforced, tmp_path: Path):
    outcome = session(client, mode, "python", wrapper, enforced, tmp_path / "run")

    # Prompts: an error for the caller, nothing for the server. (A client may also see that the server has no
    # prompts and not ask at all.)
    prompt = outcome.outcomes("prompt")[0]
    assert "error" in prompt, prompt
    assert not outcome.received("prompts/get")
    # What is allowed still is.
    resource = outcome.outcomes("read")[0]
    assert "three" in json.dumps(resource["result"])

    # Sampling: the client is not asked, in either era, and the call it was for ends.
    sampled = outcome.outcomes("call", "sample")[0]
    assert "error" in sampled or sampled["result"].get("isError"), sampled
    assert "fixed-model" not in json.dumps(outcome.received())
    assert not [
        record for record in outcome.records if "wire" in record and "sampling/createMessage" in asked(record)
    ]


def asked(record: dict) -> str:
    """Give the methods the client was asked for by one message: as a request, or within a result."""
    message = json.loads(record["raw"])
    if record["wire"] != "received":
        return ""
    embedded = (message.get("result") or {}).get("inputRequests") or {}
    return " ".join([message.get("method") or "", *(item["method"] for item in embedded.values())])


def test_unknown_tasks(wrapper, env, tmp_path: Path):
    """A task that is not the caller's is refused as one that does not exist, by whoever comes first."""
    steps = tuple(
        {"op": "raw", "method": f"tasks/{verb}", "params": {"taskId": "nothing"}}
        for verb in ("get", "result", "cancel")
    )
    outcome = run(
        "ts1", "legacy", "everything", Scenario(steps), wrapper=wrapper, directory=tmp_path / "run", env=env
    )
    assert [answer["error"]["code"] for answer in outcome.outcomes("raw")] == [-32602] * 3
