"""Events are values with their time in them; the gate reads no clock."""

import pytest

from mcpguard.gate.events import (
    BytesReceived,
    NotRecorded,
    PinsChanged,
    PolicyChanged,
    StillWaiting,
    StreamEnded,
    TicketSettled,
)
from mcpguard.identity.definitions import DefinitionPins
from mcpguard.model import Side
from tests.gate.playbook import snapshot

EVENTS = [
    BytesReceived(Side.HOST, b"a", 5),
    StreamEnded(Side.SERVER, 5),
    PolicyChanged(snapshot(None), 5),
    PinsChanged(DefinitionPins(), 5),
    NotRecorded("full", 5),
    TicketSettled("a1", granted=False, sentence="no", word="denied", by="me", now=5),
    StillWaiting(5),
]


@pytest.mark.parametrize("event", EVENTS)
def test_every_event_carries_its_time_and_cannot_be_changed(event):
    assert event.now == 5
    with pytest.raises(AttributeError):
        event.now = 6
