"""Asking the index: what it names is what a look at every record names."""

import hashlib
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpguard.audit import facets, record
from mcpguard.audit.filters import Filter, Matcher
from mcpguard.audit.record import parse_line
from mcpguard.model import Verdict
from mcpguard.system import logindex
from mcpguard.system.logindex import Index, known_names
from mcpguard.system.logplaces import Lines, place_of
from tests.cli.reported import END, HOSTILE, Story


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    root = tmp_path_factory.mktemp("log")
    story = Story(root / "audit", END, segment_bytes=5000)
    for number in range(80):
        story.now += 10**9
        start = story.start(
            f"host-{number % 3}", f"server-{number % 2}", f"{number % 5}-c", enrolled=number % 4 > 0
        )
        verdict = Verdict.DENY if number % 6 == 0 else Verdict.ALLOW
        story.call(
            start, HOSTILE[number % len(HOSTILE)] if number % 10 == 0 else f"tool-{number % 7}", verdict
        )
    story.journal.append([record.log("gap", lost=3)])
    story.close()
    with Index(root / "audit", root / "index") as index:
        index.read(index.work())
    return root


def asked(log, wanted: Filter, **more) -> list[int]:
    with Index(log / "audit", log / "index") as index:
        return list(index.find(wanted, **more).places)


def looked(log, wanted: Filter) -> list[int]:
    matcher, found, lines = Matcher(wanted), [], Lines(log / "audit")
    for place in asked(log, Filter()):
        line = lines.line(place)
        one = parse_line(line)
        if matcher.matches(one.time, facets.of(one)):
            found.append(place)
    lines.close()
    return found


NAMES = {
    "hosts": ["host-0", "host-*", "(host-1)", "*", "none"],
    "servers": ["server-1", "server-?", "none"],
    "tools": ["tool-3", "tool-*", "<*", "none", "*"],
    "decisions": ["allow", "deny", "ok", "lost"],
    "types": ["call", "outcome", "log", "new"],
    "principals": ["uid:1000", "uid:7", "host:host-1", "host:*"],
    "conns": ["1-c", "?-c", "none"],
}
TIMES = [f"2026-11-23T00:0{minute}:{second}.000000Z" for minute in (0, 1, 2) for second in ("00", "30")]


@settings(max_examples=150)
@given(
    st.fixed_dictionaries({}, optional={
        **{name: st.lists(st.sampled_from(values), max_size=2).map(tuple) for name, values in NAMES.items()},
        "since": st.sampled_from(TIMES), "until": st.sampled_from(TIMES),
    })
)  # fmt: skip
def test_index_and_look_agree(log, members):
    wanted = Filter(**members)
    found, seen = asked(log, wanted), looked(log, wanted)
    if wanted.until:
        assert set(seen) <= set(found), "a millisecond more is looked at"
    else:
        assert found == seen


def test_pages_in_both_orders(log):
    everything = asked(log, Filter())
    assert len(everything) > 150
    for newest in (False, True):
        order = everything[::-1] if newest else everything
        after, found = -1, []
        while page := asked(log, Filter(), after=after, newest=newest, most=17):
            found += page
            after = page[-1]
        assert found == order


def test_more_names_than_a_question_takes(log, monkeypatch):
    monkeypatch.setattr(logindex, "_CHOICES", 2)
    wanted = Filter(tools=("*",), hosts=("host-0",))
    assert set(looked(log, wanted)) <= set(asked(log, wanted))


def test_by_number_and_by_digest(log):
    with Index(log / "audit", log / "index") as index:
        (place,) = index.by_seq(17).places
        lines = Lines(log / "audit")
        digest = hashlib.sha256(lines.line(place)).hexdigest()
        lines.close()
        for start in (digest[:8], digest[:12], digest[:13], digest):
            assert list(index.by_digest(start).places) == [place]
        assert not index.by_seq(10**6).places
        assert not index.by_digest("0" * 64).places


def test_neighbours_on_a_connection(log):
    with Index(log / "audit", log / "index") as index:
        own = list(index.find(Filter(conns=("2-c",))).places)
        assert list(index.around(own[5], "2-c", 2).places) == own[3:8]
        assert list(index.around(own[0], "2-c", 2).places) == own[:3]
        assert list(index.around(own[-1], "2-c", 1).places) == own[-2:]
        assert list(index.around(own[0], "nobody", 2).places) == own[:1]


def test_flaws(tmp_path):
    log = tmp_path / "audit"
    story = Story(log, END, segment_bytes=1500)
    for _ in range(5):
        story.call(story.start("h", "s", "c"), "t")
    story.close()
    first, last = log / "audit-000001.jsonl", max(log.glob("*.jsonl"))
    end = first.read_bytes().rindex(b"\n", 0, -1) + 1
    os.truncate(first, end + 10)
    with last.open("ab") as file:
        file.write(b'{"v":1')
    os.utime(last, ns=(1, 1))
    with Index(log, None) as index:
        index.read(index.work())
        assert index.flaws() == (1, place_of(1, end), last.name)
    os.utime(last)
    with Index(log, None) as index:
        index.read(index.work())
        assert index.flaws().torn == "", "somebody may be writing it"


def test_names_for_completion(log, tmp_path):
    assert known_names(log / "audit", log / "index", "server") == ["server-0", "server-1"]
    assert known_names(log / "audit", tmp_path, "server") == []
    with Index(log / "audit", log / "index"):
        assert known_names(log / "audit", log / "index", "server") == [], "somebody else has it"
