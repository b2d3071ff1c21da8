"""Every member has one place, and what is different is found, whatever its type."""

import json

from hypothesis import given
from hypothesis import strategies as st

from mcpguard.approvals.members import COMPARED, Change, changes, leaves

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("a/~*", max_size=2), inner, max_size=3)
    ),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.text("a/~*", max_size=2), JSON, max_size=4)


def test_places_are_pointers_in_the_order_of_the_text():
    value = {"b": 1, "a": {"x/y": [True, None], "~": {}}, "": []}
    assert list(leaves(value)) == [
        ("/b", 1),
        ("/a/x~1y/0", True),
        ("/a/x~1y/1", None),
        ("/a/~0", {}),
        ("/", []),
    ]
    assert list(leaves({})) == []
    assert list(leaves("text")) == [("", "text")]


@given(OBJECTS)
def test_no_two_members_have_one_place(value):
    places = [place for place, _ in leaves(value)]
    assert len(places) == len(set(places))


def test_what_was_changed_added_and_removed():
    assert changes({"same": 1, "path": "/a", "old": []}, {"same": 1, "path": "/b", "new": {"x": None}}) == [
        Change("changed", "/path", "/a", "/b"),
        Change("added", "/new/x", None, None),
        Change("removed", "/old", []),
    ]


def test_values_that_python_takes_for_equal_are_different():
    assert [
        change.pointer for change in changes({"a": 1, "b": True, "c": 0}, {"a": 1.0, "b": 1, "c": False})
    ] == [
        "/a",
        "/b",
        "/c",
    ]


@given(OBJECTS, OBJECTS)
def test_nothing_is_different_only_where_nothing_is(before, after):
    assert changes(before, before) == []
    assert (changes(before, after) == []) is (
        json.dumps(before, sort_keys=True) == json.dumps(after, sort_keys=True)
    )


def test_what_is_too_long_to_compare_is_not_compared():
    assert changes({}, {"list": [0] * COMPARED}) is not None
    assert changes({}, {"list": [0] * (COMPARED + 1)}) is None
    assert changes({"list": [0] * (COMPARED + 1)}, {}) is None
