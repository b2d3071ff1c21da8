import os
import subprocess

import pytest
from click.testing import CliRunner

from mcpguard.audit.checkpoint import parse_key
from mcpguard.audit.seal import parse_first_key
from mcpguard.cli.audit import audit
from mcpguard.system import journalnotes
from mcpguard.system.journal import Journal
from tests.cli.test_audit import MAIN, ROOT


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("MCPGUARD_STATE_DIR", str(tmp_path))
    Journal.open(tmp_path / "audit").close()
    return tmp_path / "audit"


def run(*args: str):
    return CliRunner().invoke(audit, ["key", *map(str, args)])


def test_the_key_is_shown_once(home):
    result = run()
    assert result.exit_code == 0
    key, public = result.stdout.splitlines()
    assert parse_first_key(key).seq == 1
    assert parse_key(public) == journalnotes.standing(home).log_key
    assert "not kept here any more" in result.stderr
    again = run()
    assert (again.exit_code, again.stdout) == (1, "")
    assert "handed over" in again.stderr


def test_a_file_is_new_and_private(home, tmp_path):
    (tmp_path / "there").write_text("mine")
    assert "file exists" in run("-o", tmp_path / "there").stderr
    assert (tmp_path / "there").read_text() == "mine"
    assert run("-o", tmp_path / "k0").exit_code == 0
    assert (tmp_path / "k0").stat().st_mode & 0o777 == 0o600
    assert parse_first_key((tmp_path / "k0").read_text()).seq == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_a_key_that_could_not_be_shown_is_kept(home):
    with open("/dev/full", "wb") as full:
        ran = subprocess.run([*MAIN, "key", home], stdout=full, stderr=subprocess.PIPE, cwd=ROOT, check=False)
    assert ran.returncode != 0
    assert b"no space left" in ran.stderr.lower()
    assert run().exit_code == 0
