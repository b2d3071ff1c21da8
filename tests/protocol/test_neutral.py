"""Text made harmless: control characters become pictures or vanish, and everything else stays."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard.protocol.neutral import neutralise, suspicious
from mcpguard.protocol.strict import encode

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("dirty", "clean"),
    [
        ("plain \u00e9 \u65e5 \U0001f600", "plain \u00e9 \u65e5 \U0001f600"),
        ("tab\tnl\ncr\r", "tab\tnl\ncr\r"),
        ("\x1b[2J", "\u241b[2J"),
        ("\x00\x07\x08\x0c", "\u2400\u2407\u2408\u240c"),
        ("\x7f", "\u2421"),
        ("a\u009b31mb\u0080\u009f", "a31mb"),
        ("a\U000e0041\U000e007fb", "ab"),
        ("\u0085\u2028", "\u0085\u2028"),
        ("\u200b\u202e", "\u200b\u202e"),
    ],
)
def test_controls_become_visible_or_vanish(dirty, clean):
    assert neutralise(dirty) == clean
    assert suspicious(encode(dirty)) or dirty == clean


def test_values_inside_are_changed_in_place_and_keys_left_alone():
    value = {"a": ["\x1b", {"b\x1b": "\x1b"}], "n": [1, 1.0, None, True]}
    assert neutralise(value) is value
    assert value == {"a": ["\u241b", {"b\x1b": "\u241b"}], "n": [1, 1.0, None, True]}


@given(VALUES)
def test_what_is_not_suspicious_would_not_be_changed(value):
    line = encode(value)
    changed = encode(neutralise(value)) != line
    assert suspicious(line) or not changed


def texts(value):
    if isinstance(value, dict):
        value = list(value.values())
    return [text for child in value for text in texts(child)] if isinstance(value, list) else [str(value)]


@given(VALUES)
def test_once_is_enough_and_no_control_is_left(value):
    clean = neutralise(value)
    once = encode(clean)
    assert encode(neutralise(clean)) == once
    for char in "".join(texts(clean)):
        assert ord(char) not in range(0x20) or char in "\t\n\r"
        assert ord(char) not in range(0x7F, 0xA0) or char == "\u0085"


def test_what_must_come_back_as_it_was_is_left_alone():
    value = {"requestState": "a\x1bb", "taskId": "c\x07", "text": "d\x1b"}
    assert neutralise(value) == {"requestState": "a\x1bb", "taskId": "c\x07", "text": "d\u241b"}
