"""Entries of journald: values keep every byte, and none begins a field."""

import pytest

from mcpguard.audit.event import event_of
from mcpguard.audit.native import MESSAGE_ID, entry
from tests.audit.exported import HOSTILE, ends, lines, read_native


@pytest.mark.parametrize("line", lines())
def test_every_record_is_one_entry(line: bytes) -> None:
    event = event_of(line)
    fields = read_native(entry(event))
    assert fields["MCPGUARD_EVENT_ID"].decode() == event.id
    assert fields["MESSAGE_ID"].decode() == MESSAGE_ID
    assert fields["PRIORITY"] in (b"2", b"3", b"4", b"5", b"6")
    assert ends(fields["MESSAGE"].decode()) == 1


def test_values_keep_every_byte() -> None:
    forged = "x\nPRIORITY=0\nMCPGUARD_WORD=allow"
    assert read_native(entry(event_of(lines()[0])))["MCPGUARD_TARGET"].decode() == HOSTILE
    fields = read_native(entry(event_of(lines(forged)[0])))
    assert fields["MCPGUARD_TARGET"].decode() == forged
    assert (fields["PRIORITY"], fields["MCPGUARD_WORD"]) == (b"4", b"deny")
