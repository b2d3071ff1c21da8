import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard import limits, model
from mcpguard.audit import record
from mcpguard.audit.chain import Chain
from mcpguard.errors import JournalError
from mcpguard.model import Side, Verdict

STAMP = b'"t":"2026-11-22T18:00:00.123456Z","boot":"%b",' % (b"0f" * 16)
START = record.prefix("k3f9", {"uid": 1000, "pid": 42, "grade": "G1"}, "files")
TAIL = record.call_tail(Side.HOST, "tools/call", "read_file", Verdict.ALLOW, "files-read")
ANSWER = record.outcome_tail(Side.HOST, "tools/call", "read_file")
WHO = {"conn": "k3f9", "host": {"uid": 1000, "pid": 42, "grade": "G1"}, "server": "files"}
WHAT = {"id": 17, "side": "host", "method": "tools/call", "tool": "read_file"}

BODIES = [
    (
        record.call(START, 17, TAIL, b"ab" * 16, 21),
        {
            "type": "call",
            **WHO,
            **WHAT,
            "decision": "allow",
            "rule": "files-read",
            "args": {"digest": "ab" * 16, "size": 21},
        },
    ),
    (
        record.call(START, 17, TAIL, None, 0),
        {"type": "call", **WHO, **WHAT, "decision": "allow", "rule": "files-read", "args": {"size": 0}},
    ),
    (
        record.call(
            START, 3, record.call_tail(Side.SERVER, "ping", None, Verdict.DENY, "r", binding=False), None, 0
        ),
        {
            "type": "call",
            **WHO,
            "id": 3,
            "side": "server",
            "method": "ping",
            "decision": "deny",
            "binding": False,
            "rule": "r",
            "args": {"size": 0},
        },
    ),
    (
        record.outcome(START, 17, ANSWER, record.TOOL_ERROR, 1234, 99),
        {"type": "outcome", **WHO, **WHAT, "status": "tool_error", "latency_us": 1234, "size": 99},
    ),
    (
        record.drop(START, Side.SERVER, "no such id", 12),
        {"type": "drop", **WHO, "side": "server", "reason": "no such id", "bytes": 12},
    ),
    (
        record.finding(START, "tools", "read_\u202efile", "differs", "ab" * 32, ""),
        {
            "type": "finding",
            **WHO,
            "kind": "tools",
            "name": "read_\u202efile",
            "fault": "differs",
            "pinned": "ab" * 32,
            "seen": "",
        },
    ),
    (
        record.session(START, "end", code=0, calls=3),
        {"type": "session", **WHO, "event": "end", "code": 0, "calls": 3},
    ),
    (record.session(START, "ready"), {"type": "session", **WHO, "event": "ready"}),
    (
        record.policy("", "sha256:1", "/p.toml", rules=2),
        {"type": "policy", "event": "applied", "old": "", "new": "sha256:1", "source": "/p.toml", "rules": 2},
    ),
    (record.trust("start", clock="a\n"), {"type": "trust", "event": "start", "clock": "a\n"}),
    (
        record.host("enrolled", "code", grade="G2"),
        {"type": "host", "event": "enrolled", "name": "code", "grade": "G2"},
    ),
    (record.log("gap", lost=7), {"type": "log", "event": "gap", "lost": 7}),
]


def sealed(body: bytes) -> bytes:
    return Chain().seal([body], STAMP)


@pytest.mark.parametrize(("body", "expected"), BODIES)
def test_every_type_is_written_as_json_and_read_back(body, expected):
    line = sealed(body)
    found = record.parse_line(line)
    assert found == record.Record(
        1, "0" * 64, "2026-11-22T18:00:00.123456Z", "0f" * 16, expected["type"], expected
    )
    assert list(json.loads(line)) == ["v", "seq", "prev", "t", "boot", *expected]


@pytest.mark.parametrize(
    "hostile",
    [
        "\x1b[2J",
        "a\nb",
        "\u2028",
        "\u0085",
        "\u202e",
        "\u200b",
        "\x7f",
        "\ufe0f",
        "\u3164",
        "\U000e0041",
        '"',
        "\\",
        "\udc80",
    ],
)
def test_text_of_others_is_kept_and_steers_no_terminal(hostile):
    tail = record.call_tail(Side.HOST, "tools/call", f"x{hostile}y", Verdict.DENY, "r")
    line = sealed(record.call(START, 1, tail, None, 0))
    raw = line.decode()
    assert raw.count("\n") == 1
    assert raw[:-1].isprintable()
    kept = record.parse_line(line).body["tool"]
    assert kept == ("x\\udc80y" if hostile == "\udc80" else f"x{hostile}y")
    shown = record.visible(kept)
    assert shown.isprintable()
    assert not model._INVISIBLE.search(shown)


def test_visible_cannot_be_forged_and_leaves_letters_alone():
    assert record.visible("\u202e") == "\\u202e"
    assert record.visible("\\u202e") == "\\\\u202e"
    assert record.visible("größe 日本 ok") == "größe 日本 ok"
    assert record.visible("\U000e0041") == "\\udb40\\udc41"


