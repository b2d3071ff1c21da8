"""The outbox: records first, and what may still be sent when they could not be written."""

from mcpguard.gate.commands import Append, Close, Finding, Later, LookAgain, Noticed, Write
from mcpguard.gate.outbox import Outbox
from mcpguard.model import Side

FOUND = Finding("tools", "read_file", "differs")


def filled():
    out = Outbox()
    out.to_server.append(b"free\n")
    out.guard(Side.SERVER, 2, b"call\n")
    out.to_host.append(b"answer\n")
    out.guard(Side.HOST, 1, b"ask\n")
    out.to_server.append(b"free too\n")
    out.records.append(b"r")
    out.later.append(b"l")
    out.noticed += (FOUND,)
    out.closing = "over"
    out.durable = True
    return out


def test_nothing_leads_to_nothing():
    assert Outbox().commands() == []


def test_records_come_before_lines_and_the_close_comes_last():
    assert filled().commands() == [
        Append([b"r"], durable=True),
        Write(Side.SERVER, b"free\ncall\nfree too\n"),
        Write(Side.HOST, b"answer\nask\n"),
        Later([b"l"]),
        Noticed((FOUND,)),
        Close("over"),
    ]


def test_the_host_is_looked_at_before_anything_else():
    out = filled()
    out.recheck = True
    assert out.commands()[0] == LookAgain()
    assert out.unrecorded()[1].recheck is False


def test_unrecorded_calls_are_named_and_everything_else_may_still_be_sent():
    calls, rest = filled().unrecorded()
    assert calls == [(Side.SERVER, 2), (Side.HOST, 1)]
    assert rest.commands() == [
        Write(Side.SERVER, b"free\nfree too\n"),
        Write(Side.HOST, b"answer\n"),
        Close("over"),
    ]


def test_rest_of_an_unrecorded_outbox_guards_nothing():
    _, rest = filled().unrecorded()
    assert rest.unrecorded()[0] == []
