"""`mcpguard findings` over a real log."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mcpguard.audit import record
from mcpguard.audit.findings import Finding, Severity
from mcpguard.model import Side
from mcpguard.system.journal import Journal
from tests.lifecycle.stage import until

DAY = 86_400 * 10**9
EVIL = Finding(
    "definition-drift", "files\x1b[2J", "the tool 'a\u202eb' differs", conn="1-a", server="files\x1b[2J", tool="x", count=3,
    seqs=(2, 4),
)  # fmt: skip


def write(place: Path, *findings: Finding, ago: int = 0, **more: object) -> None:
    now = time.time_ns() - ago * DAY
    journal = Journal.open(place, clock=lambda: now)
    for each in findings:
        journal.append(
            [
                record.detected(
                    each.kind, each.subject, each.says, {**each.members(), "action": "record", **more}
                )
            ]
        )
    journal.close()


def run(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "HOME": str(place)}
    return subprocess.run(
        [sys.executable, "-I", "-m", "mcpguard", "findings", *words, str(place)], env=env, capture_output=True,
        text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.fixture
def log(tmp_path: Path) -> Path:
    place = tmp_path / "audit"
    write(place, Finding("new-host", "h", "an old one"), ago=9)
    write(place, EVIL, Finding("new-tool", "t", "a tool was called"))
    return place


def test_a_person_reads_what_where_and_what_to_do(log: Path) -> None:
    done = run(log)
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert "\u202e" not in done.stdout
    assert "HIGH" in done.stdout
    assert "definition-drift: the tool 'a\\u202eb' differs  (3 times)" in done.stdout
    assert "server files\\u001b[2J" in done.stdout
    assert "records 2 to 4" in done.stdout
    assert "AML.T0109" in done.stdout
    assert "next: compare what it says with what was pinned: mcpguard server diff" in done.stdout
    assert "an old one" not in done.stdout


@pytest.mark.parametrize(
    ("words", "kinds"),
    [
        ((), ["definition-drift", "new-tool"]),
        (("--since", "30d"), ["new-host", "definition-drift", "new-tool"]),
        (("--severity", "low"), ["definition-drift", "new-tool"]),
        (("--severity", "medium"), ["definition-drift"]),
        (("--severity", "critical"), []),
    ],
)
def test_span_and_severity_choose(log: Path, words: tuple[str, ...], kinds: list[str]) -> None:
    done = run(log, "--json", *words)
    assert [json.loads(line)["kind"] for line in done.stdout.splitlines()] == kinds
    assert done.returncode == 0
    assert run(log, "--check", *words).returncode == (7 if kinds else 0)


def test_without_any_it_says_so(log: Path) -> None:
    assert run(log, "--severity", "critical").stdout == "no findings of severity critical and above in 7d\n"


def test_deviations_and_forgeries_are_none(tmp_path: Path) -> None:
    place = tmp_path / "audit"
    journal = Journal.open(place)
    start = record.prefix("1-a", {}, '"type":"finding","event":"detected"')
    journal.append([record.finding(start, "tools", "x", "differs", "", "")])
    journal.append([record.drop(start, Side.SERVER, '"type":"finding","event":"detected"', 1)])
    journal.close()
    assert run(place, "--json").stdout == ""


def test_what_policy_only_watched_is_said(tmp_path: Path) -> None:
    write(tmp_path / "audit", EVIL, binding=False, action="quarantine")
    assert "done: quarantine, not carried out: policy only watches" in run(tmp_path / "audit").stdout


def test_it_goes_on_with_f(log: Path) -> None:
    env = {"PATH": os.environ["PATH"], "HOME": str(log)}
    words = [
        sys.executable,
        "-I",
        "-m",
        "mcpguard",
        "findings",
        "-f",
        "--json",
        "--severity",
        "high",
        str(log),
    ]
    with subprocess.Popen(words, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert json.loads(process.stdout.readline())["kind"] == "definition-drift"
        write(log, Finding("log-gap", "lost", "records are lost", severity=Severity.HIGH))
        assert json.loads(until(process.stdout.readline))["kind"] == "log-gap"
        process.terminate()


@pytest.mark.parametrize(
    ("words", "code"), [(("--since", "soon"), 2), (("--severity", "bad"), 2), (("-f", "--check"), 2)]
)
def test_what_makes_no_sense_is_usage(log: Path, words: tuple[str, ...], code: int) -> None:
    assert run(log, *words).returncode == code


def test_without_a_log_it_fails_with_a_sentence(tmp_path: Path) -> None:
    done = run(tmp_path / "none")
    assert done.returncode == 1
    assert "no audit log" in done.stderr
