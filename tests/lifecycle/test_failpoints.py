"""`kill -9` of daemon, server or shim at each step of a call's way: no orphan, no lost record, nothing sent twice."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lifecycle.stage import Host, House, alive, until

POLICY = 'version = 1\nmode = "enforce"\nunpinned = "allow"\n[[rule]]\nid = "all"\ntools = ["*"]\neffect = "allow"\n'
FAILING = Path(__file__).with_name("failing.py")
STEPS = {
    "a call is judged": "after mcpguard.gate.gate:Gate.handle",
    "its record is about to be written": "before mcpguard.system.journal:Journal.append",
    "its record is written": "after mcpguard.system.journal:Journal.append",
    "it is about to be forwarded": "before mcpguard.daemon.streams:Outlet.write",
    "it is forwarded": "after mcpguard.daemon.streams:Outlet.write",
    "its outcome is about to be recorded": "before mcpguard.daemon.recorder:Recorder.later",
    "its outcome is kept for the next write": "after mcpguard.daemon.recorder:Recorder.later",
    "the log is about to be synced": "before mcpguard.system.journal:Journal.finish",
    "the log is synced": "after mcpguard.system.journal:Journal.finish",
}
STARTS = {
    "a shim is admitted": "before mcpguard.daemon.admission:Admission.admit",
    "a server is about to be started": "before mcpguard.daemon.spawn:Spawner.spawn",
    "a server is started": "after mcpguard.daemon.spawn:Spawner.spawn",
    "a connection begins": "before mcpguard.daemon.session:Session.run",
    "its server was told to end": "after mcpguard.daemon.session:Session.end",
}


class Failing(House):
    """A house whose daemon fails at one step, once it is armed."""

    def fail(self, step: str, victim: str) -> None:
        self.daemon = subprocess.Popen(
            [sys.executable, str(FAILING), step, victim, str(self.root)],
            env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert until(self.answers), self.daemon.communicate()
        self.policy(POLICY)

    def arm(self) -> None:
        (self.root / "armed").touch()

    def fired(self) -> bool:
        return (self.root / "fired").exists()


@pytest.fixture
def place() -> Iterator[Failing]:
    with Failing() as made:
        yield made


def notes(host: Host) -> list[str]:
    path = host.home / "notes"
    return path.read_text().split() if path.exists() else []


def answers(host: Host) -> list[dict]:
    """Everything the host still gets."""
    return [message for message in host.rest() if "id" in message]


def stopped(place: Failing) -> None:
    """No daemon: neither ours nor one that the shim has started, after which ours would have its turn."""
    daemon = place.daemon
    assert daemon
    assert until(lambda: place.mcpguard("daemon", "stop").returncode == 3 and daemon.poll() is not None)


def settled(place: Failing, host: Host, victim: str, sent: int) -> None:
    """After the fact: start again if need be, and hold the log against what really happened."""
    assert until(place.fired)
    host.close_stdin()
    got = answers(host)
    host.wait()
    assert until(lambda: not alive(host.marker, shims=True)), "something was left behind"
    assert place.daemon
    if victim == "daemon":
        place.daemon.wait(20)
        place.serve()
    assert place.mcpguard("audit", "verify").returncode == 0
    done = notes(host)
    assert len(done) == len(set(done)), "something was sent twice"
    calls = [one for one in place.records() if one["type"] == "call" and one.get("tool") == "note"]
    ends = {(one["conn"], one["id"]) for one in place.records() if one["type"] == "outcome"}
    assert len(calls) >= len(done), "a call went through without a record"
    assert len(calls) <= sent
    stopped(place)
    listed = json.loads(place.mcpguard("audit", "unknown", "--json").stdout)["calls"]
    unknown = {(one["conn"], one["id"]) for one in listed}
    assert {(one["conn"], one["id"]) for one in calls} - ends <= unknown
    assert not unknown & ends
    idents = [one["id"] for one in got]
    assert len(idents) == len(set(idents)), "a call was answered twice"
    place.serve()
    fresh = place.play().greet()
    assert "result" in fresh.call("echo")


@pytest.mark.parametrize("victim", ["daemon", "server", "shim"])
@pytest.mark.parametrize("step", STEPS)
def test_killed_while_calls_are_on_their_way(place: Failing, step: str, victim: str) -> None:
    place.fail(STEPS[step], victim)
    host = place.play().greet()
    assert "result" in host.call("note", n=1)
    place.arm()
    sent = 1
    for number in range(2, 6):
        try:
            host.calling("note", n=number)
        except BrokenPipeError:
            break
        sent += 1
    settled(place, host, victim, sent)


@pytest.mark.parametrize("step", STARTS)
def test_killed_while_a_connection_begins_or_ends(place: Failing, step: str) -> None:
    place.fail(STARTS[step], "daemon")
    place.arm()
    host = place.play()
    if step == "its server was told to end":
        host.greet()
        host.process.kill()
    settled(place, host, "daemon", 0)
