"""What goes wrong by itself: kills, crowds, an ending daemon, a `/proc` that tells less. Numbers are those of the cases.

Elsewhere: 91 (full disk) in tests/system/test_journal.py, 93 (descriptors) in tests/daemon/test_app.py, 99 (versions) in
tests/cli/test_shim.py, 102 (old kernels) in tests/system/test_peercred.py, 103 (asyncio's loop) wherever a test takes
`loop`.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lifecycle.forms import FORMS, arrive, evidence
from tests.lifecycle.stage import MCPGUARD, SECONDS, House, alive, gone, house, until

CROWD = 40


@pytest.fixture
def place() -> Iterator[House]:
    with house() as made:
        yield made


def test_case_89_each_call_of_a_killed_server_gets_one_error(place: House) -> None:
    host = place.play().greet()
    calls = [host.calling("hang") for _ in range(100)]
    assert until(lambda: place.status()["connections"][0]["in_flight"] == 100)
    os.kill(host.server(), signal.SIGKILL)
    answers = [message for message in host.rest() if "id" in message]
    assert [message["id"] for message in answers] == calls
    assert {message["error"]["code"] for message in answers} == {50202}
    assert host.wait() == 128 + signal.SIGKILL


def test_case_90_the_session_of_a_killed_shim_ends(place: House) -> None:
    host = place.play().greet()
    host.calling("hang")
    server = host.server()
    host.process.kill()
    assert until(lambda: gone(server))
    assert until(lambda: not place.status()["connections"])
    assert all("error" in message for message in host.rest())
    assert until(lambda: [one["allowed"] for one in place.records() if one.get("event") == "end"] == [2])


def test_case_95_a_crowd_is_admitted_in_turn(place: House) -> None:
    hosts = [place.play() for _ in range(CROWD)]
    for host in hosts:
        host.greet()
    assert len(place.status()["connections"]) == CROWD
    assert all("result" in host.call("echo") for host in hosts)


def test_case_98_calls_under_way_when_the_daemon_ends_are_answered_and_recorded(place: House) -> None:
    host = place.play().greet()
    calls = [host.calling("hang") for _ in range(100)]
    assert until(lambda: place.status()["connections"][0]["in_flight"] == 100)
    assert place.daemon
    place.daemon.terminate()
    answers = [message for message in host.rest() if "id" in message]
    assert [message["id"] for message in answers] == calls
    assert all("error" in message for message in answers)
    place.daemon.wait(SECONDS)
    host.wait()
    assert until(lambda: not alive(host.marker))
    done = place.mcpguard("audit", "unknown")
    assert (done.returncode, done.stdout) == (0, ""), done
    assert place.mcpguard("audit", "verify").returncode == 0


@pytest.mark.root
@pytest.mark.skipif(not shutil.which("unshare"), reason="needs util-linux")
@pytest.mark.parametrize(
    ("proc", "most"),
    [("true", "G2"), ("mount -t proc -o hidepid=2 proc /proc", "G2"), ("mount -t tmpfs none /proc", "G0")],
    ids=["whole", "hidepid", "absent"],
)
def test_case_101_what_proc_does_not_tell_is_no_evidence(tmp_path: Path, proc: str, most: str) -> None:
    """The daemon sees less of the host, and never believes more of it."""
    with House() as made, (tmp_path / "said").open("w") as said:
        made.daemon = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", f'{proc} && exec "$@"', "sh", *MCPGUARD, "daemon", "start"],
            env=made.env, stdout=subprocess.DEVNULL, stderr=said, text=True,
        )  # fmt: skip
        assert until(made.answers), (tmp_path / "said").read_text()
        inside = ["nsenter", "--mount", f"--target={made.daemon.pid}", *FORMS["pairs"]]
        found = evidence(made, arrive(made, inside).greet())
        assert found["grade"] == most, found
