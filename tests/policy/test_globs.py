"""Patterns over paths and URIs: a table of what people expect, and a slow reading of the same rules."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard.policy.globs import compile_glob


@pytest.mark.parametrize(
    ("pattern", "fits", "others"),
    [
        ("/srv/a", ["/srv/a"], ["/srv/a/", "/srv/A", "/srv/ab", "", "srv/a"]),
        ("/srv/*", ["/srv/a", "/srv/.a", "/srv/"], ["/srv", "/srv/a/b", "/srv/a/"]),
        ("/srv/**", ["/srv", "/srv/", "/srv/a", "/srv/a/b"], ["/srvx", "/srv.d/a", "/sr"]),
        ("**/.git/**", [".git", "a/.git", "/a/.git/config", ".git/x", "/.git"], ["/a/.gitignore", "/a/x.git/b", "git"]),
        ("**/*.pem", ["a.pem", "/a.pem", "/x/y/.pem"], ["/a.pem/b", "a.pemx"]),
        ("/a/**/b", ["/a/b", "/a/x/b", "/a/x/y/b"], ["/ab", "/a/xb", "/ax/b", "/a/b/c"]),
        ("/a/**b", ["/a/b", "/a/x/yb"], ["/a/x"]),
        ("**", ["", "/", "a/b", "file:///x"], []),
        ("*", ["", "a", ".a"], ["/", "a/b"]),
        ("a?c", ["abc", "a?c"], ["a/c", "ac", "abbc"]),
        ("file:///srv/**", ["file:///srv/a/b", "file:///srv"], ["file:///srv2/a", "file:///etc/passwd", "http:///srv/a"]),
        ("https://*.example.com/**", ["https://a.example.com/x/y", "https://a.example.com"], ["https://example.com/", "https://evil.net/a.example.com/"]),
        ("/a/***/b", ["/a/b", "/a/x/y/b"], ["/ab"]),
        ("/a/***", ["/a", "/a/b/c"], ["/ab"]),
        ("*/**/*", ["a/b", "a/b/c"], ["a"]),
        ("x**/b", ["x/b", "xy/z/b"], ["xb"]),
        ("***", ["", "a/b"], []),
        ("/**/", ["/", "/a/"], ["", "a"]),
        ("(.+)[a]", ["(.+)[a]"], ["(.+)a", "xa"]),
    ],
)  # fmt: skip
def test_what_a_pattern_describes(pattern, fits, others):
    glob = compile_glob(pattern)
    assert [text for text in fits if not glob.matches(text)] == []
    assert [text for text in others if glob.matches(text)] == []


def slowly(pattern, text):
    """The meaning of a pattern, word for word: `pattern` is what is left of it, `before` how it goes on."""
    while "***" in pattern:
        pattern = pattern.replace("***", "**")
    return _slowly(pattern, text, True)


def _slowly(pattern, text, begins):
    if not pattern:
        return not text
    if pattern == "/**":
        return not text or text[0] == "/"
    if begins and pattern.startswith("**/"):
        rests = [text] + [text[i + 1 :] for i, c in enumerate(text) if c == "/"]
        return any(_slowly(pattern[3:], rest, True) for rest in rests)
    if pattern.startswith("**"):
        return any(_slowly(pattern[2:], text[i:], False) for i in range(len(text) + 1))
    if pattern[0] == "*":
        end = text.find("/") if "/" in text else len(text)
        return any(_slowly(pattern[1:], text[i:], False) for i in range(end + 1))
    if not text or (pattern[0] != text[0] and (pattern[0] != "?" or text[0] == "/")):
        return False
    return _slowly(pattern[1:], text[1:], pattern[0] == "/")


@given(st.text("ab/*?", max_size=9), st.text("ab/", max_size=9))
def test_matching_is_what_a_slow_reading_says(pattern, text):
    assert compile_glob(pattern).matches(text) is slowly(pattern, text)


@given(st.text("ab/*?", max_size=9))
def test_a_text_without_wildcards_is_described_by_two_stars_around_its_parts(text):
    plain = text.replace("*", "").replace("?", "")
    assert compile_glob(plain).matches(plain)
    assert compile_glob(f"**{plain}**").matches(f"x/{plain}/y")


@pytest.mark.parametrize(
    "pattern",
    [
        "**a" * 85 + "b",
        "*a" * 127 + "b",
        "*?" * 127 + "b",
        "**/a/" * 50 + "b",
        "?" * 255 + "*",
        "*" + "a" * 254 + "b",
    ],
)
@pytest.mark.parametrize("text", ["a" * 8192, "a/" * 4096, "/a" * 4096, "/" * 8192])
def test_no_pattern_is_slow(pattern, text):
    glob = compile_glob(pattern)
    began = time.process_time()
    glob.matches(text)
    assert time.process_time() - began < 0.25
