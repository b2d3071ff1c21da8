import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from mcpguard.audit import record
from mcpguard.cli.audit import audit
from mcpguard.model import Side, Verdict
from mcpguard.system.journal import Journal

ROOT = Path(__file__).parents[2]
MAIN = [sys.executable, "-c", "from mcpguard.cli.audit import audit; audit()"]
START = record.prefix("k3f9", {"uid": 1000, "pid": 42, "grade": "G1"}, "files")


def decided(tool: str, verdict: Verdict = Verdict.ALLOW, *, binding: bool = True) -> bytes:
    tail = record.call_tail(Side.HOST, "tools/call", tool, verdict, "files-read", binding=binding)
    return record.call(START, 17, tail, b"ab" * 16, 21)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("MCPGUARD_STATE_DIR", str(tmp_path))
    for name in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE"):
        monkeypatch.delenv(name, raising=False)
    time.tzset()
    yield tmp_path / "audit"
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def log(home):
    journal = Journal.open(home, clock=lambda: 1_795_000_000_123_456_789, segment_bytes=2000)
    answer = record.outcome_tail(Side.HOST, "tools/call", "read_file")
    journal.append([record.session(START, "begin", policy="sha256:1")])
    journal.append([decided("read_file")])
    journal.append([record.outcome(START, 17, answer, record.TOOL_ERROR, 1234, 99)])
    journal.append([decided("del\x1b[2J\u202eete", Verdict.DENY, binding=False)])
    journal.append([record.drop(START, Side.SERVER, "no such id", 12)])
    journal.close()
    return home


def run(*args: str):
    return CliRunner().invoke(audit, list(args))


def test_tail_shows_one_aligned_line_for_each_record(log):
    result = run("tail")
    assert result.exit_code == 0
    lines = result.output.splitlines()
    when = "2026-11-18 11:06:40.123"
    assert (
        lines[1]
        == f"{when}  k3f9    files           session begin                                 policy=sha256:1"
    )
    assert (
        lines[2]
        == f"{when}  k3f9    files           tools/call read_file              allow       files-read"
    )
    assert (
        lines[3]
        == f"{when}  k3f9    files           < tools/call read_file            tool_error  1.234 ms  99 bytes"
    )
    assert "tools/call del\\u001b[2J\\u202eete  deny        files-read  (observed only)" in lines[4]
    assert (
        lines[-1]
        == f"{when}  k3f9    files           drop server                       drop        no such id  12 bytes"
    )
    assert all(line.isprintable() for line in lines)


def test_tail_tells_findings_and_changes_of_trust(home):
    name, pinned, seen = "read\x1b[2J\u202e", "a" * 64, "b" * 64
    versions = {
        "trust": 2,
        "trust_digest": "sha256:x",
        "revocations": 1,
        "revocations_digest": "",
        "clock": "",
    }
    manifest = {"manifest": "sha256:" + "c" * 64, "version": 3, "pin": "P1", "publisher": "local\u202e"}
    journal = Journal.open(home, clock=lambda: 1_795_000_000_123_456_789)
    for body in (
        record.finding(START, "tools", name, "differs from the pinned definition", pinned, seen),
        record.finding(START, "prompts", "p", "is not pinned", "", seen),
        record.finding(START, "instructions", "", "are not pinned\x07", "", ""),
        record.finding(START, "serverInfo", "", "it calls itself 'x', and its manifest says 'y'", "y", "x"),
        record.trust("trust", **versions, manifests={"a": [1, "x"], "b": [2, "y"]}),
        record.trust("start", **versions, manifests_left_out=7),
        record.trust("manifest", name="files", manifest_name="files", keys=["k"], **manifest),
        record.trust("manifest-removed", name="files"),
        record.trust("host", name="claude\x1b", host={"exe": "/x\u202e"}),
    ):
        journal.append([body])
    journal.close()
    lines = run("tail", "-n", "9").output.splitlines()
    assert all(line.isprintable() for line in lines)
    assert [line[49:] for line in lines] == [
        (
            f"finding tools read\\u001b[2J\\u202e  finding     differs from the pinned definition  pinned {'a' * 12}"
            f"  seen {'b' * 12}"
        ),
        f"finding prompts p                 finding     is not pinned  seen {'b' * 12}",
        "finding instructions              finding     are not pinned\\u0007",
        "finding serverInfo                finding     it calls itself 'x', and its manifest says 'y'",
        "trust trust                       trust       trust set 2  revocations 1  manifests 2",
        "trust start                       trust       trust set 2  revocations 1  manifests 7",
        (
            "trust manifest files              trust       version 3  pin P1  publisher local\\u202e  "
            f"sha256:{'c' * 12}"
        ),
        "trust manifest-removed files      trust",
        'trust host claude\\u001b           trust       {"exe":"/x\\u202e"}',
    ]
    assert "files  " in lines[0]
    coloured = CliRunner(env={"FORCE_COLOR": "1"}).invoke(audit, ["tail"]).output
    assert "\x1b[33mfinding" in coloured
    assert "\x1b[36mtrust" in coloured