@given(st.text(), st.text(), st.text(), st.text(), st.integers(0, 2**53), st.integers(0, 2**40))
def test_any_text_gives_one_readable_line(method, tool, rule, server, ident, size):
    start = record.prefix("c", {"exe": tool, "argv": [method]}, server)
    body = record.call(start, ident, record.call_tail(Side.HOST, method, tool, Verdict.ASK, rule), None, size)
    found = record.parse_line(sealed(body)).body
    about = "tool" if method == "tools/call" else "target"
    for name, value in (("method", method), (about, tool), ("rule", rule), ("server", server)):
        assert found[name] == record.cut(value)


def test_the_longest_texts_stay_within_a_record():
    worst = "\U000e0041" * 10_000
    start = record.prefix(worst, {worst: [worst] * 1000}, worst)
    body = record.call(
        start, 2**53, record.call_tail(Side.HOST, worst, worst, Verdict.DENY, worst), b"0" * 32, 2**53
    )
    assert len(sealed(body)) <= limits.RECORD_BYTES
    assert len(sealed(record.finding(start, worst, worst, worst, worst, worst))) <= limits.RECORD_BYTES
    assert len(sealed(record.session(start, "begin", command=[worst] * 10_000))) <= limits.RECORD_BYTES
    found = record.parse_line(sealed(body)).body
    assert found["target"].endswith("…(+9488)")


def test_a_long_argument_list_keeps_its_beginning():
    found = record.parse_line(
        sealed(record.session(START, "begin", command=["npx"] + ["x" * 90] * 3000))
    ).body
    assert found["command"][0] == "npx"
    assert "…(+" in found["command"][-1]


def test_evidence_that_cannot_be_cut_small_enough_is_left_out_and_says_so():
    start = record.prefix("c", {str(n): n for n in range(5000)}, "s")
    assert record.parse_line(sealed(record.drop(start, Side.HOST, "r", 1))).body["host"] == {"cut": True}


@pytest.mark.parametrize("name", ["seq", "prev", "v", "t", "boot", "type", "event", "conn"])
def test_a_member_is_never_written_twice(name):
    members = {name: 1}
    with pytest.raises((ValueError, TypeError)):
        record.session(START, "begin", **members)


def test_digest_depends_on_key_and_data():
    assert record.digest(record.keyed(b"k" * 32), b"{}") == record.digest(record.keyed(b"k" * 32), b"{}")
    assert record.digest(record.keyed(b"k" * 32), b"{}") != record.digest(record.keyed(b"j" * 32), b"{}")
    assert record.digest(record.keyed(b"k" * 32), b"{}") != record.digest(record.keyed(b"k" * 32), b"[]")
    assert len(record.digest(record.keyed(b"k" * 32), b"")) == 2 * record.DIGEST_BYTES


HEAD = b'{"v":1,"seq":1,"prev":"%b",%b' % (b"0" * 64, STAMP)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"", "not JSON"),
        (b"hello\n", "not JSON"),
        (b"\xff\n", "not JSON"),
        (b"{}\n", "not a record"),
        (b"[1]\n", "not a record"),
        (HEAD.replace(b'"v":1', b'"v":3') + b'"type":"log"}\n', "another version"),
        (HEAD.replace(b'"v":1', b'"v":2') + b'"type":"log"}\n', "no seal"),
        (HEAD.replace(b'"v":1', b'"v":2') + b'"type":"log","mac":"%b"}\n' % (b"A" * 64), "no seal"),
        (HEAD + b'"type":"log","mac":"%b"}\n' % (b"a" * 64), "repeats a member"),
        (HEAD + b'"type":"log"\n', "not JSON"),
        (HEAD + b'"type":"l\xffg"}\n', "not JSON"),
        (HEAD + b'"x":' + b"[" * 5000 + b"\n", "not JSON"),
        (HEAD + b'"type":1}\n', "no type"),
        (HEAD + b'"x":1}\n', "no type"),
        (HEAD + b'"type":"log","seq":2}\n', "repeats a member"),
        (HEAD.replace(b'"seq":1', b'"seq":01') + b'"type":"log"}\n', "not JSON"),
        (HEAD.replace(b'"seq":1', b'"seq":1.0') + b'"type":"log"}\n', "not a record"),
        (HEAD.replace(b"Z", b"") + b'"type":"log"}\n', "not a record"),
        (b" " + HEAD + b'"type":"log"}\n', "not a record"),
    ],
)
def test_what_is_no_record_is_refused_with_a_reason(line, says):
    with pytest.raises(JournalError, match=says):
        record.parse_line(line)


@given(st.binary())
def test_any_bytes_give_a_record_or_a_journal_error(data):
    for line in (data, HEAD + data):
        try:
            record.parse_line(line)
        except JournalError:
            continue


def test_harmless_is_the_same_json():
    line = msgspec.json.encode({"a": "\u202e\x9b", "b": "größe"}) + b"\n"
    shown = record.harmless(line)
    assert shown.isprintable()
    assert json.loads(shown) == json.loads(line)


def test_cost_of_a_call(benchmark):
    benchmark(record.call, START, 17, TAIL, b"ab" * 16, 21)


def test_cost_of_an_outcome(benchmark):
    benchmark(record.outcome, START, 17, ANSWER, record.OK, 1234, 99)


def test_cost_of_a_digest(benchmark):
    benchmark(record.digest, record.keyed(b"k" * 32), b"x" * 100)
