"""The report in a real browser: no complaint, no request, the same to see without scripts, in the dark and in print."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cli.reported import HOSTILE, busy_week, hostile
from tests.fakes.browser import Seen, looked_at
from tests.lifecycle.stage import MCPGUARD

pytestmark = pytest.mark.timeout(300)
FACTS = (
    "document.title",
    "document.scripts.length + document.images.length + document.links.length",
    "[...document.querySelectorAll('svg.chart rect')].map(one => one.getBoundingClientRect().height)",
    "getComputedStyle(document.body).backgroundColor",
    "document.documentElement.scrollWidth - document.documentElement.clientWidth",
    "document.body.innerText",
)


@pytest.fixture(scope="module", params=[busy_week, hostile], ids=["busy", "hostile"])
def report(request, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("report")
    request.param(root / "audit")
    env = {**os.environ, "MCPGUARD_STATE_DIR": str(root), "TZ": "UTC"}
    file = root / "report.html"
    subprocess.run([*MCPGUARD, "audit", "report", "-o", file], env=env, check=True, stdout=subprocess.DEVNULL)
    return file


def test_browser_has_nothing_to_complain_about_and_nothing_to_fetch(report):
    for dark in (False, True):
        seen: Seen = looked_at(report, *FACTS, dark=dark)
        title, loaded, heights, back, sideways, text = seen.answers
        assert seen.complaints == []
        assert seen.requests == []
        assert title.startswith("mcpguard report, 2026-11-")
        assert loaded == 0
        assert heights
        assert all(height > 0 for height in heights)
        assert back == ("rgb(20, 24, 29)" if dark else "rgb(255, 255, 255)")
        assert sideways <= 0
        assert "Calls and denials over time" in text
        if "busy" not in str(report) and "<script>" in text:
            assert HOSTILE[0] in text


def test_the_page_is_the_same_without_scripts_and_wide_enough_for_a_phone(report):
    seen = looked_at(report, scripts=False)
    assert (seen.complaints, seen.requests) == ([], [])
    assert len(seen.picture) > 20_000
    narrow = looked_at(report, FACTS[4], width=390)
    assert narrow.answers == [0]


def test_charts_are_to_be_seen(report):
    fills = "[...new Set([...document.querySelectorAll('svg.chart rect')].map(one => getComputedStyle(one).fill))]"
    light, dark = (looked_at(report, fills, width=400, dark=dark) for dark in (False, True))
    assert {"rgb(196, 66, 26)", "rgb(47, 111, 178)"} <= set(light.answers[0]), (
        "denied and other calls, in their colours"
    )
    assert {"rgb(240, 123, 82)", "rgb(106, 169, 233)"} <= set(dark.answers[0])
    assert light.picture != dark.picture


@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="needs pdftotext (apt install poppler-utils)")
def test_printed(report, tmp_path):
    pdf = tmp_path / "report.pdf"
    pdf.write_bytes(looked_at(report, dark=True, printed=True).pdf)
    text = subprocess.run(["pdftotext", pdf, "-"], capture_output=True, text=True, check=True).stdout
    for words in ("Denials by rule", "Tools per host", "About this page"):
        assert words in text
