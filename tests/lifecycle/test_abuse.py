"""Abuse cases of processes and workspaces that need no manifest: who stops, who floods, what lies in a directory."""

import contextlib
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lifecycle.stage import House, house, until

DENYING = """\
version = 1
mode = "enforce"
unpinned = "allow"
[[rule]]
id = "only-echo"
tools = ["echo"]
effect = "allow"
"""


@pytest.fixture
def place() -> Iterator[House]:
    with house() as made:
        yield made


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process that does not run for a while."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_case_57_a_stopped_daemon_lets_nothing_through_and_loses_nothing(place: House) -> None:
    host = place.play().greet()
    with stopped(place.pid()):
        asked = [host.calling("note", n=n) for n in range(20)]
        time.sleep(0.3)
        assert not (host.home / "notes").exists()
    answers = [json.loads(host.line()) for _ in asked]
    assert sorted(answer["id"] for answer in answers) == asked
    host.close_stdin()
    assert host.rest() == []


def test_case_57_a_stopped_shim_is_not_missed(place: House) -> None:
    host = place.play().greet()
    with stopped(host.process.pid):
        assert "result" in host.call("echo")
    assert "result" in host.call("echo")


def test_case_58_ten_thousand_connections_a_second_do_not_keep_people_or_sessions_waiting(
    place: House,
) -> None:
    host = place.play().greet()
    over = threading.Event()

    def flood() -> None:
        while not over.is_set():
            with socket.socket(socket.AF_UNIX) as sock, contextlib.suppress(OSError):
                sock.setblocking(False)
                sock.connect(str(place.run_dir / "run.sock"))

    threads = [threading.Thread(target=flood) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        began, slowest, calls = time.monotonic(), 0.0, 0
        while time.monotonic() - began < 3:
            before = time.monotonic()
            assert place.answers()
            slowest = max(slowest, time.monotonic() - before)
            assert "result" in host.call("echo")
            calls += 1
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert slowest < 1, f"{calls} questions"
    assert until(lambda: place.status()["descriptors"] < 60, 10)


def test_case_65_nothing_that_lies_in_the_workspace_is_policy(place: House, tmp_path: Path) -> None:
    loose = 'version = 1\nmode = "observe"\n'
    for name in (
        "mcpguard.toml",
        "policy.toml",
        ".mcpguard/policy.toml",
        ".mcpguard.toml",
        ".config/mcpguard/policy.toml",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(loose)
    (tmp_path / ".env").write_text("MCPGUARD_RUNTIME_DIR=/nowhere\nMCPGUARD_STATE_DIR=/nowhere\n")
    (tmp_path / ".mcp.json").write_text('{"mcpServers":{"server":{"command":"evil"}}}')
    (tmp_path / "sitecustomize.py").write_text("raise SystemExit(99)\n")
    (tmp_path / "posix.py").write_text("raise SystemExit(99)\n")
    place.policy(DENYING)
    host = place.play(cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}).greet()
    assert "result" in host.call("echo")
    assert host.call("note", n=1)["error"]["message"] == "Unknown tool: note"
    assert place.status()["policy"]["mode"] == "enforce"


HOSTILE = {
    "escape": "\x1b]0;title\x07\x1b[2J",
    "line": "first\nmode: off",
    "direction": "\u202egnp.exe",
    "long": "/".join(["d" * 250] * 14),
    "bytes": b"\xff\xfe\x80".decode("utf-8", "surrogateescape"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_case_66_a_workspace_with_a_hostile_name_is_the_right_directory_and_harmless_on_a_screen(
    place: House, tmp_path: Path, kind: str
) -> None:
    folder = tmp_path
    for part in HOSTILE[kind].split("/"):
        folder = folder / part
        folder.mkdir()
    check = (
        f"import os, sys; sys.exit(0 if os.getcwdb() == bytes.fromhex({os.fsencode(folder).hex()!r}) else 9)"
    )
    host = place.host("--", sys.executable, "-I", "-c", check, cwd=folder)
    host.close_stdin()
    assert host.wait() == 0
    for words in (["status"], ["audit", "tail", "-n", "20"]):
        shown = place.mcpguard(*words).stdout
        assert all(char.isprintable() or char == "\n" for char in shown)
