"""Hosts that a user has written down are found, wrapped and unwrapped like those that are known."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from mcpguard.cli.main import cli
from mcpguard.errors import ConfigError
from mcpguard.hosts.entries import Dialect
from mcpguard.system.ownhosts import own_places, places, titles

WRITTEN = """\
[[host]]
name    = "my-agent"
title   = "My Agent"
file    = "~/.my-agent/servers.yaml"
format  = "yaml"
servers = ["tools", "*", "mcp"]
restart = false
"""
SERVERS = """\
tools:
  work:   # at work
    mcp:
      files:
        command: npx
        args: [-y, pkg]
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MCPGUARD_STATE_DIR", str(tmp_path / "state"))
    (tmp_path / ".config" / "mcpguard").mkdir(parents=True)
    (tmp_path / ".my-agent").mkdir()
    (tmp_path / ".my-agent" / "servers.yaml").write_text(SERVERS)
    return tmp_path


def write(home: Path, text: str) -> None:
    (home / ".config" / "mcpguard" / "hosts.toml").write_text(text)


def test_what_is_written_down_is_known(home: Path) -> None:
    assert own_places() == []
    write(home, WRITTEN)
    (place,) = places(("my-agent",))
    assert (place.title, place.dialect, place.paths, place.restart) == (
        "My Agent",
        Dialect.YAML,
        (("tools", "*", "mcp"),),
        False,
    )
    assert titles()["my-agent"] == "My Agent"
    assert "codex" in titles()


def test_its_servers_are_wrapped_and_unwrapped(home: Path) -> None:
    write(home, WRITTEN)
    file = home / ".my-agent" / "servers.yaml"
    done = CliRunner().invoke(cli, ["host", "wrap", "my-agent", "--yes"])
    assert done.exit_code == 0, done.output
    assert "restart" not in done.stdout
    assert '"run", "--name", "files", "--", "npx", -y, pkg]' in file.read_text()
    assert "# at work" in file.read_text()
    done = CliRunner().invoke(cli, ["host", "unwrap", "--all", "--yes"])
    assert done.exit_code == 0, done.output
    assert file.read_text() == SERVERS


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[host]]\nname = 1\n", "hosts.toml"),
        ("[[host]]\nname = 'x'\n", "file"),
        ("[[host]]\nname = 'x'\nfile = 'relative.json'\n", "begin with ~/ or /"),
        ("[[host]]\nname = 'x'\nfile = '~/x'\nformat = 'ini'\n", "ini"),
        ("[[host]]\nname = 'x'\nfile = '~/x'\ncolour = 'red'\n", "colour"),
        ("[[host\n", "hosts.toml"),
    ],
)
def test_what_is_wrong_is_one_sentence(home: Path, text: str, said: str) -> None:
    write(home, text)
    with pytest.raises(ConfigError) as caught:
        own_places()
    assert said in caught.value.sentence()
    done = CliRunner().invoke(cli, ["scan"])
    assert done.exit_code == 6
