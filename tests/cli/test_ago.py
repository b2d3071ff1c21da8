import pytest

from mcpguard.cli import ago


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("90m", 5400), ("12h", 43_200), ("7d", 604_800), ("4w", 2_419_200)]
)
def test_spans_are_numbers_and_units(text, seconds):
    assert ago.seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "7", "d", "0d", "-1d", "7 d", "7D", "1y", "1234567d", "7d\n"])
def test_anything_else_is_none(text):
    assert ago.seconds(text) is None
