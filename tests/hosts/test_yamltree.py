"""YAML with places: what is read, what is refused and on which line, and what anchors do."""

import pytest

from mcpguard import limits
from mcpguard.errors import ConfigError
from mcpguard.hosts import yamltree
from mcpguard.hosts.tree import Kind


def read(text):
    return yamltree.read(text.encode(), "f")


@pytest.mark.parametrize(
    ("text", "path", "found"),
    [
        ("a: b # c", ("a",), "b"),
        ("é: {ü: 'ö ö'}", ("é", "ü"), "'ö ö'"),
        ("\ufeffa: b", ("a",), "b"),
        ("a:\r\n  - b\r\n  - c\r\n", ("a", 1), "c"),
        ("a: &x [ b ]", ("a",), "[ b ]"),
        ("a: !!seq &x []", ("a",), "[]"),
        ("a: [&x b, c]", ("a", 0), "&x b"),
    ],
)
def test_where_values_stand(text, path, found):
    tree = read(text)
    for part in path:
        tree = tree.items[part] if isinstance(part, int) else tree.members[part]
    assert text.encode()[tree.start : tree.end].decode() == found


def test_where_dashes_are():
    text = "a: &x\n  - b # - c\n  # - d\n\n  - # - e\n    f\n  -   - g\n  - |\n    - h\n  - é\n"
    tree = read(text).members["a"]
    data = text.encode()
    assert [data[dash : dash + 3] for dash in tree.dashes] == [
        b"- b",
        b"- #",
        b"-  ",
        b"- |",
        "- é".encode()[:3],
    ]
    assert tree.start == tree.dashes[0]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\n---\nb: 2", 2, "another document"),
        ("a: 1\na: 2", 2, "duplicate key"),
        ("1: a\n'1': b", 2, "there twice"),
        ("a: !!bool x", 0, "its tag does not allow"),
        ('a: !!int ""', 0, "its tag does not allow"),
        ("a:\n  - !x y", 2, "tag"),
        ("a: 1\nb: &b [*b]", 2, "within itself"),
        ("a: *b", 1, "undefined alias"),
        ("a: {", 1, "expected"),
        ("\ta: 1", 1, "cannot start any token"),
        ("a: 2020-13-45", 0, "month"),
        ("a: \x01", 0, "unacceptable character"),
        ("[" * 5000, 0, "nested too deep"),
        ("- " * 5000, 0, "nested too deep"),
        ("a: " + "x" * limits.YAML_CONFIG_BYTES, 0, "longer than"),
    ],
)
def test_what_is_refused(text, line, words):
    with pytest.raises(ConfigError, match=words) as raised:
        read(text)
    assert raised.value.line == line


@pytest.mark.parametrize("last", ["<<: [{}]", "z: [{}]"])
def test_anchors_of_anchors_stand_for_too_much(last):
    lines = ["a0: &a0 {k: 1}"]
    for number in range(1, 9):
        many = last.format(", ".join([f"*a{number - 1}"] * 9))
        lines.append(f"a{number}: &a{number} {{{many}}}")
    with pytest.raises(ConfigError, match="stand for too much"):
        read("\n".join(lines))


def test_what_is_used_twice_has_no_place():
    tree = read("a: &x [b]\nc: *x\nd: [&y e, *y]\nf: &z g\nh: {<<: {i: j}}")
    kinds = {name: member.kind for name, member in tree.members.items()}
    assert kinds == {"a": Kind.OTHER, "c": Kind.ALIAS, "d": Kind.ARRAY, "f": Kind.STRING, "h": Kind.OTHER}
    assert [item.kind for item in tree.members["d"].items] == [Kind.OTHER, Kind.ALIAS]


def test_an_anchor_may_be_given_again():
    assert read("a: &x 1\nb: &x 2\nc: *x").value == {"a": 1, "b": 2, "c": 2}


def test_versions_of_yaml():
    assert read("%YAML 1.1\n---\na: yes").value == {"a": True}
    assert read("a: yes").value == {"a": "yes"}
