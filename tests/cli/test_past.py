"""What the log says of the past: requests in order, who asked, what passed."""

import time
from pathlib import Path

import click
import pytest

from mcpguard.cli.past import Answered, Asked, Began, Saw, read, span
from mcpguard.errors import JournalError
from mcpguard.model import Grade, Verdict
from tests.lifecycle.stage import House, house

POLICY = (
    'version = 1\nmode = "{mode}"\nunpinned = "allow"\n[[label]]\nserver = "*"\ntools = ["echo"]\nreads = ["seen"]\n'
    '[[rule]]\nid = "echo"\ntools = ["echo"]\neffect = "allow"\n'
)


def played(place: House, mode: str) -> list[object]:
    place.policy(POLICY.format(mode=mode))
    host = place.play(options=("--name", "box")).greet()
    host.call("echo", path="/srv/x/y")
    host.call("note", n=1)
    host.ask("resources/read", {"uri": "file:///a"})
    return list(read(place.state / "audit", 0.0, "reading"))


def test_what_happened_while_policy_watched() -> None:
    with house() as place:
        found = played(place, "observe")
        began, echo, note, resource = (one for one in found if isinstance(one, Began | Asked))
        assert began == Began("box", registered=False)
        assert (echo.past.trial.tool, echo.past.shape, echo.passed) == ("echo", {"path": "path:/srv/x"}, True)
        assert (echo.past.was, echo.past.trial.grade >= Grade.G1) == (Verdict.ALLOW, True)
        assert (note.past.was, note.passed) == (Verdict.ALLOW, True), "it passed, whatever the rules say"
        assert (resource.past.trial.method, resource.past.trial.target) == ("resources/read", "file:///a")
        assert echo.past.instance == note.past.instance
        assert echo.key in [one.key for one in found if isinstance(one, Answered) and one.good]
        assert [one.labels for one in found if isinstance(one, Saw)] == [["seen"]]
        assert list(read(place.state / "audit", time.time() + 60, "reading")) == []


def test_what_was_denied_did_not_pass() -> None:
    with house() as place:
        asked = [one for one in played(place, "enforce") if isinstance(one, Asked)]
        assert [(one.past.was, one.passed) for one in asked[:2]] == [
            (Verdict.ALLOW, True),
            (Verdict.DENY, False),
        ]
        assert asked[0].past.shape is None


def test_no_log_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(JournalError):
        list(read(tmp_path / "none", 0.0, "reading"))


def test_what_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "audit-000001.jsonl").write_bytes(b'{"type":"call"}\n\xff"type":"call"\n')
    assert list(read(tmp_path, 0.0, "reading")) == []


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("12h", 43200), ("7d", 604800), ("2w", 1209600)])
def test_spans(text: str, seconds: int) -> None:
    assert abs(time.time() - seconds - span(text)) < 5


@pytest.mark.parametrize("text", ["", "7", "d", "0d", "-1d", "7 d", "7D", "1234567d", "7d\n"])
def test_what_is_no_span(text: str) -> None:
    with pytest.raises(click.BadParameter):
        span(text)
