"""Formats by name: each is one line, and JSON gives back the bytes that the chain holds."""

import hashlib
import json

import pytest

from mcpguard.audit.event import event_of
from mcpguard.audit.formats import FORMATS, as_json
from tests.audit.exported import ends, lines


@pytest.mark.parametrize("name", FORMATS)
def test_every_record_is_one_line(name: str) -> None:
    for line in lines():
        assert ends(FORMATS[name](event_of(line), "box")) == 1


def test_json_is_the_line_with_two_members_in_front() -> None:
    for line in lines()[:-2]:
        text = as_json(event_of(line))
        found = json.loads(text)
        again = "{" + text.partition(f'"severity":"{found["severity"]}",')[2] + "\n"
        assert hashlib.sha256(again.encode()).hexdigest()[:32] == found["event_id"]
        assert again.encode() == line


def test_json_of_a_line_that_is_no_record_says_so() -> None:
    found = json.loads(as_json(event_of(lines()[-1])))
    assert found["type"] == "unreadable"
    assert found["problem"] == "a record of another version of the log"
