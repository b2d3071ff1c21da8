"""The scanner against `tomllib`: it must know every path that the parser knows, and the line of each."""

import tomllib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mcpguard.policy.lines import DEPTH, Lines, scan


def paths_of(value, path=()):
    """Every path of a decoded document."""
    found = {path} if path else set()
    if isinstance(value, dict):
        for key, inner in value.items():
            found |= paths_of(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            found |= paths_of(inner, (*path, index))
    return found


def first_lines(text):
    found = {}
    for path, line in scan(text):
        found.setdefault(path, line)
    return found


NASTY = '''# [[rule]] is not here
version = 1
note = """
[[rule]]
id = "fake" \\"""
"""""
literal = \'\'\'
[[rule]] # '' "
\'\'\'
[[rule]] # one
id = "a#b" # comment [[rule]]
"to\\u006fls" = [
  "x", # first

  "]", \'[\',
]
args.path = { under = ["[[rule]]"], "a.b" = 1 }
[rule.sub]
deep = 1979-05-27 07:32:00.5
[[rule.sub.list]]
x = 1.5e3
[ [rule.sub.list] ] \x23
'''


def test_headers_in_strings_and_comments_are_not_headers():
    text = NASTY.rpartition("[ [")[0]
    lines = first_lines(text)
    assert [path for path in lines if len(path) == 2 and path[0] == "rule"] == [("rule", 0)]
    assert lines["rule", 0] == 10
    assert lines["rule", 0, "id"] == 11
    assert lines["rule", 0, "tools"] == 12
    assert [lines["rule", 0, "tools", index] for index in range(3)] == [13, 15, 15]
    assert lines["rule", 0, "args", "path", "a.b"] == 17
    assert lines["rule", 0, "sub", "deep"] == 19
    assert lines["rule", 0, "sub", "list", 0, "x"] == 21
    assert set(lines) == paths_of(tomllib.loads(text))


@pytest.mark.parametrize(
    ("text", "path", "line"),
    [
        ("rule = [{id = 1},\n{id = 2}]", ("rule", 1, "id"), 2),
        ("rule = [{id = 1}]", ("rule", 0, "absent"), 1),
        ("\r\na = 1\r\nb = 2\r\n", ("b",), 3),
        ("\n\n[[ 'rule' ]]\n", ("rule", 0), 3),
        ("\n[[rule]]\n[[rule]]\nid = 1\n", ("rule", 1, "id"), 4),
        ("\n[[rule]]\nid = 1\n[[rule]]\n", ("rule", 1, "id"), 4),
        ("\na = [\n[\n1,\n2]]", ("a", 0, 1), 5),
        ("", ("a",), 0),
        ("b = 1", ("a",), 0),
        ('a = """\n\n"""\nb = 1', ("b",), 4),
        ("3.14 = 1\n", ("3", "14"), 1),
        ("x.y.z = 1\n", ("x", "y"), 1),
    ],
)
def test_line_of_a_path_or_of_what_is_around_it(text, path, line):
    assert Lines(text).of(path) == line


@pytest.mark.parametrize(
    "text",
    [
        "a.b" * 5,
        "[[[",
        "a = [",
        "a = {",
        "a = ",
        '"',
        "'''",
        "= 1",
        "[a",
        "[[a]",
        "a = 1 b = 2",
        "a = [1 2]",
        '"\\u" = 1',
        'a = \x00"',
    ],
)
def test_text_that_is_not_toml_ends_the_scan(text):
    list(scan(text))


@pytest.mark.parametrize(
    "text", [".".join("a" * 40) + " = 1", "a = " + "[" * 40, "a = " + "{a = " * 40, f"[{'.'.join('a' * 40)}]"]
)
def test_too_deep_text_yields_one_path_too_long_and_ends(text):
    found = list(scan(text))
    assert [len(path) > DEPTH for path, _ in found] == [False] * (len(found) - 1) + [True]
    assert len(found[-1][0]) == DEPTH + 1


# --- generated documents --------------------------------------------------------------------------------

PIECES = st.text(st.sampled_from("ab[]{}=,.#'\"\\ \trule\u00e9\n"), max_size=8)
COMMENT = st.sampled_from(["", " # [[rule]]", "\t# it's \"", " # '''"])


def basic(text):
    return (
        '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t") + '"'
    )


def multiline(text):
    return '"""' + text.replace("\\", "\\\\").replace('"""', '""\\"') + ' """'


STRINGS = st.one_of(
    PIECES.map(basic),
    PIECES.map(multiline),
    PIECES.filter(lambda text: not set("'\n") & set(text)).map(lambda text: f"'{text}'"),
    PIECES.filter(lambda text: "''" not in text).map(lambda text: f"'''{text} '''"),
)
SCALARS = st.one_of(
    STRINGS,
    st.sampled_from(["1", "-1.5", "true", "1979-05-27 07:32:00", "07:32:00.5", "inf", "0xff", "6.02e+23"]),
)
KEYS = st.one_of(st.sampled_from(["id", "tools", "rule", "a-b", "1"]), PIECES.map(basic), st.just("'a.b'"))


def in_array(items):
    return st.lists(st.tuples(items, st.sampled_from(["", "\n", " # ]\n", "\r\n"])), max_size=3).map(
        lambda pairs: "[" + "".join(f"{after}{item}{after}," for item, after in pairs) + "]"
    )


def in_table(items):
    return st.lists(items, max_size=3).map(
        lambda values: "{" + ", ".join(f"k{index} = {value}" for index, value in enumerate(values)) + "}"
    )


VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(in_array(inner), in_table(inner.filter(lambda text: "\n" not in text))),
    max_leaves=6,
)
HEADERS = st.sampled_from(
    ["[[rule]]", "[[ rule ]]", '[["rule"]]', "[[rule.sub]]", "[rule.other]", "[[x.y]]", "[z]"]
)


