"""`mcpguard audit query`: what is found, how it is shown, and logs that are in a bad state."""

import json
import os
import shutil
import sqlite3
import subprocess
import threading
import time

import pytest
from click.testing import CliRunner

from mcpguard.audit import record
from mcpguard.cli import auditreading
from mcpguard.cli.audit import audit
from mcpguard.model import Verdict
from mcpguard.system.indexfile import path_of
from tests.cli.reported import END, HOSTILE, Story, hostile
from tests.lifecycle.stage import MCPGUARD, SECONDS, house, until


@pytest.fixture
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("MCPGUARD_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("NO_COLOR", "1")
    time.tzset()
    yield tmp_path
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def log(state):
    story = Story(state / "audit", END, segment_bytes=2500)
    for number in range(20):
        story.now += 60 * 10**9
        start = story.start(("claude", "vscode")[number % 2], f"s{number % 3}", f"{number % 4}-c")
        verdict = Verdict.DENY if number % 5 == 4 else Verdict.ALLOW
        story.call(start, f"tool-{number % 2}", verdict, f"rule-{number % 5}", us=1500)
    story.close()
    return state / "audit"


def run(*words: str):
    return CliRunner().invoke(audit, list(words), catch_exceptions=False)


def lines(*words: str) -> list[str]:
    told = run(*words)
    assert told.exit_code == 0, told.stderr
    return told.stdout.splitlines()


def raw(log) -> list[bytes]:
    return b"".join(path.read_bytes() for path in sorted(log.glob("audit-*"))).splitlines()


def test_a_call_is_shown_with_its_outcome_and_the_outcome_not_again(log):
    assert lines("query", "--host", "claude", "--server", "s0", "--tool", "tool-0") == [
        "2026-11-23 00:01:00.000  0-c     s0              tools/call tool-0                 allow       rule-0  -> ok  1.500 ms  99 bytes",
        "2026-11-23 00:07:00.007  2-c     s0              tools/call tool-0                 allow       rule-1  -> ok  1.500 ms  99 bytes",
        "2026-11-23 00:13:00.015  0-c     s0              tools/call tool-0                 allow       rule-2  -> ok  1.500 ms  99 bytes",
        "2026-11-23 00:19:00.022  2-c     s0              tools/call tool-0                 allow       rule-3  -> ok  1.500 ms  99 bytes",
    ]
    assert len(lines("query", "--type", "outcome")) == 16
    assert len(lines("query", "--decision", "ok", "-n", "3")) == 3
    assert "-> ok" not in run("query", "--decision", "deny").stdout


@pytest.mark.parametrize("more", [[], ["--no-index"]])
def test_filters(log, more):
    for words, many in (
        (["--type", "call"], 20), (["--decision", "deny"], 4), (["--decision", "deny", "--host", "vscode"], 2),
        (["--type", "call", "--host", "v*", "--host", "claude"], 20), (["--type", "call", "--server", "s[12]"], 0),
        (["--type", "call", "--principal", "uid:1000"], 20), (["--type", "call", "--principal", "host:vs*"], 10),
        (["--type", "call", "--conn", "3-c"], 5), (["--text", "rule-3"], 4), (["--text", "Rule-3"], 0),
        (["--type", "call", "--since", "2026-11-23T00:06", "--until", "2026-11-23T00:11"], 5),
        (["--type", "call", "--since", "2026-11-23", "--until", "2026-11-23"], 20), (["--type", "call", "--since", "1h"], 0),
    ):  # fmt: skip
        assert len(lines("query", *words, *more)) == many, words


def test_json_is_the_log_itself(log):
    assert run("query", "--json").stdout_bytes.splitlines() == raw(log)
    calls = [line for line in raw(log) if b'"type":"call"' in line]
    assert run("query", "--json", "--type", "call").stdout_bytes.splitlines() == calls
    assert run("query", "--json", "--type", "call", "--reverse").stdout_bytes.splitlines() == calls[::-1]
    assert run("query", "--json", "--type", "call", "-n", "3").stdout_bytes.splitlines() == calls[-3:]
    assert run("query", "--json", "-n", "3", "--reverse").stdout_bytes.splitlines() == raw(log)[-3:][::-1]


@pytest.mark.parametrize("count", [0, 1, 2, 7, 100])
def test_the_last_ones_are_the_end_of_all(log, count):
    everything = lines("query")
    assert lines("query", "-n", str(count)) == everything[len(everything) - min(count, len(everything)) :]
    assert lines("query", "-n", str(count), "--reverse") == everything[::-1][:count]


def test_nothing_found_says_what_is_not_there(log):
    for words, sentence in (
        (["--server", "s12"], "no record matches: no server in this log is called s12; did you mean s"),
        (["--host", "zzz\x1b"], "no record matches: no host in this log is called zzz\\u001b"),
        (["--tool", "tool-0", "--until", "2026-01-01"], "no record matches"),
    ):
        told = run("query", *words)
        assert (told.exit_code, told.stdout) == (0, "")
        assert told.stderr.startswith(f"mcpguard: {sentence}")
    told = run("query", "--type", "cal")
    assert told.exit_code == 2
    assert "'cal' is no type of record; types are: approval, call" in told.stderr


def test_types_of_a_newer_version_can_be_asked_for(state):
    story = Story(state / "audit", END)
    story.journal.append([b'"type":"novelty","server":"s"'])
    story.close()
    assert len(lines("query", "--type", "novelty", "--server", "s")) == 1


def test_no_log_is_a_sentence(state):
    for words in (["query"], ["stats"], ["show", "1"], ["report", "-o", "-"], ["query", "--no-index"]):
        told = run(*words)
        assert (told.exit_code, told.stdout) == (1, ""), words
        assert told.stderr == f"mcpguard: no audit log at {state}/audit: nothing has been recorded yet\n"


def test_hostile_names_steer_no_terminal(state):
    hostile(state / "audit")
    told = run("query")
    assert told.exit_code == 0
    assert all(line.isprintable() for line in told.stdout.splitlines())
    assert all(line.isprintable() for line in run("query", "--json").stdout.splitlines())
    for name in HOSTILE:
        assert lines("query", "--type", "call", "--tool", name.replace("\x00", "?")), name


# --- logs in a bad state ------------------------------------------------------------------------------------


def test_unreadable_lines_are_counted_and_said(log):
    path = log / "audit-000002.jsonl"
    data = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*data[:2], b"\x1b[2J\xff\n", b"{}\n", *data[2:]]))
    for more in ([], ["--no-index"]):
        told = run("query", "--json", *more)
        assert told.exit_code == 0
        assert len(told.stdout.splitlines()) == len(raw(log)) - 2
        assert told.stderr == (
            f"mcpguard: 2 lines of the log cannot be read and not be shown, first {path}:3; see: mcpguard audit verify\n"
        )


