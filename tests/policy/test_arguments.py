"""What rules say of arguments: yes, no, or that it cannot be told."""

import os
import posixpath
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard.model import Caller, Verdict
from mcpguard.policy.arguments import compile_argument
from mcpguard.policy.circumstances import Circumstances, Surroundings
from mcpguard.policy.document import parse
from mcpguard.policy.rules import Argument
from mcpguard.policy.snapshot import compile_snapshot
from mcpguard.system.realpath import resolve

SEEMS = Surroundings(home="/home/me", cwd="/work", resolve=os.path.normpath)


def holds(constraint: str, arguments: Any, around: Surroundings = SEEMS) -> bool | None:
    text = f'version = 1\nmode = "enforce"\n[[rule]]\nid = "r"\ntools = ["t"]\neffect = "allow"\nargs.{constraint}\n'
    (argument,) = parse(text.encode(), "p").rules[0].args
    return compile_argument(argument, around).holds(arguments)


UNDER = 'path = { under = ["/data", "~/src", "{cwd}/x"] }'
PATHS = [
    ("/data", True), ("/data/", True), ("/data/a", True), ("/data/a/../b", True), ("/data//a", True),
    ("/data/./a", True), ("/home/me/src/a", True), ("/work/x/a", True), ("x/a", True), ("./x", True),
    ("/database", False), ("/dat", False), ("/", False), ("/etc/passwd", False), ("/data/../etc/passwd", False),
    ("/home/me/srcs", False), ("y", False), ("../data", True), ("", None), ("/../data", True),
    ("~/src/a", None), ("$HOME/src", None), ("/data/a\0", None), ("/data/a\n", None), ("/data\\a", None),
    (" /data/a", None), ("/data/a ", None), ("file:///data/a", None), ("/data/%2e%2e/etc", None),
    ("/data/..%2fetc", None), ("/data/a%00", None), ("C:/data", None), (7, None), (None, None), (["/data"], None),
    ({"path": "/data"}, None), (True, None), ("/data/\u202e", None),
]  # fmt: skip


@pytest.mark.parametrize(("path", "answer"), PATHS)
def test_under_compares_whole_components(path: Any, answer: bool | None) -> None:
    assert holds(UNDER, {"path": path}) is answer, path


def test_what_is_not_known_of_the_surroundings_cannot_be_told() -> None:
    assert (
        holds('path = { under = ["/data"] }', {"path": "x"}, Surroundings(resolve=os.path.normpath)) is None
    )
    assert holds('path = { under = ["/data"] }', {"path": "/data/x"}, Surroundings(cwd="/")) is None
    nowhere = Surroundings(resolve=os.path.normpath)
    assert holds('path = { under = ["~/src"] }', {"path": "/home/me/src/a"}, nowhere) is False


def test_links_lead_where_they_lead(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "secret").mkdir()
    (tmp_path / "data" / "out").symlink_to(tmp_path / "secret")
    (tmp_path / "data" / "in").symlink_to(tmp_path / "data")
    (tmp_path / "alias").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "dangling").symlink_to(tmp_path / "secret" / "later")
    around = Surroundings(cwd=str(tmp_path), resolve=resolve)
    rule = f'path = {{ under = ["{tmp_path}/data"] }}'
    for name, answer in (
        ("data/new", True), ("data/in/new", True), ("alias/new", True), ("data/out/new", None),
        ("data/out/../x", None), ("data/dangling", None), ("secret/x", False), ("data/new/../../secret/x", None),
    ):  # fmt: skip
        found = holds(rule, {"path": f"{tmp_path}/{name}"}, around)
        assert found is answer or (answer is None and found is False), name
    by_link = f'path = {{ under = ["{tmp_path}/alias"] }}'
    assert holds(by_link, {"path": f"{tmp_path}/data/x"}, around) is True


def test_patterns_that_must_not_match() -> None:
    rule = 'path = { under = ["/src"], deny = ["**/.git/**", "**/*.env", "/src/one/*"] }'
    for path, answer in (
        ("/src/a", True), ("/src/.git/config", False), ("/src/a/b/.git/x/y", False), ("/src/x.env", False),
        ("/src/one/a", False), ("/src/one/a/b", True), ("/src/a/../.git/x", False), ("/src/.gitx/a", True),
    ):  # fmt: skip
        assert holds(rule, {"path": path}) is answer, path


HOSTS = 'url = { hosts = ["docs.example.com", "*.example.org", "localhost:8080", "127.0.0.1"] }'
URLS = [
    ("https://docs.example.com/x", True), ("HTTPS://DOCS.EXAMPLE.COM", True), ("wss://a.example.org/", True),
    ("https://docs.example.com:444/x", True), ("http://localhost:8080/", True), ("http://127.0.0.1/", True),
    ("https://example.org/", False), ("https://evil.com/docs.example.com", False), ("http://localhost:81/", False),
    ("https://docs.example.com.evil.com/", False), ("https://evil.com?x=docs.example.com", False),
    ("https://docs.example.com@evil.com/", None), ("https://evil.com\\@docs.example.com/", None),
    ("https://docs.example.com%2eevil.com/", None), ("https://evil.com#@docs.example.com", False),
    ("https://docs.example.com./", None), ("ftp://docs.example.com/", None), ("//docs.example.com/", None),
    ("docs.example.com", None), ("https:docs.example.com", None), ("https:///docs.example.com", None),
    ("https://dócs.example.com/", None), ("https://2130706433/", None), ("https://0x7f.1/", None),
    ("https://0177.0.0.1/", None), ("https://127.1/", None), ("https://[::1]/", None), ("https://a b/", None),
    (" https://docs.example.com", None), ("https://docs.example.com\t/", None), ("https://", None), (5, None),
    ("javascript:alert(1)", None), ("https://evil.com\n.example.org/", None),
]  # fmt: skip


