"""Words and values as errors show them."""

import pytest

from mcpguard.policy.reading import found, is_name, nearest


@pytest.mark.parametrize(
    ("name", "answer"),
    [("a", True), ("a.b_c-9", True), ("", False), ("A", False), ("a" * 65, False), ("a b", False)],
)
def test_names(name: str, answer: bool) -> None:
    assert is_name(name) is answer


def test_what_is_near() -> None:
    assert nearest("tols", ["tools", "who"]) == "did you mean tools?"
    assert nearest("xyz", ["tools"]) == ""


@pytest.mark.parametrize("value", ["x" * 1000, "a\x1b[2J\n", {"a": 1}, [1], [], None, 1.5, True])
def test_what_was_found_is_short_and_on_one_line(value: object) -> None:
    shown = found(value)
    assert 0 < len(shown) < 120
    assert "\n" not in shown
    assert "\x1b" not in shown
