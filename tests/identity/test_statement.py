"""Statements: strict JSON, moments, and what a payload must say of itself."""

import contextlib
import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard import limits
from mcpguard.errors import TrustError
from mcpguard.identity.statement import (
    STATEMENT,
    check_critical,
    format_time,
    parse_json,
    parse_statement,
    parse_time,
    statement,
)

TYPE = "urn:example:v1"
DIGEST = "0f" * 32
VALUE = {
    "_type": STATEMENT,
    "subject": [{"name": "it", "digest": {"sha256": DIGEST}}],
    "predicateType": TYPE,
    "predicate": {"version": 1},
}

NOT_STRICT = {
    "a member twice": (b'{"a":1,"a":1}', "'a' stands twice"),
    "a member twice, escaped": (b'{"a":1,"\\u0061":1}', "'a' stands twice"),
    "a member twice, deep inside": (b'{"x":[{"y":{"a":1,"b":2,"a":3}}]}', "'a' stands twice"),
    "a hostile member twice": (b'{"\x7f\xe2\x80\xae":1,"\x7f\xe2\x80\xae":1}', "stands twice"),
    "trailing bytes": (b"{}x", "Extra data"),
    "two values": (b"{}{}", "Extra data"),
    "a NUL behind": (b"{}\0", "Extra data"),
    "a mark before": (b"\xef\xbb\xbf{}", "strict JSON"),
    "UTF-16": ("{}".encode("utf-16"), "not UTF-8"),
    "not UTF-8": (b'{"a":"\xff"}', "not UTF-8"),
    "half a character": (b'{"a":"\\ud800"}', "half a character"),
    "half a character in a list": (b'{"a":["\\udc00"]}', "half a character"),
    "half a character in a name": (b'{"\\uD83D":1}', "half a character"),
    "NaN": (b'{"a":NaN}', "NaN"),
    "Infinity": (b'{"a":-Infinity}', "Infinity"),
    "too large a number": (b'{"a":1e400}', "out of range"),
    "too long a number": (b'{"a":' + b"9" * 5000 + b"}", "strict JSON"),
    "a control character": (b'{"a":"\n"}', "control character"),
    "a comment": (b"{/**/}", "strict JSON"),
    "a trailing comma": (b'{"a":1,}', "strict JSON"),
    "a list": (b"[]", "not a JSON object"),
    "a text": (b'""', "not a JSON object"),
    "nothing": (b"", "strict JSON"),
    "very deep": (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
}


@pytest.mark.parametrize("name", NOT_STRICT)
def test_only_strict_json_is_read(name):
    data, message = NOT_STRICT[name]
    with pytest.raises(TrustError, match=message) as caught:
        parse_json(data, "it")
    assert caught.value.hint
    assert caught.value.sentence().isprintable()
    assert len(caught.value.message) < 200


def test_strict_json_is_read():
    data = b' {"a":{"b":[1,-2.5e3,true,null]},"b":"\\ud83d\\ude00\\u00e9\xc3\xa9"}\n'
    assert parse_json(data, "it") == {"a": {"b": [1, -2500.0, True, None]}, "b": "\N{GRINNING FACE}éé"}


@given(st.binary())
def test_arbitrary_bytes_are_an_object_or_a_trust_error(data):
    with contextlib.suppress(TrustError):
        assert isinstance(parse_json(data, "it"), dict)
    with contextlib.suppress(TrustError):
        parse_json(b'{"a":' + data + b"}", "it")
    with contextlib.suppress(TrustError):
        parse_statement(data, TYPE)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.dictionaries(st.text(), JSON), st.booleans())
def test_what_json_writes_is_read(value, ascii_only):
    data = json.dumps(value, ensure_ascii=ascii_only)
    assert parse_json(data.encode(), "it") == value


@given(JSON)
def test_arbitrary_members_are_a_statement_or_a_trust_error(value):
    for member in VALUE:
        with contextlib.suppress(TrustError):
            parse_statement(json.dumps({**VALUE, member: value}).encode(), TYPE)
    with contextlib.suppress(TrustError):
        check_critical({"crit": value}, {"crit"})


MOMENTS = {
    "2027-01-31T12:00:00Z": datetime(2027, 1, 31, 12, tzinfo=UTC),
    "2027-01-31T12:00:00.5Z": datetime(2027, 1, 31, 12, 0, 0, 500_000, tzinfo=UTC),
    "2027-01-31T12:00:00+02:00": datetime(2027, 1, 31, 10, tzinfo=UTC),
    "2027-01-31T12:00:00-00:30": datetime(2027, 1, 31, 12, 30, tzinfo=UTC),
}
NO_MOMENTS = [
    "",
    "2027-01-31",
    "2027-01-31T12:00:00",
    "2027-01-31 12:00:00Z",
    "2027-01-31t12:00:00z",
    "2027-01-31T12:00Z",
    "2027-02-30T12:00:00Z",
    "2027-01-31T24:00:01Z",
    "2027-01-31T12:00:60Z",
    "2027-01-31T12:00:00Z\n",
    "2027-01-31T12:00:00+25:00",
    "0001-01-01T00:00:00+01:00",
    "9999-12-31T23:59:59-01:00",
    "\u0662\u0660\u0662\u0667-01-31T12:00:00Z",
    "20270131T120000Z",
]


