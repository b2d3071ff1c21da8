"""Charts as inline SVG: numbers in, text out. Nothing in them is loaded, runs, or has a style of its own.

Rule: every text of others goes through `words`, which leaves nothing that a browser could take for markup and nothing
that cannot be seen. Colours are classes, which the page gives a meaning for light, dark and print.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from mcpguard import model

WIDTH: Final = 960
"""Width of a chart in its own units; the page scales it."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 8, 12, 28
_HEIGHT: Final = 240
_ROW: Final = 26
_NAME_WIDTH: Final = 260
_NAME_CHARS: Final = 36
_LABELS: Final = 8


class Series(NamedTuple):
    """Values of one kind: what they are, their class in the page, one for each place on the axis."""

    name: str
    style: str
    values: Sequence[int]


class Row(NamedTuple):
    """A bar: its name, and its parts as (what, class, value)."""

    name: str
    parts: Sequence[tuple[str, str, int]]


def words(text: str, most: int = 0) -> str:
    """Text of others for a page: all of it visible, none of it markup; cut to `most` characters if given."""
    shown = model.visible(text)
    if most and len(shown) > most:
        shown = f"{shown[: most - 1]}…"
    return html.escape(shown)


def over_time(title: str, labels: Sequence[str], series: Sequence[Series]) -> str:
    """Stacked columns along time, one for each label."""
    totals = [sum(one.values[at] for one in series) for at in range(len(labels))]
    top, step = scale(max(totals, default=0))
    wide = (WIDTH - _LEFT - _RIGHT) / max(1, len(labels))
    high = _HEIGHT - _TOP - _BOTTOM
    parts = [_opened(title, _HEIGHT)]
    for value in range(0, top + 1, step):
        y = _HEIGHT - _BOTTOM - high * value / top
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="axis" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:,}</text>')
    for at, label in enumerate(labels):
        x, y = _LEFT + at * wide, float(_HEIGHT - _BOTTOM)
        told = ", ".join(f"{one.name} {one.values[at]:,}" for one in series)
        parts.append(f"<g><title>{words(label)}: {words(told)}</title>")
        for one in series:
            if value := one.values[at]:
                tall = high * value / top
                y -= tall
                parts.append(
                    f'<rect class="{one.style}" x="{x + wide * 0.1:.2f}" y="{y:.2f}" width="{wide * 0.8:.2f}" '
                    f'height="{tall:.2f}"/>'
                )
        parts.append("</g>")
    every = math.ceil(len(labels) / _LABELS) if labels else 1
    for at in range(0, len(labels), every):
        x = _LEFT + (at + 0.5) * wide
        anchor = "start" if at == 0 and len(labels) > 1 else "middle"
        x = float(_LEFT) if anchor == "start" else x
        parts.append(
            f'<text class="axis" x="{x:.1f}" y="{_HEIGHT - 8}" text-anchor="{anchor}">{words(labels[at])}</text>'
        )
    return "".join([*parts, "</svg>"])


def bars(title: str, rows: Sequence[Row]) -> str:
    """Horizontal bars, each of stacked parts, with its name before it and its sum behind it."""
    most = max((sum(value for _, _, value in row.parts) for row in rows), default=0)
    room = WIDTH - _NAME_WIDTH - 80
    parts = [_opened(title, _ROW * max(1, len(rows)) + 8)]
    for at, row in enumerate(rows):
        y, x = at * _ROW + 4, float(_NAME_WIDTH)
        total = sum(value for _, _, value in row.parts)
        parts.append(f"<g><title>{words(row.name)}: {total:,}</title>")
        parts.append(
            f'<text class="name" x="{_NAME_WIDTH - 10}" y="{y + 15}" text-anchor="end">'
            f"{words(row.name, _NAME_CHARS)}</text></g>"
        )
        for name, style, value in row.parts:
            wide = room * value / most if most else 0
            parts.append(
                f'<rect class="{style}" x="{x:.2f}" y="{y}" width="{wide:.2f}" height="{_ROW - 8}">'
                f"<title>{words(row.name)}, {words(name)}: {value:,}</title></rect>"
            )
            x += wide
        parts.append(f'<text class="sum" x="{x + 8:.1f}" y="{y + 15}">{total:,}</text>')
    return "".join([*parts, "</svg>"])


def legend(names: Sequence[tuple[str, str]]) -> str:
    """What the colours mean: (name, class) pairs."""
    shown = "".join(
        f'<li><svg class="key" viewBox="0 0 12 12" aria-hidden="true"><rect class="{style}" width="12" height="12"/>'
        f"</svg>{words(name, _NAME_CHARS)}</li>"
        for name, style in names
    )
    return f'<ul class="legend">{shown}</ul>'


def scale(most: int) -> tuple[int, int]:
    """Where an axis ends that has room for a value, and the steps of its grid: 1, 2 or 5 times a power of ten."""
    most = max(1, most)
    for power in range(20):
        for digit in (1, 2, 5):
            step = digit * 10**power
            if most <= 5 * step:
                return math.ceil(most / step) * step, step
    raise ValueError(f"{most} is too much for a chart")


def _opened(title: str, height: int) -> str:
    return f'<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{words(title)}">'
