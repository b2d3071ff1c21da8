"""Where paths lead, with real links."""

import os
from pathlib import Path

import pytest

from mcpguard.system.realpath import resolve


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "file").write_text("x")
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "deep").symlink_to("link/b")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("a/none")
    return tmp_path


CASES = [
    ("a/file", "a/file"), ("a", "a"), ("a/", "a"), ("link/file", "a/file"), ("deep", "a/b"), ("deep/..", "a"),
    ("deep/../file", "a/file"), ("a/./b", "a/b"), ("a//b", "a/b"), ("a/new", "a/new"), ("link/new/er", "a/new/er"),
    ("a/file/x", "a/file/x"), ("loop", None), ("loop/x", None), ("dangling", None), ("dangling/x", None),
    ("a/none/../x", None), ("a/none/..", None), ("a/" + "x" * 300, None),
]  # fmt: skip


@pytest.mark.parametrize(("path", "leads"), CASES)
def test_where_a_path_leads(place: Path, path: str, leads: str | None) -> None:
    assert resolve(f"{place}/{path}") == (None if leads is None else f"{place}/{leads}")


@pytest.mark.parametrize("path", ["", "x", "./x", "/a\0b", "~"])
def test_what_is_not_absolute_leads_nowhere(path: str) -> None:
    assert resolve(path) is None


def test_the_root_leads_to_itself() -> None:
    assert [resolve(path) for path in ("/", "//", "/..", "/.")] == ["/"] * 4


def test_what_exists_is_where_the_system_says(place: Path) -> None:
    for each in place.rglob("*"):
        if each.exists():
            assert resolve(str(each)) == os.path.realpath(each)


def test_it_does_not_open_what_it_resolves(place: Path) -> None:
    os.mkfifo(place / "pipe")
    assert resolve(f"{place}/pipe") == f"{place}/pipe"
