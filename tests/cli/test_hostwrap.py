"""`mcpguard host wrap`, `unwrap` and `diff` as a person and a script see them, in a real home."""

import json
import subprocess
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


def told(place: House, *words: str, code: int = 0, **more: Any) -> str:
    """What `mcpguard host WORDS` says, both streams."""
    done = place.mcpguard("host", *words, **more)
    assert done.returncode == code, done
    return done.stdout + done.stderr


def answer(place: House, *words: str, code: int = 0) -> dict[str, Any]:
    """The one object that `--json` prints."""
    done = place.mcpguard("host", *words, "--json")
    assert done.returncode == code, done
    assert len(done.stdout.splitlines()) == 1
    found: dict[str, Any] = json.loads(done.stdout)
    assert found.pop("v") == 1
    return found


# --- wrap -----------------------------------------------------------------------------------------------


def test_everything_is_wrapped_and_every_byte_comes_back(place: House) -> None:
    files = real(place)
    before = {path: path.read_bytes() for path in files.values()}
    said = told(place, "wrap", "--yes")
    assert f"wrapped in {files['claude-code']}: files, files\n" in said
    assert f"wrapped in {files['codex']}: files\n" in said
    assert "restart: Claude Code, Codex, Goose, VS Code\n" in said
    assert SECRET not in said
    assert all(PROGRAM.encode() in path.read_bytes() for path in before)
    assert told(place, "wrap", "--yes") == "nothing to do\n"
    told(place, "unwrap", "--yes")
    assert {path: path.read_bytes() for path in before} == before
    assert told(place, "unwrap", "--yes") == "nothing to do\n"


def test_hosts_are_chosen_by_name_or_path(place: House) -> None:
    one, two = (
        put(place.root / ".cursor/mcp.json", servers("a")),
        put(place.root / ".claude.json", servers("b")),
    )
    odd = put(place.root / "odd/mine.json", servers("c", key="servers"))
    told(place, "wrap", "cursor", "./mine.json", "--yes", cwd=odd.parent)
    assert argv(one, "a") == guarded("a")
    assert argv(odd, "c", "servers") == guarded("c")
    assert argv(two, "b") == ["npx", "-y", "b"]
    told(place, "unwrap", "--all", "--yes")
    assert argv(one, "a") == ["npx", "-y", "a"]
    assert argv(odd, "c", "servers") == ["npx", "-y", "c"]


def test_servers_are_chosen_by_name(place: House) -> None:
    path = put(place.root / ".cursor/mcp.json", servers("a", "b", "c"))
    told(place, "wrap", "--server", "a", "--server", "c", "--yes")
    assert [argv(path, name)[0] for name in "abc"] == [PROGRAM, "npx", PROGRAM]
    told(place, "unwrap", "--server", "a", "--yes")
    assert [argv(path, name)[0] for name in "abc"] == ["npx", "npx", PROGRAM]


def test_files_of_a_folder(place: House) -> None:
    path = put(place.root / "p/.vscode/mcp.json", servers("a", key="servers"))
    user = put(place.root / ".cursor/mcp.json", servers("b"))
    before = path.read_bytes()
    assert "restart: VS Code\n" in told(place, "wrap", "--project", str(place.root / "p"), "--yes")
    assert argv(path, "a", "servers") == guarded("a")
    assert argv(user, "b")[0] == "npx"
    assert "restart: VS Code\n" in told(place, "unwrap", "--all", "--yes")
    assert path.read_bytes() == before


def test_file_of_a_folder_is_known_by_its_path(place: House) -> None:
    path = put(place.root / "p/.vscode/mcp.json", servers("a", key="servers"))
    (one,) = answer(place, "wrap", str(path), "--yes")["changed"]
    assert one == {"file": str(path), "host": "vscode", "servers": ["a"]}


