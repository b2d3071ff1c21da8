"""What the console shows: every line fits, nothing of others is obeyed, every answer stands beside its call."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard.approvals.words import columns_of
from mcpguard.cli.consoleview import KEPT, Happenings, host_name, session_table, top_line

HOST = {"uid": 1000, "pid": 4711, "grade": "G2", "host": "claude-code", "exe": "/usr/bin/node"}
STATUS = {
    "version": "0.1.0",
    "policy": {"mode": "enforce", "rules": 12},
    "calls": {"allowed": 41, "denied": 3},
    "audit": {"failure": ""},
    "connections": [
        {
            "id": "k3f9", "host": HOST, "server": "files", "pin": "P2 version 3", "revision": "2025-11-25",
            "allowed": 41, "denied": 3, "in_flight": 1,
        },
    ],
}  # fmt: skip
NASTY = "x\x1b[2J\u202ey\n\u0007\U000e0041"
TEXTS = st.text(max_size=90) | st.just(NASTY)


def call(number: int = 1, decision: str = "allow", **others: object) -> dict[str, object]:
    return {
        "at": 0.0, "type": "call", "conn": "k3f9", "host": HOST, "server": "files", "side": "host", "id": number,
        "method": "tools/call", "tool": "read_file", "decision": decision, "rule": "files-read", **others,
    }  # fmt: skip


def outcome(number: int = 1, status: str = "ok", **others: object) -> dict[str, object]:
    return {
        "at": 1.0, "type": "outcome", "conn": "k3f9", "side": "host", "id": number, "status": status,
        "latency_us": 1234, **others,
    }  # fmt: skip


def shown(*records: dict[str, object], width: int = 100) -> list[str]:
    happenings = Happenings()
    happenings.take(list(records))
    return [line.text for line in happenings.call_table(width).lines]


@pytest.fixture(autouse=True)
def _utc(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ([call()], "allow   in flight"),
        ([call(), outcome()], "allow   ok 1.2 ms"),
        ([call(), outcome(status="tool_error")], "allow   tool_error 1.2…"),
        ([call(decision="deny")], "deny    -"),
        ([call(decision="ask")], "ask     -"),
        ([call(decision="deny", binding=False)], "(deny)  in flight"),
        ([call(decision="deny", binding=False), outcome()], "(deny)  ok 1.2 ms"),
        ([call(), outcome(2)], "allow   in flight"),
        ([call(), outcome(side="server")], "allow   in flight"),
        ([call(), outcome(conn="other")], "allow   in flight"),
    ],
)
def test_an_answer_stands_beside_its_call_and_no_other(records, said):
    (line,) = shown(*records)
    assert line.startswith(f"00:00:00 claude-code files      read_file            {said}")
    assert line.endswith("files-read")


def test_other_messages_are_named_by_their_method():
    assert (
        "resources/read file…" in shown(call(method="resources/read", tool=None, target="file:///srv/x"))[0]
    )


def test_the_oldest_are_forgotten_and_their_answers_with_them():
    happenings = Happenings()
    happenings.take([call(number) for number in range(KEPT + 1)])
    happenings.take([outcome(0), outcome(KEPT)])
    lines = [line.text for line in happenings.call_table(100).lines]
    assert len(lines) == KEPT
    assert sum("ok 1.2 ms" in line for line in lines) == 1
    assert "ok 1.2 ms" in lines[-1]


def test_findings_are_what_is_not_as_it_should_be():
    happenings = Happenings()
    assert happenings.findings == 0
    happenings.take(
        [
            call(),
            {
                "at": 0,
                "type": "finding",
                "server": "files",
                "kind": "tools",
                "name": "rm",
                "fault": "is not pinned",
            },
            {
                "at": 0,
                "type": "drop",
                "server": "files",
                "side": "server",
                "reason": "no such id",
                "bytes": 12,
            },
        ]
    )
    table = happenings.finding_table(80)
    assert table.head.split() == ["TIME", "SEVERITY", "SERVER", "WHAT", "WHY"]
    assert [line.text for line in table.lines] == [
        "00:00:00 -        files        tools rm                 is not pinned",
        "00:00:00 -        files        drop server              no such id  12 bytes",
    ]
    assert happenings.findings == 2


def test_what_detectors_found_has_its_severity_as_word_and_colour():
    happenings = Happenings()
    found = {"at": 0, "type": "finding", "event": "detected", "kind": "denied-burst", "name": "x"}
    happenings.take(
        [found | {"severity": "high", "fault": "20 calls", "count": 20, "action": "end", "server": "s"}]
    )
    (line,) = happenings.finding_table(110).lines
    assert line.text == "00:00:00 high     s            denied-burst             20 calls  20 times  -> end"
    assert line.colour == "red"


def test_who_is_kept_out_stands_on_top():
    entry = {"subject": "server:evil\x1b[2J"}
    held = {"entries": [entry], "failure": ""}
    line = top_line(STATUS | {"quarantine": held}, "", 200)
    assert "QUARANTINE: server:evil\\u001b[2J" in line.text
    assert line.colour == "red"
    line = top_line(STATUS | {"quarantine": {"entries": [], "failure": "damaged"}}, "", 200)
    assert "everybody is kept out" in line.text
    assert "QUARANTINE" not in top_line(STATUS, "", 200).text


def test_connections_are_told_by_what_the_kernel_knows():
    table = session_table(STATUS, 80)
    assert table.head.split() == ["HOST", "GRADE", "SERVER", "PIN", "MCP", "ALLOWED", "DENIED", "OPEN", "ID"]
    assert table.lines[0].text.split() == [
        "claude-code", "G2", "files", "P2", "2025-11-25", "41", "3", "1", "k3f9",
    ]  # fmt: skip
    other = {
        **STATUS["connections"][0],
        "pin": "no manifest",
        "revision": "",
        "host": {"exe": "/opt/x/cursor"},
    }
    assert session_table({**STATUS, "connections": [other]}, 80).lines[0].text.split()[:5] == [
        "cursor", "files", "none", "-", "41",
    ]  # fmt: skip
    assert [host_name(one) for one in (None, {}, {"script": "/a/b.js", "exe": "/usr/bin/node"})] == [
        "-",
        "-",
        "b.js",
    ]


@pytest.mark.parametrize(
    ("status", "away", "said"),
    [
        (STATUS, "", "mcpguard 0.1.0  policy enforce, 12 rules  1 connection  41 allowed, 3 denied"),
        (None, "", "asking the daemon"),
        (None, "it is not running", "waiting for the daemon: it is not running"),
        (
            {**STATUS, "audit": {"failure": "disk full"}},
            "",
            "NOTHING IS RECORDED, so nothing passes: disk full",
        ),
    ],
)
def test_the_line_on_top_says_what_matters_most(status, away, said):
    assert top_line(status, away, 80).text == said


def test_where_there_is_nothing_it_says_so():
    for table in (Happenings().call_table(80), Happenings().finding_table(80), session_table(None, 80)):
        assert table.head == ""
        assert len(table.lines) == 1
        assert table.lines[0].text.startswith("no ")


@given(TEXTS, TEXTS, TEXTS, st.integers(20, 200))
def test_no_line_is_too_wide_and_nothing_is_obeyed(one, two, three, width):
    happenings = Happenings()
    happenings.take(
        [
            call(tool=one, server=two, rule=three, host={"host": one}),
            call(2, method=two, tool=None, target=three),
            outcome(2, status=one),
            {"at": 0, "type": "finding", "server": one, "kind": two, "name": three, "fault": one},
        ]
    )
    entry = {
        **STATUS["connections"][0],
        "id": one,
        "server": two,
        "revision": three,
        "host": {"exe": one, "grade": two},
    }
    status = {**STATUS, "connections": [entry]}
    tables = [happenings.call_table(width), happenings.finding_table(width), session_table(status, width)]
    lines = [line.text for table in tables for line in table.lines]
    lines += [table.head for table in tables] + [top_line(None, one, width).text]
    for line in lines:
        assert columns_of(line) <= width
        assert all(char.isprintable() for char in line), line
