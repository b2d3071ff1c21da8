"""The end of the log, as it is and as it grows."""

import subprocess

from click.testing import CliRunner

from mcpguard.audit import record
from mcpguard.cli.audit import audit
from mcpguard.system.journal import Journal
from tests.cli.test_audit import MAIN, ROOT, START, decided, home, log, on_a_terminal, run

__all__ = ["home", "log"]


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


def test_follow_shows_what_is_written_and_ends_with_ctrl_c(home):
    journal = Journal.open(home, segment_bytes=600)
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


def test_colour_is_for_terminals_and_never_alone(log):
    assert "\x1b[32mallow" in on_a_terminal(["tail", str(log)])
    for off in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        plain = on_a_terminal(["tail", str(log)], **off)
        assert "\x1b" not in plain
        assert "allow" in plain
    assert "\x1b" not in run("tail").output
    assert "\x1b[31mdeny" in CliRunner(env={"FORCE_COLOR": "1"}).invoke(audit, ["tail"]).output