@pytest.mark.parametrize("name", ["two words", "é✓", "a\nb", "x" * 200, "", "-x", "--", "a.b", "\u202eevil"])
def test_odd_names(place: House, name: str) -> None:
    path = put(place.root / ".cursor/mcp.json", servers(name))
    before = path.read_bytes()
    said = told(place, "wrap", "--yes")
    assert "\u202e" not in said
    assert argv(path, name)[-3:] == ["npx", "-y", name]
    told(place, "unwrap", "--server", name, "--yes")
    assert path.read_bytes() == before


# --- dry runs, questions, errors ------------------------------------------------------------------------


def test_dry_run_shows_and_changes_nothing_at_all(place: House) -> None:
    real(place)
    before = tree(place.root)
    said = told(place, "wrap", "--dry-run")
    assert said.count("\n+++ ") == 4
    assert said.startswith("nothing was changed (dry run)\n")
    assert SECRET not in said
    assert tree(place.root) == before
    reply = answer(place, "wrap", "--dry-run")
    assert (reply["ok"], reply["left"], len(reply["would_change"])) == (True, [], 4)
    assert tree(place.root) == before


def test_person_says_no_and_then_yes(place: House) -> None:
    path = put(place.root / ".cursor/mcp.json", servers("a", "b"))
    before = tree(place.root)
    for typed, code in (("\r", 1), ("n\r", 1), ("y\r", 0)):
        screen = Screen([*MCPGUARD, "host", "wrap"], place.env)
        screen.asks("Change 1 file, 2 servers?")
        assert tree(place.root) == before
        screen.press(typed)
        assert screen.end() == code
    assert argv(path, "a") == guarded("a")


@pytest.mark.parametrize("verb", ["wrap", "unwrap"])
def test_nobody_to_ask_is_5_and_names_the_option(place: House, verb: str) -> None:
    put(place.root / ".cursor/mcp.json", servers("a"))
    if verb == "unwrap":
        told(place, "wrap", "--yes")
    before = tree(place.root)
    said = told(place, verb, code=5, stdin=-3)
    assert "mcpguard: this needs a yes, and there is no terminal to ask on: say it with --yes\n" in said
    assert answer(place, verb, code=5)["ok"] is False
    assert tree(place.root) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["wrap", "cursr"], "did you mean cursor?"),
        (["wrap", "zzzzzz"], "mcpguard scan lists those that are here"),
        (["wrap", "--server", "githb"], "no server is called 'githb': did you mean 'github'?"),
        (["unwrap", "--server", "zzzzzz"], "mcpguard scan lists those that are here"),
        (["unwrap", "--all", "cursor"], "--all means every host"),
        (["unwrap", "--all", "--project", "."], "--all means every host"),
        (["wrap", "--no-such"], "No such option"),
        (["wrapp"], "wrapp"),
    ],
)
def test_wrong_usage_is_2_and_changes_nothing(place: House, words: list[str], said: str) -> None:
    put(place.root / ".cursor/mcp.json", servers("github"))
    before = tree(place.root)
    assert said in told(place, *words, code=2)
    assert tree(place.root) == before


def test_path_that_is_not_there_is_6(place: House) -> None:
    assert told(place, "wrap", "/no/such.json", "--yes", code=6) == "mcpguard: /no/such.json: no such file\n"


def test_bad_files_among_good_ones_are_named_and_the_good_ones_done(place: House) -> None:
    good = put(place.root / ".claude.json", servers("a"))
    bad = put(place.root / ".cursor/mcp.json", '{"mcpServers": {,}}')
    closed = put(place.root / ".gemini/settings.json", servers("b"))
    closed.chmod(0o400)
    (place.root / ".codex/config.toml").mkdir(parents=True)
    before = {path: path.read_bytes() for path in (bad, closed)}
    said = told(place, "wrap", "--yes", code=6)
    assert argv(good, "a") == guarded("a")
    assert f"mcpguard: {bad}:1: " in said
    assert f"mcpguard: {closed}: it is read-only: nothing was written\n" in said
    assert f"mcpguard: {place.root}/.codex/config.toml: a folder: it is left as it is\n" in said
    assert {path: path.read_bytes() for path in before} == before
    reply = answer(place, "wrap", "--yes", code=6)
    assert (reply["ok"], reply["changed"], len(reply["left"])) == (False, [], 3)
    assert answer(place, "wrap", "--dry-run", code=6)["ok"] is False
    told(place, "wrap", "--dry-run", code=6)
    closed.chmod(0o600)
    told(place, "unwrap", "--yes", code=6)
    assert argv(good, "a") == ["npx", "-y", "a"]