def test_a_torn_tail_is_said(log):
    path = max(log.glob("audit-*"))
    with path.open("ab") as file:
        file.write(b'{"v":1,"seq"')
    os.utime(path, ns=(1, 1))
    told = run("query", "-n", "1")
    assert told.exit_code == 0
    assert f"the last line of {path.name} is not complete, as a crash leaves it" in told.stderr


def test_a_copy_elsewhere_has_an_index_of_its_own(log, state, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(log, copy)
    story = lines("query", str(copy))
    assert story == lines("query")
    assert path_of(state / "index", copy).exists()
    assert path_of(state / "index", log) != path_of(state / "index", copy)
    assert not list(copy.glob("*.sqlite*")), "nothing is written beside a log"


def test_a_log_that_may_not_be_written_is_read(log, state):
    log.chmod(0o500)
    assert len(lines("query", "--type", "call")) == 20


def test_the_index_may_be_deleted_damaged_or_out_of_reach(log, state):
    expected = lines("query")
    path = path_of(state / "index", log)
    shutil.rmtree(state / "index")
    assert lines("query") == expected
    path.write_bytes(os.urandom(5000))
    told = run("query")
    assert told.stdout.splitlines() == expected
    assert told.stderr == "mcpguard: the index of the log is damaged; it is made again\n"
    assert run("query").stderr == ""
    data = bytearray(path.read_bytes())
    for at in range(4096, len(data), 64):
        data[at : at + 32] = os.urandom(32)
    path.write_bytes(data)
    told = run("query")
    assert told.stdout.splitlines() == expected
    assert run("query").stderr == ""
    shutil.rmtree(state / "index")
    (state / "index").write_text("")
    told = run("query")
    assert told.stdout.splitlines() == expected
    assert "no index of the log is kept" in told.stderr


def test_an_index_that_lies_is_found_out(log, state):
    expected = lines("query", "--decision", "deny")
    path = path_of(state / "index", log)
    with sqlite3.connect(path) as database:
        database.execute("UPDATE records SET digest = digest + 1")
        database.execute("UPDATE records SET other = 12345678901 WHERE other > 0")
    database.close()
    told = run("query", "--decision", "deny")
    assert told.stdout.splitlines() == expected
    assert "the index did not agree with audit-000002.jsonl, which is read again" in told.stderr
    with sqlite3.connect(path) as database:
        (allow,) = database.execute("SELECT id FROM names WHERE name = 'allow'").fetchone()
        (deny,) = database.execute("SELECT id FROM names WHERE name = 'deny'").fetchone()
        database.execute(f"UPDATE records SET decision = {deny} WHERE decision = {allow}")
    database.close()
    assert lines("query", "--decision", "deny") == expected, (
        "what the index says of a record is looked at again"
    )


def test_places_that_are_none_are_found_out(log, state):
    expected = lines("query", "--json")
    with sqlite3.connect(path_of(state / "index", log)) as database:
        database.execute("UPDATE records SET place = place + 5")
    database.close()
    assert lines("query", "--json") == expected


def test_a_log_that_is_written_and_rotated_meanwhile(state):
    story = Story(state / "audit", END, segment_bytes=20_000)
    start = story.start("claude", "s", "c")
    story.call(start, "t")
    asked = threading.Event()

    def write() -> None:
        for number in range(1500):
            story.call(start, "t")
            if number % 100 == 99:
                asked.wait(SECONDS)
                asked.clear()

    writer = threading.Thread(target=write)
    writer.start()
    before, wrong = 0, []
    while writer.is_alive():
        seqs = [json.loads(line)["seq"] for line in lines("query", "--json")]
        if seqs != list(range(1, len(seqs) + 1)) or len(seqs) < before:
            wrong.append(seqs)
        before = len(seqs)
        asked.set()
    writer.join()
    story.close()
    assert wrong == []
    assert len(list((state / "audit").glob("audit-*"))) > 3
    assert run("query", "--json").stdout_bytes.splitlines() == raw(state / "audit")


def test_segments_deleted_meanwhile_are_said(log, monkeypatch):
    find = auditreading.Index.find

    def deleting(self, *words, **more):
        found = find(self, *words, **more)
        (log / "audit-000001.jsonl").unlink(missing_ok=True)
        return found

    monkeypatch.setattr(auditreading.Index, "find", deleting)
    told = run("query", "--json")
    assert told.exit_code == 0
    assert told.stderr == "mcpguard: deleted while the log was read, and not shown: audit-000001.jsonl\n"
    assert told.stdout_bytes.splitlines() == raw(log)


def test_queries_at_the_same_time_do_not_break_the_index(state):
    story = Story(state / "audit", END)
    start = story.start("claude", "s", "c")
    bodies = [record.call(start, n, b'"side":"host","method":"tools/call","tool":"t","decision":"allow","rule":"r",', None, 0)
              for n in range(1, 8_001)]  # fmt: skip
    story.journal.append(bodies)
    story.close()
    env = {**os.environ}
    children = [
        subprocess.Popen(
            [*MCPGUARD, "audit", "query", "--json"], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(5)
    ]
    expected = raw(state / "audit")
    for child in children:
        out, err = child.communicate(timeout=6 * SECONDS)
        assert child.returncode == 0, err
        assert out.splitlines() == expected
        assert err in (b"", b"mcpguard: waiting for another process that has the index of the log\n")


def test_a_real_daemon_writes_what_is_found():
    with house() as place:
        place.policy(
            'version = 1\nmode = "enforce"\nunpinned = "allow"\n[[rule]]\nid = "echo"\ntools = ["echo"]\neffect = "allow"\n'
        )
        host = place.play(options=("--name", "box")).greet()
        host.call("echo", text="hello")
        host.call("note", n=1)

        def found(*words: str) -> list[str]:
            return place.mcpguard("audit", "query", *words).stdout.splitlines()

        assert until(lambda: any("-> ok" in line for line in found("--server", "box", "--tool", "echo")))
        assert len(found("--tool", "note", "--decision", "deny")) == 1
        assert found("--type", "session", "--server", "b*")
        assert place.mcpguard("audit", "stats").stdout.splitlines()[1].startswith("2 calls, ")
