import json
import re

import pytest
from click.testing import CliRunner

from mcpguard.audit import record
from mcpguard.cli.audit import audit
from mcpguard.system import journalfiles, journalnotes
from mcpguard.system.journal import Journal
from tests.cli.test_audit import decided, on_a_terminal
from tests.system.test_journalhome import crashed


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("MCPGUARD_STATE_DIR", str(tmp_path))
    return tmp_path / "audit"


@pytest.fixture
def log(home):
    journal = Journal.open(home, segment_bytes=1500)
    for n in range(9):
        journal.append([decided(f"tool{n}")])
    journal.close()
    return home


def run(*args: str):
    return CliRunner().invoke(audit, list(map(str, args)))


def count(log) -> int:
    return sum(path.read_bytes().count(b"\n") for path in journalfiles.segments(log))


def test_verify_says_which_promises_were_checked_and_which_not(log):
    result = run("verify")
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[0] == "ok"
    assert lines[1] == f"checked: records 1..{count(log)} form one unbroken chain"
    assert lines[2].startswith("not checked: seals: the first key still lies beside the log")
    assert lines[3].startswith(f"checked: nothing is cut up to record {count(log)}")
    assert re.match(r"checked: the tree of all records agrees with \d+ checkpoints up to record", lines[4])
    assert journalnotes.standing(log).log_key.text() in lines[4]
    assert lines[5].startswith("not checked: anchor: none was given")
    assert re.fullmatch(f"sha256 of record {count(log)}: [0-9a-f]{{64}}", lines[6])
    found = json.loads(run("verify", "--json", log).output)
    assert (found["v"], found["state"], found["records"], found["seq"]) == (1, "ok", count(log), count(log))
    assert "first_bad" not in found
    assert re.fullmatch("[0-9a-f]{64}", found["head"])
    assert {each["name"]: each["checked"] for each in found["promises"]} == {
        "chain": True,
        "seals": False,
        "head": True,
        "checkpoints": True,
        "anchor": False,
    }


def test_verify_checks_seals_with_the_first_key(log, tmp_path):
    assert run("key", "-o", tmp_path / "k0").exit_code == 0
    plain = run("verify").output
    assert "not checked: seals: that takes the first key (--key)" in plain
    result = run("verify", "--key", tmp_path / "k0")
    assert result.exit_code == 0
    assert f"checked: seals of {count(log)} records from 1 on" in result.output
    (tmp_path / "k0").write_text("hello\n")
    result = run("verify", "--key", tmp_path / "k0")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "no key of an audit log is in it" in result.stderr


def test_verify_against_an_anchor(log, tmp_path):
    anchor = tmp_path / "anchor"
    assert run("anchor", "--to", f"file:{anchor}").exit_code == 0
    result = run("verify", "--anchor", anchor)
    assert result.exit_code == 0
    assert f"checked: records 1..{count(log)} are those that were anchored elsewhere" in result.output
    journal = Journal.open(log)
    journal.append([decided("more")])
    journal.close()
    result = run("verify", "--anchor", anchor)
    assert result.exit_code == 3
    assert result.output.startswith("ok, but 2 records are not anchored\n")
    assert json.loads(run("verify", "--json", "--anchor", anchor).output)["unanchored"] == 2
    assert run("verify").exit_code == 0
    anchor.write_text("hello\n")
    assert "something in it is not a signed note" in run("verify", "--anchor", anchor).stderr
    anchor.write_text("")
    assert "no checkpoint is in" in run("verify", "--anchor", anchor).stderr
    assert "cannot be read" in run("verify", "--anchor", tmp_path / "none").stderr


def test_a_log_set_back_is_found_by_its_anchor(log, tmp_path):
    old = crashed(log, tmp_path / "old")
    journal = Journal.open(log)
    journal.append([decided("shameful")])
    journal.close()
    run("anchor", "--to", f"file:{tmp_path / 'anchor'}")
    assert run("verify", old).exit_code == 0
    result = run("verify", old, "--anchor", tmp_path / "anchor")
    assert result.exit_code == 1
    assert "TAMPERED" in result.output
    assert "cut: anchor 1 is of" in result.output


def test_verify_since_a_checkpoint(log, tmp_path):
    note = tmp_path / "note"
    note.write_bytes(journalnotes.kept(log)[0])
    result = run("verify", "--since", note)
    assert result.exit_code == 0
    assert re.search(r"checked: records 1\.\.\d+ are those of the checkpoint given", result.output)


def test_verify_names_what_was_tampered_with(log):
    path = log / "audit-000001.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"allow"', b'"deny" ', 1))
    result = run("verify")
    assert result.exit_code == 1
    assert f"TAMPERED: {path}:3: record 3: wrong prev: not the digest of record 2" in result.output
    found = json.loads(run("verify", "--json").output)
    assert found["state"] == "tampered"
    assert found["first_bad"] == {
        "file": path.name,
        "line": 3,
        "seq": 3,
        "problem": "wrong prev: not the digest of record 2",
    }


def test_verify_finds_a_missing_segment(log):
    (log / "audit-000001.jsonl").unlink()
    result = run("verify")
    assert result.exit_code == 1
    assert "audit-000002.jsonl:1: record" in result.output
    assert "belongs" in result.output
    assert "not checked: nothing" in result.output


def test_verify_finds_a_deleted_tail_and_a_deleted_log(log):
    path = journalfiles.segments(log)[-1]
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.rstrip(b"\n").rfind(b"\n") + 1])
    result = run("verify")
    assert result.exit_code == 1
    assert "cut: record" in result.output
    assert "no crash does that" in result.output
    for each in journalfiles.segments(log):
        each.unlink()
    assert run("verify").exit_code == 1
    assert "TAMPERED" in run("verify").output


def test_verify_tells_a_torn_tail_apart(home, tmp_path):
    journal = Journal.open(home)
    journal.append([decided("one")])
    left = crashed(home, tmp_path / "left")
    journal.close()
    path = left / "audit-000001.jsonl"
    path.write_bytes(path.read_bytes()[:-10])
    result = run("verify", left)
    assert result.exit_code == 2
    assert result.output.startswith(f"torn tail: {path}:2: record 2: torn")
    assert json.loads(run("verify", "--json", left).output)["state"] == "torn"


def test_a_torn_line_in_an_older_segment_is_tampering(log):
    path = log / "audit-000001.jsonl"
    path.write_bytes(path.read_bytes()[:-10])
    result = run("verify")
    assert result.exit_code == 1
    assert "the log goes on after it" in result.output


def test_what_others_wrote_is_shown_harmlessly(log):
    path = journalfiles.segments(log)[0]
    note = log / "checkpoints" / path.with_suffix(".note").name
    note.write_bytes(b"\x1b[2Jevil\n3\n\n\n")
    output = run("verify").output
    assert "TAMPERED" in output
    assert "\x1b" not in output


def test_progress_is_for_terminals(log):
    assert "verifying" in on_a_terminal(["verify", str(log)])
    assert "verifying" not in run("verify").output


def test_rotated_records_name_the_tree(log):
    first = record.parse_line(journalfiles.segments(log)[1].read_bytes().splitlines(keepends=True)[0])
    assert re.fullmatch("[0-9a-f]{64}", first.body["root"])
