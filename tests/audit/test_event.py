"""What is said of a record in every format."""

import hashlib
import itertools

import msgspec
import pytest

from mcpguard.audit.chain import Chain
from mcpguard.audit.event import Severity, event_of, line_id, unsent
from tests.audit import exported
from tests.audit.exported import HOSTILE, STAMP, bodies, lines


def test_the_id_is_that_of_the_line_and_the_beginning_of_the_next_prev() -> None:
    found = lines()[:-2]
    for line, following in itertools.pairwise(found):
        assert event_of(line).id == event_of(line[:-1]).id == hashlib.sha256(line).hexdigest()[:32]
        assert event_of(following).record.prev.startswith(event_of(line).id)


def test_no_two_lines_have_one_id_and_every_line_has_an_event() -> None:
    found = [event_of(line) for line in lines()]
    assert len({each.id for each in found}) == len(found) == len(bodies()) + 2


def test_a_line_that_is_no_record_leaves_as_one_that_says_so() -> None:
    event = event_of(b"\x1b[31mno record\xff\n")
    assert (event.record.type, event.severity) == ("unreadable", Severity.HIGH)
    assert msgspec.json.decode(event.line)["problem"] == "not JSON"
    assert "\x1b" not in event.line + event.sentence
    assert event.milliseconds == 0


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (b'"type":"call","decision":"allow"', Severity.INFORMATIONAL),
        (b'"type":"call","decision":"deny"', Severity.MEDIUM),
        (b'"type":"call","decision":"deny","binding":false', Severity.LOW),
        (b'"type":"finding"', Severity.HIGH),
        (b'"type":"finding","severity":"low"', Severity.LOW),
        (b'"type":"finding","severity":"Critical"', Severity.CRITICAL),
        (b'"type":"finding","severity":["x"]', Severity.HIGH),
        (b'"type":"session","event":"refused"', Severity.MEDIUM),
        (b'"type":"log","event":"gap"', Severity.HIGH),
        (b'"type":"what","event":{}', Severity.INFORMATIONAL),
    ],
)  # fmt: skip
def test_severity(body: bytes, wanted: Severity) -> None:
    assert event_of(Chain().seal([body], STAMP)).severity is wanted


def test_sentences_are_one_line_whatever_is_in_the_record() -> None:
    for line in lines():
        event = event_of(line)
        assert exported.ends(event.sentence) == 1
        assert event.sentence
        assert exported.ends(event.line) == 1


def test_what_was_not_sent_has_numbers_and_an_id_that_stays() -> None:
    event = unsent("siem", 10, 19, 2, "2026-11-22T18:00:00.000000Z")
    assert event.body["lost"] == 10
    assert (
        event.id
        == unsent("siem", 10, 19, 2, "2027-01-01T00:00:00.000000Z").id
        != unsent("siem", 10, 20, 2, "").id
    )
    assert "records 10 to 19" in event.sentence
    assert unsent("siem", 0, 0, 1, "").body["lost"] == 0


def test_text_of_others_is_there_as_it_is() -> None:
    assert event_of(lines()[0]).target == HOSTILE
    assert line_id(lines()[0]) == event_of(lines()[0]).id