@pytest.mark.parametrize("text", MOMENTS)
def test_a_moment_is_read_in_utc(text):
    moment = parse_time(text, "it")
    assert moment == MOMENTS[text]
    assert moment.tzinfo is UTC


@pytest.mark.parametrize("text", NO_MOMENTS)
def test_other_texts_are_no_moment(text):
    with pytest.raises(TrustError, match=r"it is .* no moment") as caught:
        parse_time(text, "it")
    assert "T00:00:00Z" in caught.value.hint


@given(st.text(max_size=30))
def test_arbitrary_text_is_a_moment_or_a_trust_error(text):
    with contextlib.suppress(TrustError):
        parse_time(text, "it")


def test_a_moment_is_written_as_it_is_read():
    moment = datetime(2027, 1, 31, 12, tzinfo=timezone(timedelta(hours=2)))
    assert format_time(moment) == "2027-01-31T10:00:00Z"
    assert parse_time(format_time(moment), "it") == moment


def test_a_statement_is_read_as_it_was_written():
    payload = statement(TYPE, {"it": DIGEST, "other": DIGEST}, {"version": 1})
    assert json.loads(payload)["_type"] == "https://in-toto.io/Statement/v1"
    assert parse_statement(payload, TYPE) == ({"it": DIGEST, "other": DIGEST}, {"version": 1})


def test_other_members_and_digests_are_ignored():
    subject = [{"name": "it", "uri": "x", "digest": {"sha256": DIGEST, "sha512": "y"}}]
    value = {**VALUE, "subject": subject, "more": 1}
    assert parse_statement(json.dumps(value).encode(), TYPE) == ({"it": DIGEST}, {"version": 1})


REFUSED = {
    "type is missing": ({"_type": None}, "of type none"),
    "an older type": ({"_type": "https://in-toto.io/Statement/v0.1"}, "v0.1"),
    "a type with a slash": ({"_type": STATEMENT + "/"}, "of type"),
    "another predicate": ({"predicateType": "urn:example:v2"}, "urn:example:v2"),
    "a predicate type in capitals": ({"predicateType": TYPE.upper()}, "URN"),
    "no predicate type": ({"predicateType": ["urn:example:v1"]}, "is a none"),
    "a hostile predicate type": ({"predicateType": "\x1b[31m" + "x" * 999}, "x1b"),
    "no predicate": ({"predicate": None}, "no predicate"),
    "no subject": ({"subject": None}, "list"),
    "too many subjects": ({"subject": [{}] * (limits.SUBJECTS + 1)}, "at most"),
    "a subject twice": ({"subject": VALUE["subject"] * 2}, "two subjects 'it'"),
    "a subject without a name": ({"subject": [{"digest": {"sha256": DIGEST}}]}, "lacks its name"),
    "a subject without a digest": ({"subject": [{"name": "it"}]}, "lacks"),
    "a subject with another digest": ({"subject": [{"name": "it", "digest": {"sha1": "0f"}}]}, "lacks"),
    "a digest in capitals": ({"subject": [{"name": "it", "digest": {"sha256": DIGEST.upper()}}]}, "lacks"),
    "a digest and a line": ({"subject": [{"name": "it", "digest": {"sha256": DIGEST + "\n"}}]}, "lacks"),
    "a short digest": ({"subject": [{"name": "it", "digest": {"sha256": DIGEST[1:]}}]}, "lacks"),
    "a subject that is none": ({"subject": ["it"]}, "lacks"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_statements_are_refused(name):
    change, message = REFUSED[name]
    with pytest.raises(TrustError, match=message) as caught:
        parse_statement(json.dumps({**VALUE, **change}).encode(), TYPE)
    assert caught.value.hint
    assert caught.value.sentence().isprintable()


@pytest.mark.parametrize(
    ("predicate", "message"),
    [
        ({"crit": ["a", "b"], "a": 1, "b": 2}, "'b', which this version does not know"),
        ({"crit": ["a"]}, "'a', which it does not have"),
        ({"crit": "a", "a": 1}, "not a list"),
        ({"crit": [1], "a": 1}, "not a list"),
        ({"crit": None, "a": 1}, "not a list"),
    ],
)
def test_what_is_demanded_must_be_known(predicate, message):
    with pytest.raises(TrustError, match=message):
        check_critical(predicate, {"a"})


def test_what_is_known_may_be_demanded():
    for predicate in ({}, {"crit": []}, {"crit": ["a"], "a": 1}, {"b": 1}):
        check_critical(predicate, {"a"})
