"""`mcpguard audit report`: the file. What a browser makes of it is in tests/interop/test_report.py."""

import re

from tests.audit.test_page import ATTRIBUTES, TAGS, Parsed
from tests.cli.reported import END, Story, busy_week, hostile
from tests.cli.test_auditquery import run, state

__all__ = ["state"]


def written(state, *words: str) -> str:
    file = state / "report.html"
    told = run("report", "-o", str(file), *words)
    assert told.exit_code == 0, told.stderr
    return file.read_text()


def test_a_busy_week(state):
    busy_week(state / "audit")
    text = written(state)
    for words in (
        "2026-11-16 00:00 to 2026-11-22",
        "keep-out-of-ssh",
        "claude-code (9 tools)",
        "delete_repository",
        "(node)",
    ):
        assert words in text, words
    assert len(set(re.findall(r"<title>(2026-11-\d\d): ", text))) == 7
    assert (state / "report.html").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in state.iterdir()) == ["audit", "index", "report.html"]


def test_a_short_time_is_drawn_by_the_hour(state):
    busy_week(state / "audit")
    text = written(state, "--since", "2026-11-17T06:00", "--until", "2026-11-17")
    assert "2026-11-17 12: denied" in text
    assert "2026-11-17 06:00 to 2026-11-18 00:00" in text


def test_filters_are_told(state):
    busy_week(state / "audit")
    text = written(state, "--server", "github", "--server", "files", "--text", "<b>")
    assert "only server github or files, with the text &#x27;&lt;b&gt;&#x27;" in text


def test_hostile_names_are_names(state):
    hostile(state / "audit")
    parsed = Parsed(written(state))
    assert parsed.tags <= TAGS
    assert parsed.attributes <= ATTRIBUTES
    assert any("<script>document.title" in part for part in parsed.text)


def test_what_could_not_be_read_is_said_in_the_page(state):
    busy_week(state / "audit")
    path = state / "audit" / "audit-000001.jsonl"
    path.write_bytes(path.read_bytes() + b"junk\n")
    assert "1 line of the log cannot be read and not be shown" in written(state)


def test_an_empty_time_is_a_page_too(state):
    Story(state / "audit", END).close()
    assert "No call was decided." in written(state, "--server", "none")


def test_times_that_are_none_do_not_stop_it(state):
    story = Story(state / "audit", END)
    story.call(story.start("h", "s", "c"), "t")
    story.close()
    path = state / "audit" / "audit-000001.jsonl"
    path.write_bytes(path.read_bytes().replace(b"2026-11-23T", b"2026-99-23T"))
    assert "Calls and denials over time" in written(state)


def test_to_standard_output(state):
    busy_week(state / "audit")
    told = run("report", "-o", "-")
    assert told.stdout.startswith("<!DOCTYPE html>")
    assert told.stdout.endswith("</html>\n")


def test_a_place_that_cannot_be_written(state):
    busy_week(state / "audit")
    told = run("report", "-o", str(state / "none" / "x.html"))
    assert told.exit_code == 1
    assert told.stderr == f"mcpguard: {state}/none/x.html cannot be written: no such file or directory\n"
    (state / "dir").mkdir()
    assert run("report", "-o", str(state / "dir")).exit_code == 1
    assert not [path for path in state.iterdir() if path.name.startswith(".")]
    assert run("report").exit_code == 2
