"""Patterns: tables, an oracle, and inputs chosen to be slow."""

import itertools
import re
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mcpguard import limits
from mcpguard.policy.match import compile_pattern, flaw


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("read_file", ["read_file"], ["read_files", "Read_file", "", "xread_file"]),
        ("read_*", ["read_", "read_file"], ["read", "unread_file"]),
        ("*", ["", "a", "\n", "a\nb"], []),
        ("**", ["", "a"], []),
        ("*_delete", ["a_delete", "_delete"], ["a_deleted"]),
        ("a*a", ["aa", "aba", "aaa"], ["a", "ab"]),
        ("*a*a*", ["aa", "xaxax"], ["a", "xax"]),
        ("*ab*b*", ["abb", "abab"], ["ab", "bab"]),
        ("?", ["a", "\n", "\u00e9"], ["", "ab"]),
        ("a?c", ["abc", "a?c", "a*c"], ["ac", "abbc"]),
        ("?*", ["a", "ab"], [""]),
        ("*?b?*", ["abc", "xabcx"], ["abx"[:2], "b", "bc"]),
        ("prompts/*", ["prompts/get", "prompts/a/b"], ["prompts"]),
        (".+^$\\", [".+^$\\"], ["aa"]),
        ("{a,b}", ["{a,b}"], ["a", "b"]),
        ("!a", ["!a"], ["b"]),
    ],
)
def test_pattern_matches_whole_names_only(pattern, yes, no):
    compiled = compile_pattern(pattern)
    assert [name for name in yes if not compiled.matches(name)] == []
    assert [name for name in no if compiled.matches(name)] == []


def as_regex(pattern):
    return "".join({"*": ".*", "?": "."}.get(char, re.escape(char)) for char in pattern)


@given(st.text("ab?*", max_size=12), st.text("ab", max_size=14))
@example("a*b?*a", "abbaa")
@example("*a?*?b", "aaabb")
def test_pattern_agrees_with_regular_expressions(pattern, name):
    assert compile_pattern(pattern).matches(name) == bool(re.fullmatch(as_regex(pattern), name, re.DOTALL))


def test_every_short_pattern_agrees_with_regular_expressions_on_every_short_name():
    names = ["".join(name) for size in range(5) for name in itertools.product("ab", repeat=size)]
    for size in range(6):
        for letters in itertools.product("ab?*", repeat=size):
            compiled, wanted = compile_pattern("".join(letters)), re.compile(as_regex(letters), re.DOTALL)
            for name in names:
                assert compiled.matches(name) == bool(wanted.fullmatch(name)), (letters, name)


@given(st.text("ab?*", min_size=1, max_size=12), st.text("ab", max_size=14))
def test_every_match_begins_with_the_head(pattern, name):
    compiled = compile_pattern(pattern)
    if compiled.matches(name):
        assert name.startswith(compiled.head)
        assert not compiled.exact or name == pattern


@pytest.mark.parametrize(
    "pattern",
    ["*a*a*a*a*b", "*a*a*a*a*b*", "a*" * 100 + "b", "*a?a?a*a?b*", "*" * 200 + "b", "*?" * 100 + "b*"],
)
def test_hostile_patterns_and_long_names_stay_fast(pattern):
    compiled = compile_pattern(pattern)
    started = time.perf_counter()
    assert not compiled.matches("a" * 100_000)
    assert time.perf_counter() - started < 20  # seconds, where backtracking would need years


def test_runs_of_stars_are_one_star():
    assert compile_pattern("a***b").words == compile_pattern("a*b").words


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "empty"),
        ("[ab]", "bracket"),
        ("a]", "bracket"),
        ("a\x1b[31m", "bracket"),
        ("a\x1b", "control"),
        ("a\u202eb", "invisible"),
        ("a\u200bb", "invisible"),
        ("a" * (limits.PATTERN_CHARS + 1), "characters, found 257"),
    ],
)
def test_flaw_says_what_is_wrong(text, word):
    assert word in flaw(text)


@pytest.mark.parametrize("text", ["a", "*", "a?b", "a" * limits.PATTERN_CHARS, "caf\u00e9", "{a}", "a b"])
def test_a_pattern_without_flaw(text):
    assert flaw(text) == ""
