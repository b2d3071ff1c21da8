"""Abuse cases of agents and servers against policy and approvals, at a real daemon. Numbers are those of the catalogue
of abuse cases that every guard of this project is tested against."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lifecycle.forms import FORMS, arrive
from tests.lifecycle.stage import Host, House, house, until
from tests.lifecycle.test_approvals import ASKING, approvals, notes, waits

TOP = 'version = 1\nmode = "enforce"\nunpinned = "allow"\n'
ECHO = '[[rule]]\nid = "echo"\ntools = ["echo"]\neffect = "allow"\n'


@pytest.fixture
def place() -> Iterator[House]:
    with house() as made:
        made.policy(ASKING.format(timeout="60s"))
        yield made


def refused(answer: dict[str, Any]) -> bool:
    return "error" in answer or bool(answer["result"].get("isError"))


def answers(host: Host, idents: list[int]) -> dict[int, dict[str, Any]]:
    """The answers to these requests, in whatever order they come."""
    found: dict[int, dict[str, Any]] = {}
    while found.keys() != set(idents):
        message = json.loads(host.line())
        if message.get("id") in idents:
            found[message["id"]] = message
    return found


def test_case_5_the_id_of_a_call_that_waits_is_sent_again(place: House) -> None:
    host = arrive(place, FORMS["pipes"]).greet()
    call = host.calling("note", n=1)
    (ticket,) = waits(place)
    again = {
        "jsonrpc": "2.0",
        "id": call,
        "method": "tools/call",
        "params": {"name": "note", "arguments": {"n": 2}},
    }
    host.write(json.dumps(again).encode() + b"\n")
    assert "result" in host.call("echo"), "the connection goes on"
    assert [one["id"] for one in waits(place)] == [ticket["id"]]
    assert place.mcpguard("approve", ticket["id"], "--yes").returncode == 0
    assert until(lambda: notes(host) == ["1"])
    time.sleep(0.2)
    assert notes(host) == ["1"], "the second never reached the server"


def test_case_17_a_tool_that_is_not_in_the_list_is_not_called_either(place: House) -> None:
    place.policy(TOP + ECHO)
    host = arrive(place, FORMS["pipes"]).greet()
    listed = [tool["name"] for tool in host.ask("tools/list")["result"]["tools"]]
    assert listed == ["echo"]
    assert refused(host.call("note", n=1))
    assert notes(host) == []


def test_case_30_what_steers_a_terminal_or_a_reader_is_text_where_a_person_decides(place: House) -> None:
    host = arrive(place, FORMS["pipes"]).greet()
    nasty = "\x1b[2J\x1b]0;owned\x07\u202eevorppa\u2066\U000e0041\r\nserver  another: harmless\x9b1A\x00"
    host.calling("note", n=nasty)
    (ticket,) = waits(place)
    for words in (["pending"], ["approve", ticket["id"]], ["pending", "--json"]):
        done = place.mcpguard(*words)
        for text in (done.stdout, done.stderr):
            assert all(char.isprintable() or char == "\n" for char in text), (words, text)
            assert not any(line.startswith("server") and "another" in line for line in text.splitlines())
    assert "\\u001b[2J" in place.mcpguard("pending").stdout
    place.mcpguard("deny", ticket["id"], "--reason", nasty.replace("\0", ""))
    log = b"".join(path.read_bytes() for path in (place.state / "audit").glob("*.jsonl"))
    assert b"\x1b" not in log
    assert "\u202e".encode() not in log


def test_case_35_a_server_whose_tools_are_called_like_those_of_another(place: House) -> None:
    place.policy(
        TOP
        + '[approvals]\ntimeout = "60s"\n[[rule]]\nid = "a"\nserver = "a"\ntools = ["note"]\neffect = "allow"\n'
        '[[rule]]\nid = "b"\nserver = "b"\ntools = ["note"]\neffect = "ask"\n'
    )
    first = arrive(place, FORMS["pipes"], name="a").greet()
    second = arrive(place, FORMS["pipes"], name="b").greet()
    assert not refused(first.call("note", n=1))
    call = second.calling("note", n=1)
    (ticket,) = waits(place)
    assert ticket["server"] == "b"
    assert re.search(r"\bb +note", place.mcpguard("pending").stdout)
    assert notes(second) == [], "what policy says of a is nothing to b"
    assert not refused(first.call("note", n=2))
    place.mcpguard("approve", ticket["id"], "--yes")
    assert not refused(second.answer(call))
    assert (notes(first), notes(second)) == (["1", "2"], ["1"])


@pytest.mark.parametrize("what", ["written beside", "in its place", "removed"])
def test_case_42_a_policy_that_was_only_written_is_not_in_force(place: House, what: str) -> None:
    """Whoever runs as the same user can edit what is applied: it is found at the next start, and nothing starts."""
    host = arrive(place, FORMS["pipes"]).greet()
    open_policy = TOP + '[[rule]]\nid = "all"\ntools = ["*"]\neffect = "allow"\n'
    directory = place.state / "policy"
    if what == "written beside":
        (directory / "policy.toml").write_text(open_policy)
        (Path(place.root) / ".config" / "mcpguard").mkdir(parents=True, exist_ok=True)
        (Path(place.root) / ".config" / "mcpguard" / "policy.toml").write_text(open_policy)
    elif what == "in its place":
        (directory / "active.toml").write_text(open_policy)
    else:
        (directory / "active.toml").unlink()
    host.calling("note", n=1)
    waits(place)
    assert notes(host) == []
    if what != "written beside":
        assert place.mcpguard("daemon", "stop").returncode == 0
        again = place.mcpguard("daemon", "start")
        assert (again.returncode, "the applied policy is damaged" in again.stderr) == (6, True), again


def test_case_45_fifty_questions_in_a_minute(place: House) -> None:
    host = arrive(place, FORMS["pipes"]).greet()
    calls = [host.calling("note", n=number) for number in range(50)]
    assert until(lambda: len(place.ask({"verb": "pending"})["tickets"]) > 0)
    open_now = place.ask({"verb": "pending"})["tickets"]
    assert len(open_now) < 50
    told = list(answers(host, calls[len(open_now) :]).values())
    assert all(refused(one) for one in told)
    assert "person already" in json.dumps(told[-1]), told[-1]
    assert notes(host) == []


def test_case_46_a_link_that_is_exchanged_after_the_yes(place: House) -> None:
    """The yes was for the text of a path; where it leads is judged again at the call. What a server does after that only a
    sandbox would stop, and SECURITY.md says so."""
    data = Path(place.root).resolve() / "data"
    data.mkdir()
    (data / "a").write_text("harmless")
    under = f'args.path = {{ under = ["{data}"] }}\n'
    place.policy(TOP + '[[rule]]\nid = "within"\ntools = ["echo"]\neffect = "allow"\n' + under)
    host = arrive(place, FORMS["pipes"]).greet()
    assert not refused(host.call("echo", path=f"{data}/a"))
    (data / "a").unlink()
    (data / "a").symlink_to("/etc/shadow")
    assert refused(host.call("echo", path=f"{data}/a"))


def test_case_47_a_thousand_allowed_calls_meet_a_limit_and_are_recorded(place: House) -> None:
    place.policy(TOP + ECHO + 'rate = "20/min"\n')
    host = arrive(place, FORMS["pipes"]).greet()
    calls = [host.calling("echo", piece=number) for number in range(1000)]
    told = answers(host, calls)
    passed = [not refused(told[call]) for call in calls]
    assert sum(passed) <= 21
    assert passed[0]
    records = [one for one in place.records() if one["type"] == "call" and one.get("tool") == "echo"]
    assert len(records) == 1000
    assert sum(one["decision"] == "allow" for one in records) == sum(passed)


def test_an_agent_that_gives_up_does_not_take_the_question_of_another_with_it(place: House) -> None:
    one, other = (arrive(place, FORMS["pipes"]).greet() for _ in range(2))
    one.calling("note", n=1)
    call = other.calling("note", n=2)
    (left,) = [ticket for ticket in waits(place, 2) if ticket["arguments"] == {"n": 2}]
    one.close()
    assert place.mcpguard("approve", left["id"], "--yes").returncode == 0
    assert not refused(other.answer(call))
    assert (notes(one), notes(other)) == ([], ["2"])
    assert approvals(place).count("granted") == 1
