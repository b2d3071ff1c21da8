"""A sink in one line."""

from mcpguard.cli.sinkwords import in_a_line, utc

SINK = {
    "name": "s",
    "kind": "syslog",
    "to": "udp://x:1",
    "sent": 3,
    "sent_at": 0.0,
    "waiting": -1,
    "error": "",
    "gaps": 0,
}


def test_in_a_line() -> None:
    assert in_a_line(SINK) == "s  syslog udp://x:1  3 events sent, last never; ? records wait"
    failing = in_a_line({**SINK, "gaps": 2, "waiting": 4, "error": "bad\x1b[31m"})
    assert failing.endswith("3 events sent, 2 gaps, last never; 4 records wait; failing: bad\\u001b[31m")
    assert utc(0.5) == "1970-01-01T00:00:00.500000Z"
