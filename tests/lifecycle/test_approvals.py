"""Calls that wait for a person, with a real daemon, a real host in a process of its own, and the real command line."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lifecycle.forms import FORMS, arrive, enrol, evidence, inside
from tests.lifecycle.stage import MCPGUARD, Host, House, house, until

ASKING = """\
version = 1
mode = "enforce"
unpinned = "allow"
[approvals]
timeout = "{timeout}"
[[rule]]
id = "calls"
tools = ["*"]
effect = "allow"
[[rule]]
id = "notes"
tools = ["note"]
effect = "ask"
"""


@pytest.fixture
def place() -> Iterator[House]:
    with house() as made:
        made.policy(ASKING.format(timeout="60s"))
        yield made


def waits(place: House, many: int = 1) -> list[dict[str, Any]]:
    """The tickets, when as many as that are there."""
    tickets = until(lambda: found if len(found := pending(place)) == many else [])
    assert len(tickets) == many, pending(place)
    return tickets


def pending(place: House) -> list[dict[str, Any]]:
    return place.ask({"verb": "pending"})["tickets"]


def notes(host: Host) -> list[str]:
    """What the server has really been called with."""
    path = host.home / "notes"
    return path.read_text().split() if path.exists() else []


def approvals(place: House) -> list[str]:
    return [one["event"] for one in place.records() if one["type"] == "approval"]


def text(answer: dict[str, Any]) -> str:
    result = answer["result"]
    assert result["isError"]
    return result["content"][0]["text"]


def test_a_call_waits_is_approved_and_goes_through_exactly_once(place: House) -> None:
    host = arrive(place, FORMS["pipes"]).greet()
    call = host.calling("note", n=1)
    (ticket,) = waits(place)
    assert "result" in host.call("echo")
    assert notes(host) == []
    shown = json.loads(place.mcpguard("pending", "--json").stdout)["tickets"]
    assert [one["id"] for one in shown] == [ticket["id"]]
    done = place.mcpguard("approve", ticket["id"], "--yes")
    assert (done.returncode, "approved" in done.stdout) == (0, True), done
    assert "isError" not in host.answer(call)["result"]
    assert notes(host) == ["1"]
    again = place.mcpguard("approve", ticket["id"], "--yes")
    assert again.returncode == 1
    assert re.search(r"was approved by uid \d+ \(pid \d+\)", again.stderr), again.stderr
    second = host.calling("note", n=1)
    waits(place)
    assert notes(host) == ["1"]
    place.mcpguard("deny", "--reason", "not on Fridays", waits(place)[0]["id"])
    assert "not on Fridays" in text(host.answer(second))
    assert notes(host) == ["1"]
    assert approvals(place) == ["asked", "granted", "asked", "denied"]
    (allowed,) = [one for one in place.records() if one["type"] == "call" and one.get("approval")]
    assert allowed["approval"] == ticket["id"]


def test_nobody_answers(place: House) -> None:
    place.policy(ASKING.format(timeout="1s"))
    host = arrive(place, FORMS["pipes"]).greet()
    call = host.calling("note", n=1)
    (ticket,) = waits(place)
    assert "nobody answered in time" in text(host.answer(call))
    assert notes(host) == []
    late = place.mcpguard("approve", ticket["id"], "--yes")
    assert late.returncode == 124
    assert "expired" in late.stderr
    assert approvals(place) == ["asked", "expired"]


def test_the_host_gives_up_and_a_late_yes_lets_one_identical_retry_through(place: House) -> None:
    host = arrive(place, FORMS["pipes"]).greet()
    call = host.calling("note", n=1)
    (ticket,) = waits(place)
    cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": call}}
    host.write(json.dumps(cancel).encode() + b"\n")
    assert until(lambda: pending(place)[0]["waiting"] == 0)
    done = place.mcpguard("approve", ticket["id"], "--yes")
    assert "one identical retry goes through" in done.stdout
    assert notes(host) == []
    other = host.calling("note", n=2)
    assert len(waits(place)) == 1
    assert "result" in host.call("note", n=1)
    assert notes(host) == ["1"]
    third = host.calling("note", n=1)
    waits(place, 2)
    assert notes(host) == ["1"]
    for ticket in pending(place):
        place.mcpguard("deny", ticket["id"])
    assert [text(host.answer(one)) for one in (other, third)]


@pytest.mark.parametrize("scope", [["--session"], ["--for", "5m"]])
def test_identical_calls_go_through_and_no_others(place: House, scope: list[str]) -> None:
    host = arrive(place, FORMS["pipes"]).greet()
    call = host.calling("note", n=1)
    place.mcpguard("approve", waits(place)[0]["id"], "--yes", *scope)
    assert "result" in host.answer(call)
    assert "result" in host.call("note", n=1)
    assert notes(host) == ["1", "1"]
    host.calling("note", n="1")
    waits(place)
    second = arrive(place, FORMS["pipes"]).greet()
    second.calling("note", n=1)
    waits(place, 2)
    assert (notes(host), notes(second)) == (["1", "1"], [])


def test_progress_keeps_the_hosts_timer_alive(place: House) -> None:
    host = arrive(place, FORMS["pipes"]).greet()
    params = {"name": "note", "arguments": {"n": 1}, "_meta": {"progressToken": "p"}}
    call = host.send("tools/call", params)
    (ticket,) = waits(place)
    notice = json.loads(host.line())
    assert notice["method"] == "notifications/progress"
    assert notice["params"]["progressToken"] == "p"
    place.mcpguard("approve", ticket["id"], "--yes")
    assert "result" in host.answer(call)


def test_two_approvers_at_once(place: House) -> None:
    host = arrive(place, FORMS["pipes"]).greet()
    call = host.calling("note", n=1)
    (ticket,) = waits(place)
    replies: list[dict[str, Any]] = []

    def answer(verb: str) -> None:
        replies.append(place.ask({"verb": verb, "ident": ticket["id"]}))

    threads = [threading.Thread(target=answer, args=(verb,)) for verb in ("approve", "deny") * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(reply["ok"] for reply in replies) == 1
    assert {reply["code"] for reply in replies if not reply["ok"]} == {"approval"}
    host.answer(call)
    assert approvals(place)[0] == "asked"
    assert len(approvals(place)) == 2


def test_an_approver_who_is_gone_mid_answer_has_not_answered(place: House) -> None:
    host = arrive(place, FORMS["pipes"]).greet()
    host.calling("note", n=1)
    (ticket,) = waits(place)
    master, slave = pty.openpty()
    words = [*MCPGUARD, "approve", ticket["id"]]
    person = subprocess.Popen(
        words, env=place.env, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
    )
    os.close(slave)
    seen = b""
    while b"[y/N]" not in seen and select.select([master], [], [], 20)[0]:
        seen += os.read(master, 4096)
    os.close(master)
    assert person.wait(20) != 0
    with place.connect("admin.sock") as sock:
        sock.sendall(b'{"verb":"approve","ident":"%b"' % ticket["id"].encode())
    time.sleep(0.2)
    assert [one["id"] for one in pending(place)] == [ticket["id"]]
    assert notes(host) == []


def test_at_a_terminal_a_person_reads_and_says_yes(place: House) -> None:
    host = arrive(place, FORMS["pipes"]).greet()
    call = host.calling("note", n=1)
    waits(place)
    master, slave = pty.openpty()
    person = subprocess.Popen(
        [*MCPGUARD, "approve"], env=place.env, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
    )
    os.close(slave)
    os.write(master, b"y\n")  # typed ahead: not an answer to what was not read yet
    seen = b""
    while b"[y/N]" not in seen:
        seen += os.read(master, 4096)
    time.sleep(0.8)
    assert person.poll() is None
    assert notes(host) == []
    os.write(master, b"y\n")
    assert person.wait(20) == 0
    os.close(master)
    assert "result" in host.answer(call)
    assert b"note" in seen


def test_always_shows_a_rule_and_adds_it(place: House) -> None:
    file = place.root / "policy.toml"
    file.write_text("# my policy\n" + ASKING.format(timeout="60s"))
    assert place.mcpguard("policy", "apply", str(file)).returncode == 0
    host = arrive(place, FORMS["pipes"], name="box").greet()
    enrol(place, host, "acme")
    host.close_stdin()
    host.wait()
    host = arrive(place, FORMS["pipes"], name="box").greet()
    call = host.calling("note", n=1)
    (ticket,) = waits(place)
    done = place.mcpguard("approve", ticket["id"], "--always", "--yes")
    assert done.returncode == 0, done
    assert "+ [[rule]]" in done.stderr
    assert file.read_text().startswith("# my policy\n")
    assert 'answers = ["notes"]' in file.read_text()
    assert "result" in host.answer(call)
    assert "isError" not in host.call("note", n=1)["result"]
    assert notes(host) == ["1", "1"]
    host.calling("note", n=2)
    waits(place)
    assert notes(host) == ["1", "1"]


def test_a_policy_change_closes_what_was_asked_under_the_old_one(place: House) -> None:
    host = arrive(place, FORMS["pipes"]).greet()
    call = host.calling("note", n=1)
    waits(place)
    place.policy(ASKING.format(timeout="59s"))
    assert "the policy was changed" in text(host.answer(call))
    assert pending(place) == []
    assert notes(host) == []
    assert approvals(place) == ["asked", "void"]


def test_a_flood_is_bounded_and_identical_calls_are_one_question(place: House) -> None:
    host = arrive(place, FORMS["pipes"]).greet()
    same = [host.calling("note", n=0) for _ in range(5)]
    (ticket,) = waits(place)
    assert until(lambda: pending(place)[0]["waiting"] == 5)
    for n in range(1, 60):
        host.calling("note", n=n)
    refused = [json.loads(host.line()) for _ in range(30)]
    assert all(
        "more than a person can" in text(one) or "wait for a person already" in text(one) for one in refused
    )
    assert len(pending(place)) <= 30
    place.mcpguard("approve", ticket["id"], "--yes")
    answers: dict[int, dict[str, Any]] = {}
    while not answers.keys() >= set(same):
        message = json.loads(host.line())
        answers[message["id"]] = message
    assert sum("isError" not in answers[one]["result"] for one in same) == 1
    assert notes(host) == ["0"]


def test_a_killed_daemon_denies_and_its_successor_records_it(place: House) -> None:
    host = place.play().greet()
    host.calling("note", n=1)
    (ticket,) = waits(place)
    assert place.daemon
    place.daemon.send_signal(signal.SIGKILL)
    place.daemon.wait()
    host.rest()
    assert notes(host) == []
    place.serve()
    assert pending(place) == []
    (void,) = [one for one in place.records() if one["type"] == "approval" and one["event"] == "void"]
    assert (void["ticket"], void["reason"]) == (ticket["id"], "the daemon was restarted")
    late = place.mcpguard("approve", ticket["id"], "--yes")
    assert late.returncode == 1
    assert "no ticket" in late.stderr
    assert place.mcpguard("audit", "verify").returncode == 0


def test_an_orderly_end_denies_all_that_is_open(place: House) -> None:
    host = arrive(place, FORMS["pipes"]).greet()
    call = host.calling("note", n=1)
    waits(place)
    assert place.mcpguard("daemon", "stop").returncode == 0
    assert "mcpguard ends" in text(host.answer(call))
    assert place.daemon
    place.daemon.wait(20)
    assert approvals(place) == ["asked", "void"]
    assert notes(host) == []


def test_what_cannot_be_answered_says_so(place: House) -> None:
    for words, code, said in (
        (("approve", "zzzz9"), 1, "no ticket 'zzzz9'"),
        (("deny", "zzzz9"), 1, "no ticket 'zzzz9'"),
        (("approve", "x", "--for", "soon"), 2, "--for"),
        (("approve", "x", "--for", "5m", "--session"), 2, "exclude each other"),
        (("deny", "x", "--reason", "y" * 5000), 2, "--reason"),
    ):
        done = place.mcpguard(*words)
        assert (done.returncode, said in done.stderr) == (code, True), done
        assert "Traceback" not in done.stderr


def test_an_asker_cannot_approve_itself_even_if_nobody_enrolled_it(place: House) -> None:
    host = arrive(place, FORMS["pipes"]).greet()
    assert not evidence(place, host).get("host")
    host.calling("note", n=1)
    (ticket,) = waits(place)
    code, said = inside(host, *MCPGUARD, "approve", ticket["id"], "--yes")
    assert (code, "may not" in said) == (5, True), said
    code, said = inside(host, *MCPGUARD, "deny", ticket["id"])
    assert code == 5
    assert [one["id"] for one in pending(place)] == [ticket["id"]]
    assert notes(host) == []
