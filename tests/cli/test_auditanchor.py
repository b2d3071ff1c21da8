import json
import os

import pytest
from click.testing import CliRunner

from mcpguard.audit import checkpoint as notes
from mcpguard.cli.audit import audit
from mcpguard.system import anchors, journalnotes
from mcpguard.system.journal import Journal
from tests.cli.test_audit import decided


@pytest.fixture
def log(tmp_path, monkeypatch):
    monkeypatch.setenv("MCPGUARD_STATE_DIR", str(tmp_path))
    journal = Journal.open(tmp_path / "audit", segment_bytes=1500)
    for n in range(9):
        journal.append([decided(f"tool{n}")])
    journal.close()
    return tmp_path / "audit"


def run(*args: str):
    return CliRunner().invoke(audit, ["anchor", *map(str, args)])


def test_the_newest_checkpoint_goes_to_a_file(log, tmp_path):
    file = tmp_path / "anchor"
    result = run("--to", f"file:{file}")
    newest = journalnotes.newest(log)
    assert file.read_bytes() == newest
    size = notes.parse_note(newest)[0].size
    assert result.output.startswith(f"records 1..{size} of mcpguard-audit/")
    said = json.loads(run("--to", f"file:{file}", "--json").output)
    assert (said["size"], said["to"]) == (size, [f"file:{file}"])
    assert file.read_bytes() == newest


def test_all_that_are_kept_go_to_more_places(log, tmp_path):
    files = [tmp_path / "a", tmp_path / "b"]
    result = run("--all", *(arg for file in files for arg in ("--to", f"file:{file}")))
    assert result.exit_code == 0
    for file in files:
        assert list(notes.notes(file.read_bytes())) == journalnotes.kept(log)
    assert len(journalnotes.kept(log)) > 2


def test_what_cannot_be_reached_is_one_sentence(log, tmp_path):
    result = run("--to", f"file:{tmp_path}/none/anchor")
    assert result.exit_code == 1
    assert "cannot anchor at file:" in result.stderr
    assert "no such file" in result.stderr
    for place, there in (("journald", anchors.JOURNALD), ("syslog", anchors.SYSLOG)):
        if not os.path.exists(there):
            result = run("--to", place)
            assert (result.exit_code, result.stdout) == (1, "")
            assert f"cannot anchor at {place}" in result.stderr
    assert run("--to", "https://localhost:1/add").exit_code == 1
    assert run("--to", "http://localhost/").exit_code == 2
    assert run("--to", "somewhere").exit_code == 2
    assert run().exit_code == 2


def test_a_log_whose_checkpoints_are_damaged_anchors_nothing(log, tmp_path):
    (log / "checkpoints" / "log.vkey").write_text("x")
    result = run("--to", f"file:{tmp_path / 'anchor'}")
    assert result.exit_code == 1
    assert "see mcpguard audit verify" in result.stderr
    assert not (tmp_path / "anchor").exists()
