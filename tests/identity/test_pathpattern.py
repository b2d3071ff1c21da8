"""Patterns over paths: tables, an oracle, and inputs chosen to be slow."""

import re
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mcpguard.identity.pathpattern import PATH_CHARS, derive, flaw, has_star, matches, word_matches

COMMIT = "0f1e2d3c4b5a69788796a5b4c3d2e1f001234567"
NIX = "0123456789abcdfghijklmnpqrsvwxyz"


@pytest.mark.parametrize(
    ("path", "pattern"),
    [
        ("/usr/bin/node", "/usr/bin/node"),
        ("/usr/bin/python3.11", "/usr/bin/python3.11"),
        ("/home/u/.local/share/claude/versions/2.1.328", "/home/u/.local/share/claude/versions/*"),
        ("/home/u/.nvm/versions/node/v20.11.1/bin/node", "/home/u/.nvm/versions/node/*/bin/node"),
        ("/home/u/.cache/copilot/pkg/universal/1.0.102/copilot", "/home/u/.cache/copilot/pkg/universal/*/copilot"),
        ("/opt/idea/233.14475.28/bin/java", "/opt/idea/*/bin/java"),
        ("/x/1.2-beta.3/a", "/x/*/a"),
        ("/x/openai.chatgpt-0.4.12-linux-x64/codex", "/x/openai.chatgpt-*-linux-x64/codex"),
        ("/x/.pnpm/@scope+pkg@1.2.3-rc.1/a", "/x/.pnpm/@scope+pkg@*/a"),
        (f"/home/u/.vscode-server/bin/{COMMIT}/node", "/home/u/.vscode-server/bin/*/node"),
        (f"/x/Stable-{COMMIT}/server/node", "/x/Stable-*/server/node"),
        ("/snap/code/172/usr/share/code/code", "/snap/code/*/usr/share/code/code"),
        ("/run/user/1000/a", "/run/user/1000/a"),
        ("/home/1000/a", "/home/1000/a"),
        (f"/nix/store/{NIX}-nodejs-20.1.2/bin/node", "/nix/store/*-nodejs-*/bin/node"),
        ("/usr/lib/x86_64-linux-gnu/a", "/usr/lib/x86_64-linux-gnu/a"),
        ("/x/1.2.3-1.2.3/a", "/x/*/a"),
        (f"/x/1.2.3{'a' * 40}/y", "/x/*/y"),
        ("/snap/code", "/snap/code"),
        ("/nix/store", "/nix/store"),
    ],
)  # fmt: skip
def test_versions_in_paths_become_stars(path, pattern):
    assert derive(path) == pattern
    assert flaw(pattern) == ""
    assert matches(pattern, path)


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("/a/b", ["/a/b"], ["/a/b/", "/a/bc", "/a", "a/b", "", "/A/b", "/a/b (deleted)"]),
        ("/a/*", ["/a/b", "/a/b.c", "/a/"], ["/a/b/c", "/a", "/b/b"]),
        ("/a/*/c", ["/a/b/c"], ["/a/c", "/a/b/b/c", "/a/b/d"]),
        ("/a/x-*-z", ["/a/x-1-z", "/a/x--z"], ["/a/x-z", "/a/x-1-z/b"]),
        ("/a/**/c", ["/a/c", "/a/b/c", "/a/b/b/c", "/a/c/c"], ["/a/b", "/c", "/b/a/c", "/a/c/d"]),
        ("/a/**", ["/a", "/a/b", "/a/b/c"], ["/ab", "/b"]),
        ("/**/x*", ["/x", "/a/xy", "/a/b/x"], ["/a", "/x/a"]),
        ("/a?/[b]", ["/a?/[b]"], ["/ab/b"]),
    ],
)
def test_a_pattern_matches_whole_paths_only(pattern, yes, no):
    assert [path for path in yes if not matches(pattern, path)] == []
    assert [path for path in no if matches(pattern, path)] == []


def as_regex(pattern):
    parts = []
    for part in pattern.split("/")[1:]:
        parts.append("(?:/[^/]*)*" if part == "**" else "/" + re.escape(part).replace("\\*", "[^/]*"))
    return "".join(parts)


@given(
    st.lists(st.sampled_from(["**", "*", "a", "b", "a*", "*b", "a*b"]), min_size=1, max_size=5),
    st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=6),
)
@example(["**", "a", "**", "b"], ["a", "b", "a", "b"])
def test_it_agrees_with_regular_expressions(pattern, path):
    text, name = "/" + "/".join(pattern), "/" + "/".join(path)
    assert matches(text, name) == bool(re.fullmatch(as_regex(text), name))


@given(st.lists(st.text("ab.0123-@v ", min_size=1, max_size=12), min_size=1, max_size=6))
def test_a_derived_pattern_describes_its_own_path(parts):
    path = "/" + "/".join(parts)
    pattern = derive(path)
    assert matches(pattern, path)
    assert pattern.count("/") == path.count("/")


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("", "absolute path"),
        ("a/b", "absolute path"),
        ("/" + "a" * PATH_CHARS, "absolute path"),
        ("/a\x1b", "visible"),
        ("/a\u202e", "visible"),
        ("/", "empty components"),
        ("/a//b", "empty components"),
        ("/a/../b", ". and .."),
        ("/a/./b", ". and .."),
        ("/a/b**", "component of its own"),
        ("/a/***", "component of its own"),
        ("/**", "a name in it"),
        ("/*/**", "a name in it"),
    ],
)
def test_flaws_are_named(pattern, words):
    assert words in flaw(pattern)


def test_stars_of_paths_are_seen():
    assert has_star("/tmp/*/a")
    assert not has_star("/tmp/a")


def test_words_are_matched_whole():
    assert word_matches("app-*.scope", "app-code-1.scope")
    assert not word_matches("app-*.scope", "app-code-1.scope.d")


@pytest.mark.parametrize("pattern", ["/" + "*a" * 200 + "*b", "/" + "**/a/" * 200 + "b"])
def test_hostile_patterns_stay_fast(pattern):
    started = time.perf_counter()
    assert not matches(pattern, "/" + "a" * 2000)
    assert not matches(pattern, "/a" * 2000)
    assert time.perf_counter() - started < 20  # seconds, where backtracking would need years
