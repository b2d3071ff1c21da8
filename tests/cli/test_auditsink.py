"""`audit sink`: verbs for people over one file."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mcpguard.cli.audit import audit
from mcpguard.errors import ConfigError
from mcpguard.system.delivery import SinkError
from mcpguard.system.journal import Journal
from mcpguard.system.sinkfile import SinkFile
from tests.audit.exported import read_syslog
from tests.system.receivers import Stream, until


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MCPGUARD_STATE_DIR", str(tmp_path))
    return tmp_path


def run(*words: str) -> Any:
    return CliRunner().invoke(audit, ["sink", *words])


def test_add_list_remove(state: Path) -> None:
    assert "no sinks are set up" in run("list").output
    assert (
        run("add", "siem", "tls://logs.example.com", "--format", "ocsf", "--ca", "/etc/ca.pem").exit_code == 0
    )
    assert run("add", "here", "journald").exit_code == 0
    assert run("add", "otel", "otlp+http://localhost:4318", "--signal", "logs").exit_code == 0
    assert run("add", "web", "https://example.com/in", "--start", "now").exit_code == 0
    kinds = {each.name: (each.kind, each.to) for each in SinkFile(state / "export").load()}
    assert kinds["otel"] == ("otlp", "http://localhost:4318")
    assert kinds["here"][0] == "journald"
    Journal.open(state / "audit").close()
    found = json.loads(run("list", "--json").output)["sinks"]
    assert next((each["name"], each["waiting"], each["sent"]) for each in found) == ("siem", 1, 0)
    assert (
        "siem  syslog tls://logs.example.com  0 events sent, last never; 1 records wait" in run("list").output
    )
    assert run("remove", "siem").exit_code == 0
    assert isinstance(run("remove", "siem").exception, ConfigError)


def test_what_is_wrong_is_refused() -> None:
    for words in (("a b", "journald"), ("a", "http://example.com"), ("a", "ftp://x"), ("a", "tcp://x")):
        assert isinstance(run("add", *words).exception, ConfigError), words


def test_a_trial_arrives_or_says_why_not() -> None:
    receiver = Stream()
    run("add", "siem", f"tcp://127.0.0.1:{receiver.port}")
    done = run("test", "siem")
    assert done.exit_code == 0
    assert "nothing acknowledges it" in done.output
    assert until(lambda: receiver.messages)
    assert read_syslog(receiver.messages[0])[1]["event"] == "sink-test"
    receiver.close()
    assert isinstance(run("test", "siem").exception, SinkError)
    assert isinstance(run("test", "none").exception, ConfigError)
