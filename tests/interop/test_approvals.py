"""Real clients of both eras: a call waits, a person approves it in another terminal, it goes through exactly once."""

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import GUARD, daemon_home
from harness import Run, run
from scenarios import Scenario, answers, call

pytestmark = pytest.mark.timeout(120)

POLICY = """\
version = 1
mode = "enforce"
unpinned = "allow"
[approvals]
timeout = "{timeout}"
{more}
[[rule]]
id = "all"
tools = ["*"]
methods = ["*"]
effect = "allow"
[[rule]]
id = "asks"
tools = ["echo"]
effect = "ask"
"""
SESSIONS = [
    ("python", "legacy", "python"), ("python", "modern", "python"), ("ts1", "legacy", "everything"),
    ("ts2", "legacy", "ts2"), ("ts2", "modern", "ts2"),
]  # fmt: skip


@pytest.fixture
def home(tmp_path: Path, guarded: bool) -> Iterator[dict[str, str]]:
    if not guarded:
        pytest.skip("approvals need mcpguard as the wrapper")
    yield from daemon_home(tmp_path / "home")


def guard(env: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([GUARD, *words], env=env, capture_output=True, text=True, timeout=30, check=False)


def apply(env: dict[str, str], timeout: str = "60s", more: str = "") -> None:
    file = Path(env["HOME"]) / "policy.toml"
    file.write_text(POLICY.format(timeout=timeout, more=more))
    done = guard(env, "policy", "apply", str(file))
    assert done.returncode == 0, done


def meanwhile(env: dict[str, str], answer: Callable[[str], Any]) -> threading.Thread:
    """A person at another terminal, who answers what waits."""

    def person() -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            shown = guard(env, "pending", "--json")
            tickets = json.loads(shown.stdout)["tickets"] if shown.returncode == 0 else []
            if tickets:
                answer(tickets[0]["id"])
                return
            time.sleep(0.05)

    thread = threading.Thread(target=person)
    thread.start()
    return thread


def session(
    client: str, mode: str, server: str, steps: list[Any], wrapper: list[str], env: Any, place: Path
) -> Run:
    return run(client, mode, server, Scenario(tuple(steps)), wrapper=wrapper, directory=place, env=env)


def said(server: str) -> dict[str, Any]:
    return {"message": "hello"} if server == "everything" else {"text": "hello"}


def echoes(outcome: Run) -> int:
    return [message["params"]["name"] for message in outcome.received("tools/call")].count("echo")


@pytest.mark.parametrize(("client", "mode", "server"), SESSIONS)
def test_a_call_waits_and_goes_through_exactly_once(client, mode, server, wrapper, home, tmp_path: Path):
    apply(home)
    replies: list[subprocess.CompletedProcess[str]] = []
    person = meanwhile(home, lambda ident: replies.append(guard(home, "approve", ident, "--yes")))
    steps = [call("echo", **said(server))]
    outcome = session(client, mode, server, steps, wrapper, home, tmp_path / "run")
    person.join()
    assert [reply.returncode for reply in replies] == [0], replies
    (answer,) = outcome.outcomes("call", "echo")
    assert "hello" in json.dumps(answer["result"])
    assert echoes(outcome) == 1
    assert outcome.gone()


@pytest.mark.parametrize(("client", "mode", "server"), SESSIONS)
def test_nobody_answers(client, mode, server, wrapper, home, tmp_path: Path):
    apply(home, timeout="1s")
    outcome = session(client, mode, server, [call("echo", **said(server))], wrapper, home, tmp_path / "run")
    (answer,) = outcome.outcomes("call", "echo")
    assert answer["result"].get("isError") is True
    assert "nobody answered in time" in json.dumps(answer["result"])
    assert echoes(outcome) == 0


@pytest.mark.parametrize(("client", "mode", "server"), SESSIONS)
def test_a_person_says_no_and_why(client, mode, server, wrapper, home, tmp_path: Path):
    apply(home)
    person = meanwhile(home, lambda ident: guard(home, "deny", ident, "--reason", "not on Fridays"))
    outcome = session(client, mode, server, [call("echo", **said(server))], wrapper, home, tmp_path / "run")
    person.join()
    (answer,) = outcome.outcomes("call", "echo")
    assert "not on Fridays" in json.dumps(answer["result"])
    assert echoes(outcome) == 0


IN_BAND = [each for each in SESSIONS if each[2] != "everything"]


@pytest.mark.parametrize(("client", "mode", "server"), IN_BAND)
@pytest.mark.parametrize("yes", [True, False])
def test_the_hosts_own_user_is_asked_where_policy_permits_it(
    client, mode, server, yes, wrapper, home, tmp_path: Path
):
    apply(home, more='elicitation = ["any"]')
    given = {"action": "accept", "content": {"decision": "allow once"}} if yes else {"action": "decline"}
    steps = [answers(form=given), call("echo", **said(server))]
    outcome = session(client, mode, server, steps, wrapper, home, tmp_path / "run")
    (answer,) = outcome.outcomes("call", "echo")
    assert ("hello" in json.dumps(answer.get("result")) and not answer["result"].get("isError")) is yes, (
        answer
    )
    assert echoes(outcome) == (1 if yes else 0)