def test_entry_that_nobody_understands_is_said_and_a_fault_if_it_was_asked_for(place: House) -> None:
    path = put(
        place.root / ".cursor/mcp.json", '{"mcpServers": {"a": {"command": "x"},\n"b": {"command": 1}}}'
    )
    line = f"mcpguard: {path}:2: b: its command is not text on one line"
    for words in (["diff"], ["wrap", "--dry-run"], ["wrap", "--yes"]):
        assert f"{line}: left alone\n" in told(place, *words)
    assert f"{line}\n" in told(place, "wrap", "--server", "b", "--yes", code=6)


def test_json_of_what_was_done(place: House) -> None:
    path = put(place.root / ".cursor/mcp.json", servers("a"))
    changed = [{"file": str(path), "host": "cursor", "servers": ["a"]}]
    assert answer(place, "wrap", "--dry-run") == {"ok": True, "would_change": changed, "left": []}
    assert answer(place, "wrap", "--yes") == {"ok": True, "changed": changed, "left": []}
    assert answer(place, "wrap", "--yes") == {"ok": True, "changed": [], "left": []}
    assert answer(place, "wrap", "--dry-run") == {"ok": True, "would_change": [], "left": []}
    assert answer(place, "diff") == {"ok": True, "would_change": [], "left": []}
    assert answer(place, "unwrap", "--yes")["changed"] == changed


# --- unwrap ---------------------------------------------------------------------------------------------


def test_entry_that_was_changed_since_is_left_until_force(place: House) -> None:
    path = put(place.root / ".cursor/mcp.json", servers("a", "b"))
    told(place, "wrap", "--yes")
    path.write_text(path.read_text().replace('"a"\n', '"a@2"\n'))
    said = told(place, "unwrap", "--yes", code=6)
    assert f"{path}:3: the server 'a' was changed since mcpguard was put before it" in said
    assert f"unwrapped in {path}: b\n" in said
    assert argv(path, "a")[0] == PROGRAM
    told(place, "unwrap", "--force", "--yes")
    assert argv(path, "a") == ["npx", "-y", "a@2"]


def test_without_the_record_the_words_are_enough(place: House) -> None:
    path = put(place.root / ".cursor/mcp.json", servers("a"))
    before = json.loads(path.read_bytes())
    told(place, "wrap", "--yes")
    (place.state / "wrapped/wrapped.json").unlink()
    path.write_text(json.dumps(json.loads(path.read_bytes())))  # as a host that writes its file anew
    told(place, "unwrap", "--yes")
    assert json.loads(path.read_bytes()) == before


def test_damaged_record_stops_everything_with_a_way_out(place: House) -> None:
    path = put(place.root / ".cursor/mcp.json", servers("a"))
    told(place, "wrap", "--yes")
    (place.state / "wrapped/wrapped.json").write_text("{")
    before = tree(place.root)
    for verb in ("wrap", "unwrap", "diff"):
        said = told(place, verb, code=1)
        assert f"cannot be relied on: it is damaged: look at it, then remove it: rm {place.state}" in said
    assert tree(place.root) == before
    assert argv(path, "a") == guarded("a")


