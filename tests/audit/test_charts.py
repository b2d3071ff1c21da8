"""Charts are well-formed, to scale, and made of nothing but shapes and text."""

import xml.etree.ElementTree as ET

import pytest

from mcpguard.audit.charts import Row, Series, bars, legend, over_time, scale, words
from tests.cli.reported import HOSTILE

TAGS = {"svg", "g", "title", "text", "line", "rect", "ul", "li"}


def parsed(text: str) -> ET.Element:
    root = ET.fromstring(text)
    assert {one.tag for one in root.iter()} <= TAGS
    assert not any(
        name.startswith("on") or name in ("style", "href") for one in root.iter() for name in one.attrib
    )
    return root


@pytest.mark.parametrize(
    ("most", "top", "step"), [(0, 1, 1), (1, 1, 1), (5, 5, 1), (6, 6, 2), (11, 15, 5), (99, 100, 20), (10**9, 10**9, 2 * 10**8)]
)  # fmt: skip
def test_scale_is_round_and_has_room(most, top, step):
    assert scale(most) == (top, step)
    assert scale(most)[0] >= most


def test_columns_are_to_scale():
    drawn = over_time("t", ["a", "b"], [Series("denied", "denied", [1, 0]), Series("other", "calls", [3, 2])])
    rects = [one.attrib for one in parsed(drawn).iter("rect")]
    heights = [(one["class"], float(one["height"])) for one in rects]
    unit = heights[0][1]
    assert [(name, round(high / unit)) for name, high in heights] == [
        ("denied", 1),
        ("calls", 3),
        ("calls", 2),
    ]
    assert float(rects[1]["y"]) + float(rects[1]["height"]) == pytest.approx(float(rects[0]["y"]), abs=0.1)
    assert "a: denied 1, other 3" in [one.text for one in parsed(drawn).iter("title")]


def test_many_columns_have_few_labels():
    labels = [str(n) for n in range(400)]
    drawn = parsed(over_time("t", labels, [Series("x", "calls", [1] * 400)]))
    assert len([one for one in drawn.iter("text") if one.attrib.get("text-anchor") != "end"]) <= 8


def test_bars_are_to_scale():
    drawn = parsed(bars("t", [Row("a", [("x", "s0", 30), ("y", "s1", 10)]), Row("b", [("x", "s0", 20)])]))
    widths = [float(one.attrib["width"]) for one in drawn.iter("rect")]
    assert widths[0] == pytest.approx(3 * widths[1], rel=0.01)
    assert widths[2] == pytest.approx(2 * widths[1], rel=0.01)


def test_nothing_is_a_chart_too():
    parsed(over_time("t", [], []))
    parsed(bars("t", []))
    parsed(bars("t", [Row("a", [("x", "s0", 0)])]))


@pytest.mark.parametrize("name", HOSTILE)
def test_names_stay_names(name):
    for drawn in (
        over_time(name, [name], [Series(name, "calls", [1])]),
        bars(name, [Row(name, [(name, "s0", 1)])]),
        legend([(name, "s0")]),
    ):
        root = parsed(drawn)
        assert all(one.text.isprintable() for one in root.iter() if one.text)


def test_words_are_cut_before_they_are_escaped():
    assert words("<" * 10, 4) == "&lt;&lt;&lt;…"
    assert words("a\u202eb") == "a\\u202eb"
