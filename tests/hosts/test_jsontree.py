"""JSON with places: what is read, what is refused and on which line."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard.errors import ConfigError
from mcpguard.hosts import jsontree
from mcpguard.hosts.tree import Kind

EVERYWHERE = ((),)


def read(text, *, comments=True, paths=EVERYWHERE):
    data = text if isinstance(text, bytes) else text.encode()
    return jsontree.read(data, "f", paths, comments=comments)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{}", {}),
        ('// "\n{"a": 1, /* } */ "b": [2, /*,*/ ], // c\n}', {"a": 1, "b": [2]}),
        ('{"a": "// no /* no */ , ]"}', {"a": "// no /* no */ , ]"}),
        (r'{"a": "\"// no"} // yes', {"a": '"// no'}),
        ("[1 /***/ ,/**/]", [1]),
        ("[1] // \r\n", [1]),
        ("[1] /* a \r b */", [1]),
        ("\ufeff[1]", [1]),
        ("/* a */ 1 /* b */", 1),
    ],
)
def test_what_is_read(text, value):
    assert read(text).value == value


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ('{"a": 1,\n"b": 2,\n"a": 3\n}', 4, "'a' is there twice in the object that ends here"),
        ('{"x": {}, "}": {"a": 1},\n"y": {"a": 1, "a": 2}}', 2, "'a' is there twice"),
        ('{"a":\n-Infinity}', 2, "no JSON number"),
        ('["NaN",\n\nNaN]', 3, "no JSON number"),
        ("[1.5,\n" + "1" * 5000 + "]", 2, "too many digits"),
        ("\n[1,,]", 2, "not JSON"),
        ("[,]", 1, "not JSON"),
        ('{"a":,}', 1, "not JSON"),
        ('{"a",}', 1, "not JSON"),
        ("/* never ends", 1, "not JSON"),
        ("[1] /*/", 1, "not JSON"),
        ('{} // a\n// b \r "c"\n', 2, "carriage return"),
        ("\ufeff\ufeff{}", 1, "not JSON"),
        ("{'a': 1}", 1, "not JSON"),
        ("[1]\n[2]", 2, "not JSON"),
        ('"a\nb"', 1, "not JSON"),
        (b"{}\n\xff", 2, "not UTF-8"),
        (b"{}\n\n\0", 3, "NUL"),
        ("[" * 200_000, 0, "nested too deep"),
    ],
)
def test_what_is_refused(text, line, words):
    with pytest.raises(ConfigError, match=words) as raised:
        read(text)
    assert (raised.value.file, raised.value.line) == ("f", line)


@pytest.mark.parametrize("text", ["{} // a", "[1,]", "/* a */ {}", "[1 /* a */]"])
def test_strict_json_has_no_comments(text):
    read(text)
    with pytest.raises(ConfigError, match="not JSON"):
        read(text, comments=False)


def test_a_hundred_thousand_members_of_which_one_is_twice():
    members = ",".join(f'"k{number}": 1' for number in range(100_000))
    with pytest.raises(ConfigError, match="k99999"):
        read(f'{{{members}, "k99999": 2}}')


def test_places_are_bytes_of_the_file():
    data = '\ufeff// é\n{"é": {"b": ["ü", 1]}}'.encode()
    tree = read(data)
    inner = tree.members["é"].members["b"]
    assert data[tree.members["é"].start : tree.members["é"].end] == '{"b": ["ü", 1]}'.encode()
    assert data[inner.items[0].start : inner.items[0].end] == '"ü"'.encode()
    assert data[tree.keys["é"] :].startswith('"é"'.encode())
    assert [item.kind for item in inner.items] == [Kind.STRING, Kind.OTHER]


def test_places_are_told_of_what_is_asked_for_only():
    tree = read('{"a": {"b": {"c": 1}, "x": {"c": 1}}, "y": {}}', paths=(("a", "b"),))
    assert tree.members["a"].members["b"].members["c"].value == 1
    assert tree.members["a"].members["x"].kind is Kind.OTHER
    assert tree.members["y"].kind is Kind.OTHER


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def same_places(tree, data):
    """Each place holds the value that is told of it."""
    assert json.loads(data[tree.start : tree.end]) == tree.value
    for inner in (*tree.members.values(), *tree.items):
        same_places(inner, data)


@given(VALUES, st.booleans(), st.sampled_from([None, 0, 2]))
def test_each_place_holds_its_value(value, ascii_only, indent):
    data = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "replace")
    same_places(read(data, comments=False), data)
