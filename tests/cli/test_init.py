"""`mcpguard init`: everything behind mcpguard with one question, and nothing that was not asked for."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.homes import PROGRAM, SECRET, argv, guarded, put, real, servers, tree
from tests.fakes.screens import Screen
from tests.lifecycle.stage import MCPGUARD, House


@pytest.fixture
def place() -> Iterator[House]:
    with House() as made:
        yield made


def told(place: House, *words: str, code: int = 0) -> str:
    """What `mcpguard init WORDS` says, both streams."""
    done = place.mcpguard("init", *words)
    assert done.returncode == code, done
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def answer(place: House, *words: str, code: int = 0) -> dict[str, Any]:
    done = place.mcpguard("init", *words, "--json")
    assert done.returncode == code, done
    assert len(done.stdout.splitlines()) == 1
    found: dict[str, Any] = json.loads(done.stdout)
    assert found.pop("v") == 1
    return found


def test_first_time_wraps_everything_and_the_second_finds_nothing_to_do(place: House) -> None:
    files = real(place)
    before = {path: path.read_bytes() for path in files.values()}
    said = told(place, "--yes")
    assert "5 servers of Claude Code, Codex, Goose, VS Code start behind mcpguard now\n" in said
    assert "restart: Claude Code, Codex, Goose, VS Code\n" in said
    assert "watching only: everything is recorded, nothing is refused\n" in said
    assert "undo everything: mcpguard host unwrap --all\n" in said
    assert f"VS Code: 1 server in {files['vscode']}, 1 remote (left alone)\n" in said
    assert place.answers()
    after = {path: path.read_bytes() for path in before}
    kept = tree(place.state / "wrapped")
    again = told(place, "--yes")
    assert "nothing to do: every server that a host starts is behind mcpguard\n" in again
    assert f"Codex: 1 server in {files['codex']}, 1 guarded already\n" in again
    assert {path: path.read_bytes() for path in before} == after
    assert tree(place.state / "wrapped") == kept
    place.mcpguard("host", "unwrap", "--all", "--yes")
    assert {path: path.read_bytes() for path in before} == before


def test_run_again_it_does_what_is_new(place: House) -> None:
    path = put(place.root / ".cursor/mcp.json", servers("a"))
    told(place, "--yes")
    content = json.loads(path.read_bytes())
    content["mcpServers"] |= servers("b")["mcpServers"]
    put(path, content)
    assert "1 server of Cursor starts behind mcpguard now\n" in told(place, "--yes")
    assert (argv(path, "a"), argv(path, "b")) == (guarded("a"), guarded("b"))


def test_dry_run_writes_nothing_at_all_and_starts_nothing(place: House) -> None:
    real(place)
    before = tree(place.root)
    said = told(place, "--dry-run")
    assert "5 servers in 4 files would be put behind mcpguard; nothing was changed\n" in said
    assert said.count("\n+++ ") == 4
    assert answer(place, "--dry-run")["dry_run"] is True
    assert tree(place.root) == before
    assert not place.answers()


def test_no_secret_is_ever_printed(place: House) -> None:
    real(place)
    odd = f'{SECRET}"\\é'
    one = {"headers": {"X-Api-Key": SECRET}, "url": f"https://u:{SECRET}@h/mcp?token={SECRET}"}
    near = {"env": {"A_TOKEN": odd}, "command": "x", "args": ["--api-key", SECRET, f"--token={SECRET}"]}
    put(place.root / ".cursor/mcp.json", json.dumps({"mcpServers": {"far": one, "near": near}}))
    for words in (["--dry-run"], ["--dry-run", "--json"], [], ["--yes"]):
        done = place.mcpguard("init", *words)
        assert SECRET not in done.stdout + done.stderr, words
    for words in (["scan"], ["scan", "--json"], ["doctor"], ["host", "unwrap", "--dry-run"]):
        done = place.mcpguard(*words)
        assert SECRET not in done.stdout + done.stderr, words


def test_secrets_are_pointed_at(place: House) -> None:
    files = real(place)
    said = told(place, "--dry-run")
    assert "secrets in plain text; they stay where they are, until: mcpguard secret import\n" in said
    assert f"  {files['codex']}:4: files: a secret in plain text: API_KEY\n" in said
    assert {one["file"] for one in answer(place, "--dry-run")["secrets"]} == {
        str(files[name]) for name in ("claude-code", "codex", "goose")
    }


def test_nobody_to_ask_is_5_and_changes_nothing(place: House) -> None:
    real(place)
    before = tree(place.root)
    assert "there is no terminal to ask on: say it with --yes\n" in told(place, code=5)
    assert answer(place, code=5)["ok"] is False
    assert tree(place.root) == before


def test_home_without_hosts_is_told_and_is_no_failure(place: House) -> None:
    said = told(place)
    assert "no agent host of this user has a configuration with servers" in said
    reply = answer(place)
    assert {reply.pop(what)["state"] for what in ("service", "key")} == {"later"}
    assert reply == {
        "ok": True, "dry_run": False, "changed": [], "left": [], "unclear": [], "secrets": [], "restart": [],
    }  # fmt: skip
    assert not place.state.exists()


def test_bad_file_is_left_and_the_others_are_done(place: House) -> None:
    good = put(place.root / ".claude.json", servers("a"))
    bad = put(place.root / ".cursor/mcp.json", "{")
    said = told(place, "--yes", code=6)
    assert f"left alone: {bad}:1: " in said
    assert argv(good, "a") == guarded("a")
    assert "nothing was changed; what was left alone is said above\n" in told(place, "--yes", code=6)
    reply = answer(place, "--yes", code=6)
    assert (reply["ok"], reply["changed"], len(reply["left"])) == (False, [], 1)


def test_entry_that_nobody_understands_is_said_with_its_line_and_is_no_failure(place: House) -> None:
    text = "mcpServers:\n- name: a\n  command: npx\n  args: [-y, a]\n- command: uvx\n- uses: x/y\n"
    path = put(place.root / ".continue/config.yaml", text)
    goose = put(
        place.root / ".config/goose/config.yaml", "extensions:\n  developer: {type: builtin, enabled: true}\n"
    )
    said = told(place, "--yes")
    for line in (5, 6):
        assert f"left alone: {path}:{line}: #{line - 4}: it has no name\n" in said
    assert "1 server of Continue starts behind mcpguard now\n" in said
    assert f"Goose: 0 servers in {goose}\n" in said
    assert "developer" not in said
    again = told(place, "--yes")
    assert "every server that a host starts, as far as that is understood, is behind mcpguard\n" in again
    assert len(answer(place)["unclear"]) == 2
    assert "it has no name" in place.mcpguard("scan").stdout


def test_script_that_starts_servers_is_said_with_what_to_do_and_is_no_failure(place: House) -> None:
    path = put(place.root / ".config/crush/crushrc", "mcp add a --command npx --args -y\n")
    said = told(place, "--yes")
    assert (
        f"left alone: {path}:1: a: a shell script starts it, which mcpguard does not edit; by hand: " in said
    )
    assert f"Crush: 1 server in {path}\n" in said
    assert path.read_text() == "mcp add a --command npx --args -y\n"
    scanned = place.mcpguard("scan").stdout
    assert "open      a " in scanned
    assert f"{path}:1: a: a shell script starts it" in scanned
    guarded_by_hand = (
        f"mcp add a --command {PROGRAM} --args run --args --name --args a --args -- --args npx --args -y\n"
    )
    put(path, guarded_by_hand)
    assert "left alone" not in told(place, "--yes")
    assert "guarded   a " in place.mcpguard("scan").stdout
    assert place.mcpguard("host", "unwrap", "--all", "--yes").returncode == 0
    assert path.read_text() == guarded_by_hand


def test_server_with_null_for_arguments_comes_back_byte_for_byte(place: House) -> None:
    path = put(place.root / ".cursor/mcp.json", '{"mcpServers": {"a": {"command": "npx", "args": null}}}')
    before = path.read_bytes()
    told(place, "--yes")
    assert argv(path, "a") == guarded("a", "npx")
    place.mcpguard("host", "unwrap", "--all", "--yes")
    assert path.read_bytes() == before


def test_server_of_opencode_that_is_called_servers(place: House) -> None:
    path = put(place.root / ".config/opencode/opencode.json", {"mcp": {"servers": {"command": ["npx", "a"]}}})
    before = path.read_bytes()
    told(place, "--yes")
    assert json.loads(path.read_bytes())["mcp"]["servers"]["command"] == guarded("servers", "npx", "a")
    place.mcpguard("host", "unwrap", "--all", "--yes")
    assert path.read_bytes() == before


def test_file_that_cannot_be_written_is_said(place: House) -> None:
    closed = put(place.root / ".cursor/mcp.json", servers("a"))
    closed.chmod(0o400)
    said = told(place, "--yes", code=6)
    assert f"left alone: {closed}: it is read-only: nothing was written\n" in said
    assert "every server that a host starts" not in said
    assert len(answer(place, "--yes", code=6)["left"]) == 1


def test_policy_in_force_is_mentioned(place: House) -> None:
    put(place.root / ".cursor/mcp.json", servers("a"))
    place.serve()
    place.policy('version = 1\nmode = "enforce"\n')
    said = told(place, "--yes")
    assert (
        "a policy is in force (test): it decides about them from now on; servers without a manifest" in said
    )
    assert "watching only" not in said


def test_policy_that_only_watches_is_watching(place: House) -> None:
    put(place.root / ".cursor/mcp.json", servers("a"))
    place.serve()
    place.policy('version = 1\nmode = "observe"\n')
    assert "watching only: everything is recorded, nothing is refused\n" in told(place, "--yes")


def test_without_a_daemon_that_can_start_nothing_is_changed(place: House) -> None:
    """Else every server would be gone on the first day."""
    path = put(place.root / ".cursor/mcp.json", servers("a"))
    before = path.read_bytes()
    place.run_dir.write_text("in the way")
    said = told(place, "--yes", code=1)
    assert str(place.run_dir) in said
    assert path.read_bytes() == before


def test_old_file_that_its_host_does_not_read_any_more_is_wrapped_too(place: House) -> None:
    path = put(place.root / ".cache/lm-studio/mcp.json", servers("a"))
    told(place, "--yes")
    assert argv(path, "a") == guarded("a")


# --- at a terminal --------------------------------------------------------------------------------------


def asking(place: House) -> Screen:
    """The question on a real terminal, high enough for all that stands before it."""
    screen = Screen([*MCPGUARD, "init"], place.env, columns=160, lines=120)
    screen.asks("Change these files")
    return screen


def test_person_says_yes(place: House) -> None:
    path = put(place.root / ".cursor/mcp.json", servers("a", "b"))
    screen = asking(place)
    screen.press("y\r")
    assert screen.end() == 0
    assert (argv(path, "a"), argv(path, "b")) == (guarded("a"), guarded("b"))


@pytest.mark.parametrize("typed", ["n", "", "no", "yess", "1 x"])
def test_anything_but_a_yes_changes_nothing(place: House, typed: str) -> None:
    put(place.root / ".cursor/mcp.json", servers("a"))
    before = tree(place.root)
    screen = asking(place)
    screen.press(f"{typed}\r")
    assert screen.end() == 1
    assert tree(place.root) == before


def test_numbers_switch_servers_off_and_on_again(place: House) -> None:
    one = put(place.root / ".claude.json", servers("a", "b"))
    two = put(place.root / ".cursor/mcp.json", servers("c"))
    other = two.read_bytes()
    screen = asking(place)
    screen.press("1, 3\r")
    screen.shows("  1 [ ] Claude Code: a", "  2 [x] Claude Code: b", "  3 [ ] Cursor: c")
    screen.asks("Change these files")
    screen.press("1 1 99\r")  # a number counts once, however often it is typed
    screen.shows("  1 [x] Claude Code: a", "  2 [x] Claude Code: b", "  3 [ ] Cursor: c")
    screen.asks("Change these files")
    screen.press("2\r")
    screen.asks("Change these files")
    screen.press("y\r")
    screen.shows("1 server of Claude Code starts behind mcpguard now")
    assert screen.end() == 0
    assert argv(one, "a") == guarded("a")
    assert argv(one, "b") == ["npx", "-y", "b"]
    assert two.read_bytes() == other


def test_everything_switched_off_changes_nothing(place: House) -> None:
    put(place.root / ".cursor/mcp.json", servers("a"))
    before = tree(place.root)
    screen = asking(place)
    screen.press("1\r")
    screen.asks("Change these files")
    screen.press("y\r")
    screen.shows("nothing was changed")
    assert screen.end() == 1
    assert {name: what for name, what in tree(place.root).items() if name.startswith(".cursor")} == {
        name: what for name, what in before.items() if name.startswith(".cursor")
    }


def test_of_two_servers_of_one_name_one_is_switched_off(place: House) -> None:
    path = put(place.root / ".claude.json", {**servers("db"), "projects": {"/p": servers("db")}})
    screen = Screen([*MCPGUARD, "init"], place.env, columns=160, lines=120)
    screen.shows("  1 [x] Claude Code: db", "  2 [x] Claude Code: db (in /p)")
    screen.press("2\r")
    screen.shows("  2 [ ] Claude Code: db (in /p)")
    screen.press("y\r")
    assert screen.end() == 0
    content = json.loads(path.read_bytes())
    assert content["mcpServers"]["db"]["command"] == PROGRAM
    assert content["projects"]["/p"]["mcpServers"]["db"]["command"] == "npx"


# --- size -----------------------------------------------------------------------------------------------

TWELVE = {
    ".claude.json": "mcpServers", ".cursor/mcp.json": "mcpServers", ".config/Code/User/mcp.json": "servers",
    ".codeium/windsurf/mcp_config.json": "mcpServers", ".config/zed/settings.json": "context_servers",
    ".gemini/settings.json": "mcpServers", ".lmstudio/mcp.json": "mcpServers",
    ".kiro/settings/mcp.json": "mcpServers", ".copilot/mcp-config.json": "mcpServers",
    ".qwen/settings.json": "mcpServers",
}  # fmt: skip


def test_twelve_hosts_and_sixty_servers(place: House, capsys: pytest.CaptureFixture[str]) -> None:
    files = {
        put(place.root / name, servers(*(f"s{number}" for number in range(5)), key=key))
        for name, key in TWELVE.items()
    }
    lines = [f'[mcp_servers.s{number}]\ncommand = "npx"\nargs = ["-y", "x"]\n' for number in range(5)]
    files.add(put(place.root / ".codex/config.toml", "\n".join(lines)))
    lines = [f"  s{number}:\n    type: stdio\n    cmd: npx\n    args: [-y, x]\n" for number in range(5)]
    files.add(put(place.root / ".config/goose/config.yaml", "extensions:\n" + "".join(lines)))
    before: dict[Path, bytes] = {path: path.read_bytes() for path in files}
    took = []
    for words in (
        ["init", "--dry-run"],
        ["init", "--yes"],
        ["init"],
        ["scan"],
        ["host", "unwrap", "--all", "--yes"],
    ):
        start = time.monotonic()
        assert place.mcpguard(*words).returncode == 0
        took.append(f"{' '.join(words)}: {time.monotonic() - start:.2f} s")
        if words == ["init", "--yes"]:
            assert sum(path.read_text().count(PROGRAM) for path in files) == 60
    assert {path: path.read_bytes() for path in files} == before
    with capsys.disabled():
        print(f"\n12 hosts, 60 servers: {'; '.join(took)}")