def test_tail_counts_from_the_end(log):
    assert len(run("tail", "-n", "2").output.splitlines()) == 2
    assert run("tail", "-n", "0").output == ""
    assert run("tail", "-n", "-1").exit_code == 2


def test_tail_json_is_the_log_itself(log):
    raw = b"".join(path.read_bytes() for path in sorted(log.glob("audit-*")))
    assert run("tail", "--json").stdout_bytes == raw
    assert run("tail", "--json", str(log)).stdout_bytes == raw


def test_tail_goes_on_after_a_line_that_cannot_be_read(log):
    newest = max(log.glob("audit-*"))
    newest.write_bytes(newest.read_bytes() + b"\x1b[2J\xff\n")
    last = run("tail", "-n", "1").output
    assert last.startswith("(unreadable: not JSON: \\u001b[2J")
    assert run("tail", "--json", "-n", "1").output.rstrip("\n").isprintable()
    assert "\x1b" not in run("tail", "--json").output


def test_a_missing_log_is_one_sentence(home):
    for verb in ("tail", "verify"):
        result = run(verb)
        assert result.exit_code == 1
        assert result.stderr == f"mcpguard: no audit log at {home}: nothing has been recorded yet\n"
        assert result.stdout == ""


def test_follow_shows_what_is_written_and_ends_with_ctrl_c(home):
    journal = Journal.open(home, segment_bytes=900)
    with subprocess.Popen([*MAIN, "tail", "-f", "-n", "1", home], stdout=subprocess.PIPE, cwd=ROOT) as child:
        assert child.stdout is not None
        assert b"log opened" in child.stdout.readline()
        for n in range(5):
            journal.append([decided(f"tool{n}")])
        seen = b""
        while b"tool4" not in seen:
            seen += child.stdout.readline()
        child.send_signal(2)
        assert child.wait(10) == 130
    journal.close()
    assert [f"tool{n}".encode() in seen for n in range(5)] == [True] * 5
    assert b"log rotated" in seen


def on_a_terminal(args: list[str], **environ: str) -> str:
    main, side = pty.openpty()
    env = {
        key: value
        for key, value in os.environ.items()
        if key not in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE")
    }
    subprocess.run(
        [*MAIN, *args],
        stdout=side,
        stderr=side,
        cwd=ROOT,
        env={**env, "TERM": "xterm", **environ},
        check=False,
    )
    os.close(side)
    seen = b""
    try:
        while chunk := os.read(main, 65536):
            seen += chunk
    except OSError:
        pass  # Linux ends a terminal whose other side is closed with EIO
    os.close(main)
    return seen.decode()


def test_colour_is_for_terminals_and_never_alone(log):
    assert "\x1b[32mallow" in on_a_terminal(["tail", str(log)])
    for off in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        plain = on_a_terminal(["tail", str(log)], **off)
        assert "\x1b" not in plain
        assert "allow" in plain
    assert "\x1b" not in run("tail").output
    assert "\x1b[31mdeny" in CliRunner(env={"FORCE_COLOR": "1"}).invoke(audit, ["tail"]).output
