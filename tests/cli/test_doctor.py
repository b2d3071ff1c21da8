"""`mcpguard doctor`: what it shows, what it mends, and what its exit code says."""

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cli.homes import PROGRAM, put, servers
from tests.lifecycle.stage import House
from tests.system.somebody import SOMEBODY


@pytest.fixture
def place() -> Iterator[House]:
    with House() as made:
        (made.root / "elsewhere").mkdir()
        yield made


def told(place: House, *words: str, code: int = 0) -> list[str]:
    """The lines of `mcpguard doctor WORDS`."""
    done = place.mcpguard("doctor", *words, cwd=place.root / "elsewhere")
    assert done.returncode == code, done
    assert "Traceback" not in done.stderr
    return done.stdout.splitlines()


def answer(place: House, *words: str, code: int = 0) -> dict[str, Any]:
    (line,) = told(place, *words, "--json", code=code)
    found: dict[str, Any] = json.loads(line)
    assert found.pop("v") == 1
    return found


def bad(reply: dict[str, Any]) -> list[str]:
    return [one["check"] for one in reply["findings"] if one["level"] == "bad"]


def test_home_that_is_fine_has_nothing_to_mend(place: House) -> None:
    put(place.root / ".cursor/mcp.json", servers("a"))
    assert place.mcpguard("init", "--yes").returncode == 0
    lines = told(place)
    assert lines[0].startswith(f"  1 ok    program: {PROGRAM}, ")
    numbered = [line for line in lines if line[:3].strip().isdigit()]
    assert [int(line[:3]) for line in numbered] == list(range(1, len(numbered) + 1))
    assert any("daemon: version " in line for line in lines)
    assert any("audit: " in line and "one unbroken chain" in line for line in lines)
    assert any("impostor: " in line and "was refused" in line for line in lines)
    assert any(
        f"configuration: {place.root}/.cursor/mcp.json: 1 server, all behind mcpguard" in x for x in lines
    )
    assert lines[-1] == "nothing to mend"


def test_json_says_the_same(place: House) -> None:
    reply = answer(place)
    assert reply["ok"] is True
    assert bad(reply) == []
    assert {tuple(sorted(one)) for one in reply["findings"]} == {("check", "fix", "level", "mended", "words")}
    assert {one["level"] for one in reply["findings"]} <= {"ok", "note"}


def test_home_without_anything_is_no_failure(place: House) -> None:
    lines = told(place)
    assert lines[-1] == "nothing to mend"
    assert any("note  policy: none is in force" in line for line in lines)
    assert "          mcpguard policy suggest" in lines


def test_open_folder_is_7_and_mended_once_with_fix(place: House) -> None:
    place.state.mkdir()
    place.state.chmod(0o755)
    lines = told(place, code=7)
    at = next(number for number, line in enumerate(lines) if "BAD" in line)
    assert lines[at].endswith(f"owner: {place.state} is open to others (mode 0755)")
    assert lines[at + 1] == f"          chmod 700 {place.state}"
    assert lines[-1] == "1 to mend"
    place.state.chmod(0o755)  # the daemon that was started for the impostors has closed it
    lines = told(place, "--fix")
    assert f"          mended: chmod 700 {place.state}" in lines
    assert lines[-1] == "nothing to mend, 1 mended"
    assert place.state.stat().st_mode & 0o777 == 0o700
    assert told(place, "--fix")[-1] == "nothing to mend"


def test_mended_is_told_in_json(place: House) -> None:
    place.state.mkdir()
    place.state.chmod(0o755)
    reply = answer(place, "--fix")
    assert reply["ok"] is True
    assert [one["check"] for one in reply["findings"] if one["mended"]] == ["owner"]


def test_what_fix_cannot_mend_is_left_and_7(place: House) -> None:
    put(place.root / ".cursor/mcp.json", "{")
    lines = told(place, "--fix", code=7)
    assert lines[-1] == "1 to mend"
    assert bad(answer(place, "--fix", code=7)) == ["configuration"]


def test_several_findings_are_all_told(place: House) -> None:
    path = put(place.root / ".cursor/mcp.json", servers("a"))
    before = path.read_bytes()
    assert place.mcpguard("init", "--yes").returncode == 0
    path.write_bytes(before)
    put(place.root / ".claude.json", "{")
    assert place.mcpguard("daemon", "stop").returncode == 0
    place.serve()  # its first record is chained to the one that is changed now
    (log,) = (place.state / "audit").glob("*.jsonl")
    first, rest = log.read_bytes().split(b"\n", 1)
    log.write_bytes(first[:-2] + b'x"}\n' + rest)
    reply = answer(place, code=7)
    assert {"audit", "configuration"} <= set(bad(reply))
    words = [one["words"] for one in reply["findings"] if one["level"] == "bad"]
    assert any("started behind mcpguard once, or came since" in text for text in words)
    assert any(text.startswith(f"{place.root}/.claude.json:1: ") for text in words)
    assert any(text.startswith(f"{log.name}:") for text in words)


def test_check_that_cannot_be_made_is_bad_and_the_others_are_made(place: House) -> None:
    put(place.root / ".cursor/mcp.json", servers("a"))
    assert place.mcpguard("init", "--yes").returncode == 0
    (place.state / "wrapped/wrapped.json").write_text("{")
    reply = answer(place, code=7)
    assert bad(reply) == ["configurations"]
    assert {one["check"] for one in reply["findings"]} >= {"program", "daemon", "impostor"}


def test_daemon_that_cannot_start_is_7(place: House) -> None:
    place.run_dir.write_text("in the way")
    assert "impostor" in bad(answer(place, code=7))


@pytest.mark.root
def test_folder_of_another_user_is_7_and_fix_leaves_it(place: House) -> None:
    place.state.mkdir(mode=0o700)
    os.chown(place.state, SOMEBODY, -1)
    reply = answer(place, "--fix", code=7)
    assert "owner" in bad(reply)
    assert not any(one["mended"] for one in reply["findings"])
    assert place.state.stat().st_uid == SOMEBODY


def test_names_of_others_do_not_steer_the_terminal(place: House) -> None:
    put(place.root / ".cursor/mcp.json", servers("\x1b[2J\u202eevil"))
    text = "\n".join(told(place))
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_wrong_usage_is_2(place: House) -> None:
    told(place, "--no-such", code=2)