def test_link_into_dotfiles_stays_a_link(place: House) -> None:
    target = put(place.root / "dotfiles/mcp.json", servers("a"))
    (place.root / ".cursor").mkdir()
    (place.root / ".cursor/mcp.json").symlink_to(target)
    before = target.read_bytes()
    told(place, "wrap", "--yes")
    assert argv(target, "a") == guarded("a")
    assert (place.root / ".cursor/mcp.json").is_symlink()
    told(place, "unwrap", "--all", "--yes")
    assert target.read_bytes() == before


# --- diff -----------------------------------------------------------------------------------------------


def test_diff_tells_what_starts_without_mcpguard(place: House) -> None:
    path = put(place.root / ".cursor/mcp.json", servers("a"))
    before = tree(place.root)
    assert f"+++ {path}" in told(place, "diff")
    assert f"+++ {path}" in told(place, "diff", "--check", code=7)
    assert answer(place, "diff", "--check", code=7)["would_change"][0]["servers"] == ["a"]
    assert told(place, "diff", "zed", "--check") == "every server that can be wrapped is\n"
    assert tree(place.root) == before
    told(place, "wrap", "--yes")
    assert told(place, "diff", "--check") == "every server that can be wrapped is\n"


def test_diff_of_a_file_that_cannot_be_read_is_no_all_clear(place: House) -> None:
    put(place.root / ".cursor/mcp.json", "{")
    said = told(place, "diff", "--check", code=6)
    assert "every server" not in said
    assert str(place.root / ".cursor/mcp.json") in said
    assert answer(place, "diff", code=6)["ok"] is False


def test_path_that_configurations_name_is_the_one_that_stays(place: House) -> None:
    path = put(place.root / ".cursor/mcp.json", servers("a"))
    link = place.root / ".local/bin/mcpguard"
    link.parent.mkdir(parents=True)
    link.symlink_to(PROGRAM)
    told(place, "wrap", "--yes")
    assert argv(path, "a")[0] == str(link)
    assert Path(PROGRAM).exists()


# --- copies ---------------------------------------------------------------------------------------------


def test_copies_are_listed_and_can_be_put_back(place: House) -> None:
    assert told(place, "backups") == "no copies: mcpguard has changed no configuration\n"
    path = put(place.root / ".cursor/mcp.json", servers("a", env={"API_KEY": SECRET}))
    before = path.read_bytes()
    told(place, "wrap", "--yes")
    told(place, "unwrap", "--yes")
    (one,) = answer(place, "backups")["copies"]
    assert one["file"] == str(path)
    said = told(place, "backups")
    assert said.startswith(f"{one['at']}  {path}  {one['copy']}\nto have one back: ")
    assert SECRET not in said
    copy = Path(one["copy"])
    assert (copy.read_bytes(), copy.stat().st_mode & 0o777) == (before, 0o600)


# --- at the same time -----------------------------------------------------------------------------------


def test_wrappers_of_one_file_at_the_same_time_lose_nothing(place: House) -> None:
    """Real processes, each for another server: the file holds all of them, and so does what undoes them."""
    names = [f"s{number}" for number in range(6)]
    path = put(place.root / ".cursor/mcp.json", servers(*names))
    before = path.read_bytes()
    for verb, first in (("wrap", PROGRAM), ("unwrap", "npx")):
        running = [
            subprocess.Popen(
                [*MCPGUARD, "host", verb, "cursor", "--server", name, "--yes"],
                env=place.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )
            for name in names
        ]  # fmt: skip
        said = [process.communicate(timeout=60)[0] for process in running]
        assert [process.returncode for process in running] == [0] * len(names), said
        assert [argv(path, name)[0] for name in names] == [first] * len(names)
        record = json.loads((place.state / "wrapped/wrapped.json").read_bytes())["files"]
        noted = [one["path"][-1] for one in record.get(str(path), {"entries": []})["entries"]]
        assert sorted(noted) == (names if verb == "wrap" else [])
    assert path.read_bytes() == before
