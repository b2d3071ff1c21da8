"""What arguments look like: folders and hosts, and never a value."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard.audit import record
from mcpguard.audit.redact import Redactor
from mcpguard.audit.shape import BYTES, NAMES, shape

WORDS = {"string", "integer", "number", "boolean", "null", "array", "object"}


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (None, "null"), (True, "boolean"), (1, "integer"), (1.5, "number"), ("x", "string"), ([1], "array"),
        ({"a": 1}, "object"), ("/srv/a/b.py", "path:/srv/a"), ("/b", "path:/"), ("/", "path:/"),
        ("~/src/x", "string"), ("/a/../b", "string"), ("/a//b", "string"), ("/a/..", "string"), ("/a/%2e/b", "string"),
        ("/a/ b/c", "path:/a/ b"), ("/a ", "string"), ("/a/", "path:/a"), ("/..a/b", "path:/..a"), ("~", "string"), ("relative/x", "string"), ("/a\nb", "string"),
        ("/" + "d" * 300 + "/x", "string"), ("https://Example.com/a?b=secret", "url:example.com"),
        ("http://u:secret@h:8080#x", "url:h"), ("https://[::1]/", "url:[::1]"), ("ftp://h/", "string"),
        ("https://h\\@evil/", "string"), ("see https://h/", "string"),
    ],
)  # fmt: skip
def test_words(value: object, word: str) -> None:
    assert shape({"it": value}, Redactor()) == {"it": word}


def test_no_more_than_so_many() -> None:
    assert len(shape({str(number): 1 for number in range(100)}, Redactor())) == NAMES


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda below: st.lists(below) | st.dictionaries(st.text(), below),
)


@given(st.dictionaries(st.text(), JSON))
def test_nothing_is_kept_of_values_but_folders_and_hosts(arguments: dict[str, object]) -> None:
    for name, word in shape(arguments, Redactor()).items():
        kind, _, rest = word.partition(":")
        assert word in WORDS or (
            kind in ("path", "url") and rest and rest in str(arguments[name]).lower() + str(arguments[name])
        )
    assert len(record.shaped(arguments)) <= BYTES


def test_a_shape_in_a_record() -> None:
    tail = record.call_tail(record.Side.HOST, "tools/call", "t", record.Verdict.ALLOW, "r")
    shaped = record.shaped({"path": "/srv/x/y", "n\u202e": 1})
    assert shaped == b'{"path":"path:/srv/x","n\\u202e":"integer"}'
    assert record.call(b"", 1, tail, b"ab", 7, shaped).endswith(
        b'"args":{"digest":"ab","size":7,"shape":%b}' % shaped
    )
    assert b"shape" not in record.call(b"", 1, tail, None, 0, shaped)


def test_a_secret_with_a_slash_leaves_nothing_of_itself():
    redactor = Redactor(b"k" * 32)
    redactor.learn([b"/aB3dE5fG7/hI9jK1lM2"])
    assert shape({"a": "/aB3dE5fG7/hI9jK1lM2"}, redactor) == {"a": "string"}
    assert shape({"password": "/abc/def"}, redactor) == {"password": "string"}
    assert shape({"a": "/srv/files/ghp_aaaaaaaaaaaaaaaaaaaaaaaa1"}, redactor) == {"a": "path:/srv/files"}
