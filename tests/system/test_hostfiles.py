"""Configurations that are there: found in a real home, read, and told what is wrong with them."""

import json
import os
from pathlib import Path

import pytest

from mcpguard.hosts.places import Place, Scope, of_hosts
from mcpguard.system.hostfiles import HostFile, installed, look, present

SERVERS = {"mcpServers": {"one": {"command": "a"}, "two": {"url": "https://h"}}}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home of ours, whose name is a pattern."""
    place = tmp_path / "h[o]me*"
    place.mkdir()
    monkeypatch.setenv("HOME", str(place))
    for name in ("XDG_CONFIG_HOME", "CODEX_HOME", "CLAUDE_CONFIG_DIR"):
        monkeypatch.delenv(name, raising=False)
    return place


def put(path: Path, content: object = SERVERS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def found(*hosts: str, scope: Scope = Scope.USER, folder: Path | None = None) -> list[HostFile]:
    return list(present(of_hosts(hosts, scope), folder))


def names(file: HostFile) -> list[str]:
    return [server.entry.name for server in file.servers]


def test_empty_home_has_nothing(home: Path) -> None:
    assert found() == []


def test_file_is_found_with_its_servers(home: Path) -> None:
    path = put(home / ".cursor/mcp.json")
    (file,) = found()
    assert (file.place.host, file.path, file.fault, names(file)) == ("cursor", path, "", ["one", "two"])
    assert [server.file for server in file.servers] == [str(path)] * 2
    assert file.file().data == path.read_bytes()
    assert found("zed") == []


def test_pattern_finds_files_and_the_home_is_none(home: Path) -> None:
    for name in ("b", "a", ".hidden"):
        put(home / f".kiro/agents/{name}.json")
    put(home / ".kiro/agents/x.txt")
    put(home.with_name("home1") / ".kiro/agents/not-ours.json")
    assert [file.path.name for file in found("kiro")] == [".hidden.json", "a.json", "b.json"]


def test_variable_with_a_star_is_a_plain_path(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEX_HOME", str(home / "*"))
    put(home / "x/config.toml", "[mcp_servers.x]\ncommand = 'a'\n")
    assert found("codex") == []
    put(home / "*/config.toml", "[mcp_servers.star]\ncommand = 'a'\n")
    assert [names(file) for file in found("codex")] == [["star"]]


def test_files_of_a_folder_are_found_only_with_the_folder(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pro[j]ect"
    put(folder / ".mcp.json")
    put(folder / ".continue/mcpServers/x.yaml", "mcpServers:\n- name: y\n  command: a\n")
    assert found(scope=Scope.PROJECT) == []
    files = found(scope=Scope.PROJECT, folder=folder)
    assert [(file.place.host, names(file)) for file in files] == [
        ("claude-code", ["one", "two"]), ("continue", ["y"]),
    ]  # fmt: skip
    assert found(folder=folder) == []


@pytest.mark.parametrize(
    ("content", "line"), [('{"mcpServers": {', 1), ('{\n"mcpServers": {}\n}}', 3), ("\x00", 1)]
)
def test_file_that_its_host_cannot_read_is_a_fault_with_a_line(home: Path, content: str, line: int) -> None:
    put(home / ".cursor/mcp.json", content)
    (file,) = found("cursor")
    assert file.fault
    assert file.found
    assert file.servers == ()
    assert file.line == line


def test_file_that_cannot_be_opened_is_a_fault(home: Path) -> None:
    (home / ".cursor/mcp.json").mkdir(parents=True)
    (home / ".claude.json").symlink_to("nowhere")
    files = {file.place.host: file for file in found()}
    assert files["cursor"].fault == "a folder"
    assert files["claude-code"].fault == "a link that leads nowhere"
    assert files["cursor"].found is None
    assert files["cursor"].file().data == b""


def test_one_bad_file_hides_no_other(home: Path) -> None:
    (home / ".cursor/mcp.json").mkdir(parents=True)
    put(home / ".claude.json")
    assert [(file.place.host, bool(file.fault)) for file in found()] == [
        ("claude-code", False),
        ("cursor", True),
    ]


def test_look_at_a_file_that_is_not_there(home: Path) -> None:
    assert look(next(of_hosts(("cursor",))), home / "x") is None


def test_host_is_installed_if_its_program_is_on_the_path(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def of(host: str) -> Place:
        return next(of_hosts((host,)))

    monkeypatch.setenv("PATH", str(home / "bin"))
    assert not installed(of("codex"))
    program = put(home / "bin/codex", "#!/bin/sh\n")
    assert not installed(of("codex"))
    os.chmod(program, 0o755)
    assert installed(of("codex"))
    assert not installed(of("claude-desktop"))  # has no program that one calls