@pytest.mark.parametrize(("url", "answer"), URLS)
def test_hosts_of_urls(url: Any, answer: bool | None) -> None:
    assert holds(HOSTS, {"url": url}) is answer, url


POINTERS = [
    ('"/a/b" = { const = 1 }', {"a": {"b": 1}}, True),
    ('"/a/b" = { const = 1 }', {"a": {"b": 2}}, False),
    ('"/a/b" = { const = 1 }', {"a": {}}, False),
    ('"/a/b" = { const = 1, optional = true }', {"a": {}}, True),
    ('"/a~1b" = { const = 1 }', {"a/b": 1}, True),
    ('"/a~0b" = { const = 1 }', {"a~b": 1}, True),
    ('"/l/0" = { const = 1 }', {"l": [1, 2]}, True),
    ('"/l/00" = { const = 1 }', {"l": [1, 2]}, False),
    ('"/l/*" = { const = 1 }', {"l": [1, 1]}, True),
    ('"/l/*" = { const = 1 }', {"l": [1, 2]}, None),
    ('"/l/*" = { const = 1 }', {"l": [2, 3]}, False),
    ('"/l/*" = { const = 1 }', {"l": []}, False),
    ('"/l/*/p" = { const = 1 }', {"l": [{"p": 1}, {}]}, None),
    ('"" = { maxProperties = 1 }', {"a": 1}, True),
    ('"" = { maxProperties = 1 }', {"a": 1, "b": 2}, False),
    ("a = { const = 1 }", {"A": 1}, False),
    ("a = { const = 1 }", [1], False),
    ("a = { const = 1 }", None, False),
]


@pytest.mark.parametrize(("constraint", "arguments", "answer"), POINTERS)
def test_where_in_the_arguments(constraint: str, arguments: Any, answer: bool | None) -> None:
    assert holds(constraint, arguments) is answer


@pytest.mark.parametrize("effect", ["allow", "ask", "deny"])
def test_what_cannot_be_told_counts_against_the_request(effect: str) -> None:
    text = f'[[rule]]\nid = "r"\ntools = ["t"]\neffect = "{effect}"\nargs.path = {{ under = ["/data"] }}\n'
    other = '[[rule]]\nid = "all"\ntools = ["t"]\neffect = "allow"\n' if effect != "allow" else ""
    ruleset = parse(f'version = 1\nmode = "enforce"\n{text}{other}'.encode(), "p")
    snapshot = compile_snapshot(ruleset, "s", Caller(), SEEMS)
    decision = snapshot.judge("tools/call", "t", {"path": "~/x"}, Circumstances(), 0)
    assert decision.verdict is {"allow": Verdict.DENY, "ask": Verdict.ASK, "deny": Verdict.DENY}[effect]


@given(st.text(max_size=30))
def test_no_text_at_all_is_under_a_folder_unless_it_leads_there(text: str) -> None:
    found = holds(UNDER, {"path": text})
    if found:
        place = os.path.normpath(text if text.startswith("/") else f"/work/{text}").replace("//", "/")
        assert any(
            place == top or place.startswith(f"{top}/") for top in ("/data", "/home/me/src", "/work/x")
        )


@given(st.text(max_size=20), st.text(max_size=10))
def test_no_text_makes_a_url_be_at_a_host_that_it_does_not_name(before: str, after: str) -> None:
    if holds('url = { hosts = ["good.example"] }', {"url": f"https://{before}good.example{after}"}):
        assert before == ""
        assert not after or after[0] in "/?#:"


@given(st.text("ab./-@+_ %~\\:é", min_size=1, max_size=14))
def test_a_path_is_spelt_as_its_letters_say_whichever_way_it_is_read(value: str) -> None:
    """Most paths take a short way; what it gives is what the long one would."""
    seen: list[str] = []
    around = Surroundings(cwd="/c", resolve=lambda path: seen.append(path) or path)  # type: ignore[func-returns-value]
    test = compile_argument(Argument("p", under=("/a", "/c/b"), deny=("**/@/**",)), around)
    held = test.holds({"p": value})
    whole = value if value.startswith("/") else f"/c/{value}"
    plain = "/" + posixpath.normpath(whole).lstrip("/")
    if held is None:
        return
    inside = any(f"{plain}/".startswith(folder) for folder in ("/a/", "/c/b/"))
    assert held is (inside and "@" not in plain.split("/"))
    assert seen[-1] == whole
