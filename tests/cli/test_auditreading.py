"""Reading a log in whatever state: the parts that the verbs do not show (those are in test_auditquery)."""

import json

import pytest

from mcpguard.audit.filters import Filter
from mcpguard.cli import auditreading
from mcpguard.cli.auditfilter import Asked
from mcpguard.cli.auditreading import Reading
from tests.cli.reported import END, Story
from tests.cli.test_audit import on_a_terminal
from tests.cli.test_auditquery import raw, state

__all__ = ["state"]


@pytest.fixture
def log(state):
    story = Story(state / "audit", END, segment_bytes=4000)
    for number in range(30):
        story.call(story.start("h", "s", f"{number % 2}-c"), f"t{number}")
    story.close()
    return state / "audit"


@pytest.mark.parametrize("newest", [False, True])
def test_pages_end_where_the_log_ends(log, monkeypatch, newest):
    monkeypatch.setattr(auditreading, "_FIRST", 3)
    expected = [json.loads(line)["seq"] for line in raw(log)]
    with Reading(Asked(None, Filter(), indexed=True)) as reading:
        found = [hit.record.seq for hit in reading.records(newest=newest, most=2)]
    assert found == (expected[::-1] if newest else expected)


def test_text_that_most_records_have_not(log, monkeypatch):
    monkeypatch.setattr(auditreading, "_FIRST", 3)
    with Reading(Asked(None, Filter(text='"t7"'), indexed=True)) as reading:
        found = [hit.facets.target for hit in reading.records(newest=True, most=1)]
    assert found == ["t7", "t7"]


def test_an_outcome_of_another_call_is_not_shown_as_its(log):
    with Reading(Asked(None, Filter(types=("call",)), indexed=True)) as reading:
        first, second, *_ = reading.records()
        assert reading.other(first).record.body["id"] == first.record.body["id"]
        assert reading.other(first._replace(other=second.other)) is None
        assert reading.other(first._replace(other=second.place)) is None
        assert reading.other(first._replace(other=first.place + 7)) is None
        assert reading.other(first._replace(other=1)) is None


def test_a_segment_that_never_agrees_ends_the_reading(log, monkeypatch):
    monkeypatch.setattr(auditreading, "digest_of", lambda _: -1)
    with Reading(Asked(None, Filter(), indexed=True)) as reading:
        assert list(reading.records()) == []


def test_long_work_has_a_bar_on_a_terminal(state):
    story = Story(state / "audit", END)
    start = story.start("h", "s" * 500, "c" * 400)
    for _ in range(12):
        story.journal.append([b'"type":"log","event":"x","x":"%b"' % (b"y" * 60_000)] * 8)
    story.call(start, "t")
    story.close()
    words = ["query", "--type", "call"]
    assert "indexing" in on_a_terminal(words, MCPGUARD_STATE_DIR=str(state))
    assert "indexing" not in on_a_terminal(words, MCPGUARD_STATE_DIR=str(state)), "it is up to date"
    assert "reading" in on_a_terminal([*words, "--no-index"], MCPGUARD_STATE_DIR=str(state))


def test_counting_has_a_bar_on_a_terminal(state):
    story = Story(state / "audit", END)
    story.journal.append([b'"type":"log","event":"x"'] * 21_000)
    story.close()
    assert "counting" in on_a_terminal(["stats"], MCPGUARD_STATE_DIR=str(state))
