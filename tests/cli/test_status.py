"""`mcpguard status`: what a person and what a program sees."""

import json
import time

from mcpguard.cli import status
from tests.lifecycle.stage import House, house


def test_no_daemon_exits_3() -> None:
    with House() as place:
        told = place.mcpguard("status")
        assert (told.returncode, told.stdout) == (3, "")
        assert (
            told.stderr == "mcpguard: the mcpguard daemon is not running: the first mcpguard run starts it\n"
        )


def test_connections_and_calls_are_shown() -> None:
    with house() as place:
        host = place.play(options=("--name", "files")).greet()
        host.call("echo")
        host.calling("hang")
        host.ask("no/such/method")
        told = place.mcpguard("status")
        assert told.returncode == 0
        lines = told.stdout.splitlines()
        assert lines[0].startswith("mcpguard 0.")
        assert lines[1] == "policy   observe, 0 rules, from built in"
        assert lines[2] == "calls    3 allowed, 1 denied, 0 lines dropped"
        assert lines[3] == f"audit    writing to {place.state}/audit"
        assert lines[5] == "open     1 connection, 1 since the start"
        assert "files (pid " in lines[6]
        assert 'says it is "t' in lines[6]
        assert "; 2025-11-25; 3 allowed, 1 denied, 1 in flight" in lines[6]
        reply = json.loads(place.mcpguard("status", "--json").stdout)
        assert reply["v"] == 1
        assert reply["connections"][0]["server"] == "files"
        assert reply["connections"][0]["pid"] == host.server()
        assert reply["memory"]["pss_bytes"] > 1 << 20
        host.close_stdin()
        host.wait()
        after = place.status()
        assert after["calls"] == reply["calls"]
        assert (after["served"], after["connections"]) == (1, [])


def test_what_a_host_says_of_itself_does_not_steer_the_terminal() -> None:
    with house() as place:
        host = place.play()
        info = {"name": "\x1b[2Jevil\n\u202e", "version": "1"}
        host.ask("initialize", {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": info})
        told = place.mcpguard("status")
        assert told.stdout.isascii()
        assert "\x1b" not in told.stdout
        assert len([line for line in told.stdout.splitlines() if not line.startswith("findings ")]) == 7


def test_ages() -> None:
    now = time.time()
    assert status._age(now - 61) == "1m01s"
    assert status._age(now - 3 * 3600 - 125) == "3h02m"
    assert status._age(now + 50) == "0m00s"


def test_what_was_found_and_who_is_kept_out_is_shown() -> None:
    entry = {"subject": "server:a\x1b", "how": "refuse", "since": "2026-01-01T00:00:00Z", "reason": "odd"}
    asked = {"subject": "server:b", "how": "ask", "since": "then", "reason": ""}
    counts = {"info": 2, "low": 0, "medium": 0, "high": 1, "critical": 0}
    reply = {"findings": counts, "quarantine": {"entries": [entry, asked], "failure": "damaged"}}
    assert status.watched(reply) == [
        "findings 1 high, 2 info since the start; see: mcpguard findings",
        "KEPT OUT everybody: damaged",
        "KEPT OUT server:a\\u001b since 2026-01-01T00:00:00Z (odd)",
        "ASKED    server:b since then",
    ]
    assert status.watched({"findings": {"info": 0}, "quarantine": {"entries": [], "failure": ""}}) == []
    assert status.watched({}) == []
