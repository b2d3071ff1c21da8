"""Diffs that are made from edits: the same as by comparing lines, short where lines are long, without secrets."""

import difflib
import json
import time

import pytest

from mcpguard.hosts.difference import difference
from mcpguard.hosts.inventory import without_secrets
from mcpguard.hosts.wrapping import Edit, edited, from_words, is_wrapped, unwrap, wrap
from tests.hosts.configs import CLAUDE, CODEX, GOOSE, VSCODE, WRITTEN, C, J, T, Y
from tests.hosts.steps import of, open_entries

PROGRAM = "/opt/mcpguard"
SECRET = "hunter2-hunter2"


def wrapping(file):
    """The edits that wrap all servers of a file."""
    return [edit for entry in open_entries(file) for edit in wrap(file, entry, PROGRAM, entry.name)[0]]


def shown(file, edits, mask=lambda text: text):
    return list(difference(file.data, edits, "f", mask))


def compared(file, edits):
    before, after = (data.decode().split("\n") for data in (file.data, edited(file.data, edits)))
    before, after = ([line.removesuffix("\r") for line in side] for side in (before, after))
    return list(difflib.unified_diff(before, after, "f", "f", lineterm="", n=2))


FILES = [
    *(of(json.dumps(value, indent=2) + "\n", dialect, paths) for _, dialect, paths, value, _ in WRITTEN),
    of(VSCODE, C, (("servers",),)),
    of(VSCODE.replace("\n", "\r\n"), C, (("servers",),)),
    of(CODEX, T, (("mcp_servers",),)),
    of(GOOSE, Y, (("extensions",),)),
]


@pytest.mark.parametrize("file", FILES, ids=range(len(FILES)))
def test_files_of_short_lines_are_shown_as_a_comparison_shows_them(file):
    edits = wrapping(file)
    assert shown(file, edits) == compared(file, edits)
    new = of(edited(file.data, edits), file.dialect, file.paths)
    back = [
        edit
        for entry in new.entries()
        if is_wrapped(entry.argv)
        for edit in unwrap(new, entry, from_words(entry))
    ]
    assert shown(new, back) == compared(new, back)


def test_nothing_changed_is_nothing_shown():
    assert shown(of("{}", J), []) == []


@pytest.mark.parametrize("spaces", [0, 300])
def test_of_one_line_only_what_is_near_a_change_is_shown(spaces):
    one = {"command": "npx", "args": ["-y", "p"], "note": "x" * spaces}
    value = {"history": ["y" * 500] * 50, "mcpServers": {f"s{n}": one for n in range(60)}}
    file = of(json.dumps(value), J)
    lines = shown(file, wrapping(file))
    assert max(map(len, lines)) < 300
    hunks = [line for line in lines if line.startswith("@@")]
    assert hunks == ["@@ -1 +1 @@"] * 60
    assert [line[0] for line in lines[2:]] == ["@", "-", "+"] * 60
    for number, (old, new) in enumerate(zip(lines[3::3], lines[4::3], strict=True)):
        assert f'"s{number}": {{"command": "npx", "args": ["-y", "p"]' in old
        assert (
            f'{{"command": "{PROGRAM}", "args": ["run", "--name", "s{number}", "--", "npx", "-y", "p"]' in new
        )
        assert new.startswith("+…")


def test_long_line_among_short_ones_is_cut_and_is_nobodys_surroundings():
    long = json.dumps({"command": "x", "args": ["a"], "note": "z" * 5000})
    text = f'{{"mcpServers": {{\n"a": {{"command": "x",\n"args": []}},\n"b": {long},\n"c": {{"command": "y",\n"args": []}}\n}}}}'
    file = of(text, J)
    lines = shown(file, wrapping(file))
    assert max(map(len, lines)) < 300
    assert [line for line in lines if line.startswith("@@")] == [
        "@@ -1,3 +1,3 @@", "@@ -4 +4 @@", "@@ -5,3 +5,3 @@",
    ]  # fmt: skip
    assert sum("zzz" in line for line in lines) == 2


def test_numbers_of_lines_go_on_behind_lines_that_were_added():
    edits = [Edit(0, 0, b"1\n2\n"), Edit(40, 41, b"x")]
    data = b"a\n" * 30
    assert [line for line in shown(of(data, J), edits) if line.startswith("@@")] == [
        "@@ -1,3 +1,5 @@", "@@ -19,5 +21,5 @@",
    ]  # fmt: skip


@pytest.mark.parametrize("size", [15, 100, 5_000, 17_000, 100_000])
@pytest.mark.parametrize(
    "where", ["env before", "env behind", "headers before", "headers behind", "url before"]
)
@pytest.mark.parametrize("indent", [None, 1])
def test_no_part_of_a_secret_is_shown_however_long_it_is(size, where, indent):
    secret = (SECRET * (size // len(SECRET) + 1))[:size]
    kind, side = where.split()
    more = {
        "env": {"env": {"API_KEY": secret}},
        "headers": {"headers": {"Authorization": f"Bearer {secret}"}},
        "url": {"url": f"https://u:{secret}@h/"},
    }[kind]
    start = {"command": "npx", "args": ["p"]}
    value = {"mcpServers": {"a": {**more, **start} if side == "before" else {**start, **more}}}
    file = of(json.dumps(value, indent=indent), J)
    entries = file.entries()
    lines = shown(file, wrapping(file), lambda text: without_secrets(text, entries))
    assert len(lines) > 4
    assert "hunter" not in "\n".join(lines)


def test_ten_megabytes_on_one_line_are_shown_at_once():
    value = {"history": [{"display": f"line {n} " + "x" * 60} for n in range(120_000)]}
    value["mcpServers"] = {f"s{n}": {"command": "npx", "args": ["p"]} for n in range(4)}
    file = of(json.dumps(value), J, CLAUDE)
    assert len(file.data) > 10_000_000
    edits, entries = wrapping(file), file.entries()
    began = time.process_time()
    lines = shown(file, edits, lambda text: without_secrets(text, entries))
    assert time.process_time() - began < 1  # by comparing lines it was more than half a minute
    assert sum(map(len, lines)) < 3000
