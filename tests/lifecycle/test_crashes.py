"""Servers that crash, with a real daemon, real hosts and real servers: what hosts see, and what is started again."""

import os
import signal
from collections.abc import Iterator

import pytest

from tests.lifecycle.land import ALLOW, Land
from tests.lifecycle.stage import Host, House, alive, gone, house, until

PLAIN = """\
version = 1
mode = "enforce"
unpinned = "allow"
[[rule]]
id = "all"
tools = ["*"]
logging = true
effect = "allow"
"""
AGAIN = PLAIN + '[restart]\nservers = ["crashing"]\ntimes = {times}\nwithin = "10m"\n'
NAMED = {"options": ["--name", "crashing"]}


@pytest.fixture
def place() -> Iterator[House]:
    with house() as made:
        made.policy(AGAIN.format(times=3))
        yield made


def unknown(answer: dict[str, object]) -> bool:
    error = answer["error"]
    assert isinstance(error, dict)
    return error["code"] == 50202 and "whether it did what was asked is not known" in error["message"]


def events(place: House) -> list[str]:
    return [one["event"] for one in place.records() if one["type"] == "session"]


def tries(place: House) -> list[bool]:
    return [one["again"] for one in place.records() if one.get("event") == "crashed"]


def crash(host: Host) -> int:
    """Kill the server; its process."""
    pid = host.server()
    os.kill(pid, signal.SIGKILL)
    return pid


def test_the_host_keeps_its_connection(place: House) -> None:
    host = place.play(**NAMED).greet()
    first = host.server()
    assert unknown(host.call("exit", code=3))
    assert host.call("echo", a=1)["result"]["content"][0]["text"] == '{"a": 1}'
    assert until(lambda: host.server() != first)
    assert place.status()["connections"][0]["pid"] != first
    assert gone(first)
    assert len(alive(host.marker)) == 1
    assert until(lambda: "restarted" in events(place))
    (crashed,) = [one for one in place.records() if one.get("event") == "crashed"]
    assert (crashed["code"], crashed["again"]) == (3, True)
    again = [one for one in place.records() if one["type"] == "call" and one["method"] == "initialize"]
    assert len(again) == 2
    host.close_stdin()
    assert host.wait() == 0
    assert until(lambda: not alive(host.marker))


def test_each_call_in_flight_gets_one_error_and_is_not_sent_again(place: House) -> None:
    host = place.play(**NAMED).greet()
    calls = [host.calling("hang") for _ in range(5)]
    host.call("note", n=1)
    crash(host)
    assert all(unknown(host.answer(one)) for one in calls)
    assert "result" in host.call("echo")
    assert (host.home / "notes").read_text() == "1\n"
    lost = [one for one in place.records() if one["type"] == "outcome" and one["status"] == "lost"]
    assert len(lost) == 5
    assert not [one for one in host.notices if "id" in one]


def test_what_the_host_says_while_the_server_is_down_reaches_the_new_one(place: House) -> None:
    host = place.play(**NAMED).greet()
    crash(host)
    assert until(lambda: "crashed" in events(place))
    calls = [host.calling("note", n=number) for number in range(20)]
    assert all("result" in host.answer(one) for one in calls)
    assert (host.home / "notes").read_text().split() == [str(number) for number in range(20)]


def test_one_that_crashes_too_often_stays_down(place: House) -> None:
    place.policy(AGAIN.format(times=2))
    host = place.play(**NAMED).greet()
    for _ in range(2):
        assert unknown(host.call("exit", code=4))
        assert "result" in host.call("echo")
    assert unknown(host.call("exit", code=4))
    assert host.wait() == 4
    assert until(lambda: tries(place) == [True, True, False]), tries(place)
    assert until(lambda: not alive(host.marker))


@pytest.mark.parametrize("policy", [PLAIN, AGAIN.format(times=3).replace('"crashing"', '"others-*"')])
def test_without_leave_of_policy_the_connection_ends(place: House, policy: str) -> None:
    place.policy(policy)
    host = place.play(**NAMED).greet()
    assert unknown(host.call("exit", code=3))
    assert host.wait() == 3
    assert "crashed" not in events(place)


def test_leave_that_was_taken_back_counts_no_more(place: House) -> None:
    host = place.play(**NAMED).greet()
    place.policy(PLAIN)
    assert unknown(host.call("exit", code=3))
    assert host.wait() == 3


def test_one_that_ends_by_itself_has_not_crashed(place: House) -> None:
    host = place.play(**NAMED).greet()
    assert unknown(host.call("exit", code=0))
    assert host.wait() == 0
    assert "crashed" not in events(place)


def test_a_host_that_leaves_while_the_server_is_down_leaves_nothing_behind(place: House) -> None:
    host = place.play(**NAMED).greet()
    crash(host)
    host.close()
    assert until(lambda: not alive(host.marker, shims=True))
    assert until(lambda: not place.status()["connections"])


def test_one_that_cannot_be_started_again_ends_the_connection_and_says_why(place: House) -> None:
    host = place.play(**NAMED).greet()
    place.policy(AGAIN.format(times=3).replace('unpinned = "allow"\n', ""))
    crash(host)
    host.wait()
    said = "\n".join(host.errors())
    assert "cannot be started again" in said
    assert "has no manifest" in said
    assert until(lambda: not alive(host.marker))


def test_descriptors_do_not_grow(place: House) -> None:
    place.policy(AGAIN.format(times=50))
    host = place.play(**NAMED).greet()
    assert unknown(host.call("exit", code=3))
    assert "result" in host.call("echo")
    before = place.descriptors()
    for _ in range(3):
        assert unknown(host.call("exit", code=3))
        assert "result" in host.call("echo")
    assert until(lambda: place.descriptors() <= before)


def test_one_whose_files_have_changed_since_is_not_started_again() -> None:
    with Land() as land:
        land.serve()
        land.found()
        server = land.server()
        server.registered()
        land.policy(f'{ALLOW}[restart]\nservers = ["*"]\n')
        host = server.run().greet()
        started = server.started()
        server.script.write_bytes(server.script.read_bytes() + b"\n# changed\n")
        os.kill(land.status()["connections"][0]["pid"], signal.SIGKILL)
        host.wait()
        assert "has changed" in "\n".join(host.errors())
        assert server.started() == started
