"""`mcpguard scan`: every server of every host, read off the configurations; nothing is started or written."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.homes import SECRET, put, real, servers, tree
from tests.lifecycle.stage import House


@pytest.fixture
def place() -> Iterator[House]:
    with House() as made:
        (made.root / "elsewhere").mkdir()
        yield made


def told(place: House, *words: str, code: int = 0, where: str = "elsewhere") -> list[str]:
    """The lines of `mcpguard scan WORDS`."""
    done = place.mcpguard("scan", *words, cwd=place.root / where)
    assert (done.returncode, done.stderr) == (code, "")
    return done.stdout.splitlines()


def answer(place: House, *words: str, code: int = 0, where: str = "elsewhere") -> dict[str, Any]:
    (line,) = told(place, *words, "--json", code=code, where=where)
    found: dict[str, Any] = json.loads(line)
    assert found.pop("v") == 1
    return found


def test_empty_home_tells_where_it_looked(place: House) -> None:
    first, second = told(place)
    assert first == "no host of this user has a configuration with servers"
    assert second.startswith("looked for: Amazon Q CLI, Amp, ")
    assert "Claude Code" in second
    assert answer(place) == {"ok": True, "files": [], "remarks": []}


def test_every_server_is_told_and_nothing_is_changed_or_started(place: House) -> None:
    files = real(place)
    before = tree(place.root)
    lines = told(place)
    for title, name in (
        ("Claude Code", "claude-code"),
        ("Codex", "codex"),
        ("Goose", "goose"),
        ("VS Code", "vscode"),
    ):
        assert f"{title}  {files[name]}" in lines
    assert sum(line.startswith("  open      files                 -     /") for line in lines) == 5
    assert "  -         far                   remote, https://h.test/mcp" in lines
    assert lines[-2:] == ["5 servers started by hosts, 0 of them behind mcpguard", "next: mcpguard init"]
    assert tree(place.root) == before
    assert not place.answers()


def test_what_is_behind_mcpguard_is_told_with_what_it_starts(place: House) -> None:
    put(place.root / ".cursor/mcp.json", servers("a", "b"))
    place.mcpguard("host", "wrap", "--server", "a", "--yes")
    lines = told(place)
    assert "  guarded   a                     -     npx -y a" in lines
    assert "  open      b                     -     npx -y b" in lines
    assert "2 servers started by hosts, 1 of them behind mcpguard" in lines
    place.mcpguard("host", "wrap", "--yes")
    assert told(place)[-1] == "2 servers started by hosts, 2 of them behind mcpguard"
    ((one, two),) = [file["servers"] for file in answer(place)["files"]]
    assert (one["wrapped"], one["argv"], two["argv"]) == (True, ["npx", "-y", "a"], ["npx", "-y", "b"])


def test_remarks_are_told_with_file_and_line(place: House) -> None:
    path = put(place.root / ".cursor/mcp.json", servers("a", env={"A_TOKEN": SECRET}))
    old = put(place.root / ".cache/lm-studio/mcp.json", servers("b"))
    lines = told(place)
    assert f"  {path}:3: a: a secret in plain text: A_TOKEN" in lines
    assert f"  {path}:3: a: fetches code from npm each time it starts" in lines
    assert f"  {old}:3: b: LM Studio reads ~/.lmstudio/mcp.json now" in lines
    kinds = [(one["kind"], one["server"], one["line"]) for one in answer(place)["remarks"]]
    assert kinds == [("fetches", "b", 3), ("old", "b", 3), ("fetches", "a", 3), ("secret", "a", 3)]


def test_no_secret_is_shown(place: House) -> None:
    entry = {"command": "docker", "args": ["run", "-e", f"A_TOKEN={SECRET}", "--api-key", SECRET, "x"]}
    far = {"url": f"https://u:{SECRET}@h/mcp?token={SECRET}"}
    put(place.root / ".cursor/mcp.json", {"mcpServers": {"a": entry, "far": far}})
    assert SECRET not in "\n".join(told(place) + told(place, "--json"))
    ((one, two),) = [file["servers"] for file in answer(place)["files"]]
    assert one["argv"] == ["docker", "run", "-e", "A_TOKEN=********", "--api-key", "********", "x"]
    assert two["url"] == "https://u:********@h/mcp?token=********"


def test_folder_is_looked_at_too(place: House) -> None:
    path = put(place.root / "elsewhere/.mcp.json", servers("a"))
    assert f"Claude Code  {path}" in told(place)
    assert [file["scope"] for file in answer(place)["files"]] == ["project"]
    assert told(place, where=".")[0].startswith("no host")
    assert f"Claude Code  {path}" in told(place, "--project", "elsewhere", where=".")


def test_in_the_home_itself_files_of_the_user_are_not_those_of_a_folder(place: House) -> None:
    put(place.root / ".cursor/mcp.json", servers("a"))
    (file,) = answer(place, where=".")["files"]
    assert file["scope"] == "user"
    assert not any("once the host trusts the folder" in line for line in told(place, where="."))


def test_file_that_cannot_be_read_is_6_and_hides_no_other(place: House) -> None:
    bad = put(place.root / ".cursor/mcp.json", '{\n"mcpServers": {,}}')
    good = put(place.root / ".claude.json", servers("a"))
    lines = told(place, code=6)
    assert f"Cursor  {bad}:2" in lines
    assert any(line.startswith("  cannot be read: ") for line in lines)
    assert f"Claude Code  {good}" in lines
    reply = answer(place, code=6)
    assert reply["ok"] is False
    assert [(file["fault"] != "", file["line"]) for file in reply["files"]] == [(False, 0), (True, 2)]


def test_odd_names_do_not_steer_the_terminal(place: House) -> None:
    put(place.root / ".cursor/mcp.json", servers("\x1b[2J\u202eevil\n"))
    text = "\n".join(told(place))
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert answer(place)["files"][0]["servers"][0]["name"] == "\x1b[2J\u202eevil\n"


def test_switched_off_and_empty_and_strange_entries(place: House) -> None:
    off = {"command": "npx", "args": ["x"], "disabled": True}
    put(place.root / ".cursor/mcp.json", {"mcpServers": {"off": off, "odd": {"x": 1}}})
    put(place.root / ".claude.json", {})
    lines = told(place)
    assert "  open      off                   -     npx x  (switched off)" in lines
    assert "  -         odd                   unknown" in lines
    assert lines[lines.index(f"Claude Code  {place.root}/.claude.json") + 1] == "  no servers"


def test_program_of_a_host_is_looked_for(place: House) -> None:
    put(place.root / ".codex/config.toml", "")
    assert answer(place)["files"][0]["installed"] is False
    program = put(place.root / "bin/codex", "#!/bin/sh\n")
    Path(program).chmod(0o755)
    place.env["PATH"] = f"{program.parent}:{place.env['PATH']}"
    assert answer(place)["files"][0]["installed"] is True


def test_levels_are_told_while_a_daemon_runs(place: House) -> None:
    put(place.root / ".cursor/mcp.json", servers("a"))
    place.serve()
    assert answer(place)["files"][0]["servers"][0]["pin"] == ""


def test_wrong_usage_is_2(place: House) -> None:
    assert place.mcpguard("scan", "--no-such").returncode == 2
