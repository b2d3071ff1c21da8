"""TOML with places: what is read, what is refused and on which line."""

import pytest

from mcpguard import limits
from mcpguard.errors import ConfigError
from mcpguard.hosts import tomltree
from mcpguard.hosts.tree import Kind


def read(text):
    return tomltree.read(text.encode(), "f")


@pytest.mark.parametrize(
    ("text", "path", "found"),
    [
        ('a = "b" # c', ("a",), '"b"'),
        ("[ a . 'b' ]\nc = [\n# x\n1,\n]", ("a", "b", "c"), "[\n# x\n1,\n]"),
        ("a.b . c = '''x\ny'''", ("a", "b", "c"), "'''x\ny'''"),
        ("a = { b.c = 1, b.d = 2 }", ("a", "b", "d"), "2"),
        ("[[a]]\nb = 1\n[[a]]\nb = 2\n[a.c]\nd = 3", ("a", 1, "c", "d"), "3"),
        ('"\\u0061" = 1', ("a",), "1"),
        ("\ufeffé = 1".replace("é", '"é"'), ("é",), "1"),
        ("[b]\n[a.b]\nc = 1\n[a]\nd = 2", ("a", "d"), "2"),
        ('a = [{ b = 1 }, { b = "é" }]', ("a", 1, "b"), '"é"'),
        ("1.2 = 3", ("1", "2"), "3"),
    ],
)
def test_where_values_stand(text, path, found):
    tree = read(text)
    for part in path:
        tree = tree.items[part] if isinstance(part, int) else tree.members[part]
    assert text.encode()[tree.start : tree.end].decode() == found


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a = 1\na = 2", 2, "overwrite"),
        ("a = 1\nb", 2, "Expected '='"),
        ('a = 1\n\nb = """x', 3, "Unterminated"),
        ("a = 1\n[b\n", 2, "Expected ']'"),
        ("a = " + "1" * 5000, 0, "digits"),
        (".".join("a" * 900) + " = 1", 0, "nested too deep"),
        ("a = " + "[" * 5000, 0, "nested too deep"),
        ("[" + ".".join("a" * 3000) + "]", 0, "nested too deep"),
        ("a = '" + "x" * limits.TOML_CONFIG_BYTES + "'", 0, "longer than"),
        ("a = 1\0", 1, "NUL"),
    ],
)
def test_what_is_refused(text, line, words):
    with pytest.raises(ConfigError, match=words) as raised:
        read(text)
    assert raised.value.line == line
    assert "at line" not in raised.value.message


def test_a_table_within_an_inline_one_is_inline():
    tree = read("a = { b.c = 1 }\n[d]\ne.f = 1")
    assert not tree.members["a"].block
    assert not tree.members["a"].members["b"].block
    assert tree.members["d"].members["e"].block


def test_an_empty_file_is_an_empty_object():
    assert read("").kind is read("# c").kind is Kind.OBJECT