@st.composite
def documents(draw):
    """A text, and the line on which each of its pairs and headers begins."""
    text, marks = "", []
    for number in range(draw(st.integers(0, 8))):
        text += draw(st.sampled_from(["", "\n", "# [[rule]]\n", "  \r\n"]))
        marks.append(text.count("\n") + 1)
        if draw(st.booleans()):
            text += draw(HEADERS)
        else:
            text += f"m{number}.{draw(KEYS)} = {draw(VALUES)}"
        text += draw(COMMENT) + "\n"
    return text, marks


@given(documents())
@example(("[[rule]]\n", [1]))
def test_scanner_and_parser_know_the_same_paths(document):
    text, marks = document
    try:
        decoded = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        list(scan(text))
        return
    lines = first_lines(text)
    assert set(lines) == paths_of(decoded)
    last = text.count("\n") + 1
    assert all(1 <= line <= last for line in lines.values())
    assert {line for path, line in scan(text) if not any(isinstance(p, int) for p in path)} <= set(
        marks
    ) | set(lines.values())
    for number, mark in enumerate(marks):
        for path, line in lines.items():
            if path[-1] == f"m{number}":
                assert line == mark


@given(st.lists(st.tuples(VALUES, COMMENT), min_size=1, max_size=6), st.booleans())
def test_every_rule_header_is_found_on_its_line(values, crlf):
    text, expected = "", []
    for value, comment in values:
        expected.append(text.count("\n") + 1)
        text += f"[[rule]]{comment}\nvalue = {value}{comment}\n"
    text = text.replace("\r\n", "\n").replace("\n", "\r\n") if crlf else text
    assert len(tomllib.loads(text)["rule"]) == len(values)
    lines = first_lines(text)
    assert [lines["rule", index] for index in range(len(values))] == expected
    assert [lines["rule", index, "value"] for index in range(len(values))] == [line + 1 for line in expected]


@given(st.text())
def test_any_text_is_scanned_without_an_exception(text):
    assert all(line >= 1 for _, line in scan(text))


@given(st.text(st.sampled_from("ar[]{}=,.#'\"\\ \n1")))
def test_any_text_made_of_marks_is_scanned_as_the_parser_reads_it(text):
    lines = first_lines(text)
    try:
        decoded = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    assert set(lines) == paths_of(decoded)
