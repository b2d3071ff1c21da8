import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from mcpguard.cli.verbs import Verbs


@pytest.fixture
def group():
    group = Verbs("things", table={"version": "version"})
    group.add_command(click.Command("own", callback=lambda: click.echo("own")))
    return group


def test_verbs_of_the_table_and_others_are_one_list(group):
    shown = CliRunner().invoke(group, ["--help"]).output
    assert shown.index("own") < shown.index("version")


def test_each_is_run_and_others_are_refused(group):
    assert CliRunner().invoke(group, ["own"]).output == "own\n"
    assert CliRunner().invoke(group, ["version"]).exit_code == 0
    assert "No such command" in CliRunner().invoke(group, ["run"]).output


def test_what_is_not_used_is_not_imported():
    code = "import sys, mcpguard.cli.audit as a; a.audit.get_command(None, 'verify'); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "mcpguard.cli.auditverify" in done.stdout.split()
    assert "mcpguard.cli.audittail" not in done.stdout.split()
