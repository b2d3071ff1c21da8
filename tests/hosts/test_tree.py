"""What all readers share: paths, lines, and text."""

import pytest

from mcpguard.errors import ConfigError
from mcpguard.hosts.tree import Kind, Tree, inside, line_of, text_of, unreadable


def leaf(value):
    return Tree(Kind.OTHER, value, 0, 0)


TREE = Tree(
    Kind.OBJECT, {}, 0, 0,
    {"a": Tree(Kind.OBJECT, {}, 0, 0, {"x": leaf(1), "y": leaf(2)}), "*": leaf(3), "b": leaf(4)},
)  # fmt: skip


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ((), [()]),
        (("b",), [("b",)]),
        (("a", "y"), [("a", "y")]),
        (("*", "x"), [("a", "x")]),
        (("*",), [("a",), ("*",), ("b",)]),
        (("b", "c"), []),
        (("none",), []),
    ],
)
def test_paths_lead_somewhere(path, found):
    assert [place for place, _ in TREE.at(path)] == found


def test_inside_a_member():
    paths = (("a", "b"), ("*", "c"), ("d",), ())
    assert inside(paths, "a") == (("b",), ("c",), ())
    assert inside(paths, "*") == (("b",), ("c",), (), ())
    assert inside((("d",),), "a") == ()


def test_lines_are_counted_from_1():
    assert [line_of(b"a\r\nb\n", place) for place in (0, 2, 3, 5)] == [1, 1, 2, 3]


def test_text_is_without_its_mark():
    assert text_of("\ufeffé".encode(), "f") == "é"


@pytest.mark.parametrize(
    ("data", "line"), [(b"\n\xff", 2), ("é".encode("utf-16"), 1), (b"\n\n\0", 3), (b"\xed\xa0\x80", 1)]
)
def test_what_is_no_text(data, line):
    with pytest.raises(ConfigError) as raised:
        text_of(data, "f")
    assert (raised.value.file, raised.value.line) == ("f", line)


def test_what_is_not_read_is_not_written():
    assert unreadable("f", "no", 3).sentence() == "f:3: no: nothing was written"
