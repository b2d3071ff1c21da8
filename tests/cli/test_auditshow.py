"""`mcpguard audit show`: one record and what belongs to it."""

import hashlib
import json

import pytest

from mcpguard.audit import record
from mcpguard.audit.event import event_of
from mcpguard.model import Side, Verdict
from tests.cli.reported import END, HOSTILE, Story, hostile
from tests.cli.test_auditquery import lines, raw, run, state

__all__ = ["state"]


@pytest.fixture
def log(state):
    story = Story(state / "audit", END, segment_bytes=3000)
    start = story.start("claude", "bank", "1-c")
    story.call(start, "balance")
    story.journal.append(
        [record.approval("asked", "k7q2m", start, method="tools/call", target="transfer", rule="pay")]
    )
    story.call(story.start("vscode", "files", "2-c"), "read")
    story.journal.append([record.approval("granted", "k7q2m", start, by="uid:1000")])
    tail = record.approved(
        record.call_tail(Side.HOST, "tools/call", "transfer", Verdict.ALLOW, "pay"), "k7q2m"
    )
    story.journal.append([record.call(start, 50, tail, b"ab" * 16, 99)])
    story.call(start, "balance", Verdict.DENY, "no")
    answer = record.outcome_tail(Side.HOST, "tools/call", "transfer")
    story.journal.append([record.outcome(start, 50, answer, record.OK, 2_000_000, 7)])
    story.journal.append([record.call(start, 51, tail, None, 0)])
    story.close()
    return state / "audit"


def seq_of(log, *words: bytes) -> str:
    (found,) = (line for line in raw(log) if all(word in line for word in words))
    return str(json.loads(found)["seq"])


def test_a_call_in_full_with_outcome_and_ticket(log):
    seq = seq_of(log, b'"call"', b'"id":50')
    shown = lines("show", seq)
    assert "tools/call transfer" in shown[0]
    members = [line.split(None, 1) for line in shown]
    assert ["number", seq] in members
    assert ["tool", "transfer"] in members
    assert ["host", "claude"] in members, "evidence of the host"
    (place,) = (value for name, value in filter(lambda one: len(one) == 2, members) if name == "place")
    path, _, line = place.rpartition(":")
    with open(path, "rb") as file:
        assert file.read().splitlines()[int(line) - 1] == shown[-1].encode() in raw(log)
    outcome = shown[shown.index("its outcome") + 1]
    assert "< tools/call transfer" in outcome
    assert "2000.000 ms" in outcome
    ticket = shown.index("its ticket")
    assert ["approval asked" in shown[ticket + 1], "approval granted" in shown[ticket + 2]] == [True, True]


def test_an_outcome_shows_its_call_and_a_call_without_one_says_so(log):
    shown = lines("show", seq_of(log, b'"outcome"', b'"id":50'))
    assert "tools/call transfer" in shown[shown.index("its call") + 1]
    assert any("approval granted" in line for line in shown)
    assert any("its outcome is not in the log" in line for line in lines("show", seq_of(log, b'"id":51')))
    assert not any(line.startswith("its outcome") for line in lines("show", seq_of(log, b'"deny"')))


def test_neighbours_on_the_connection(log):
    shown = lines("show", seq_of(log, b'"call"', b'"id":50'), "--around", "2")
    near = shown[shown.index("on its connection") + 1 :][:5]
    assert [line[:1] for line in near] == [" ", " ", ">", " ", " "]
    assert not any("2-c" in line for line in near)


def test_by_digest(log):
    line = raw(log)[3] + b"\n"
    digest = hashlib.sha256(line).hexdigest()
    for name in (digest, digest[:8], digest[:15], f"sha256:{digest}", event_of(line).id):
        assert lines("show", name)[-1].encode() == line.rstrip()
    assert json.loads(raw(log)[4])["prev"] == digest
    assert run("show", digest[:-1] + ("0" if digest[-1] != "0" else "1")).exit_code == 1


def test_json(log):
    seq = seq_of(log, b'"call"', b'"id":50')
    told = json.loads(run("show", seq, "--json", "--around", "1").stdout)
    assert told["record"]["seq"] == int(seq)
    assert told["other"]["status"] == "ok"
    assert [one["event"] for one in told["ticket"]] == ["asked", "granted"]
    assert len(told["around"]) == 3
    assert told["sha256"] == hashlib.sha256(raw(log)[int(seq) - 1] + b"\n").hexdigest()


@pytest.mark.parametrize(
    ("name", "code", "sentence"),
    [
        ("9999", 1, "no record 9999 in the log at"),
        ("ffffffffffff", 1, "no record ffffffffffff"),
        ("0", 2, "neither the number of a record nor 8 or more digits"),
        ("abc", 2, "neither"),
        ("1e5", 2, "neither"),
        ("x\x1b", 2, "neither"),
    ],
)
def test_what_is_not_there(log, name, code, sentence):
    told = run("show", name)
    assert (told.exit_code, told.stdout) == (code, "")
    assert sentence in told.stderr
    assert "\x1b" not in told.stderr


def test_a_number_that_is_there_twice(log):
    path = log / "audit-000001.jsonl"
    with path.open("ab") as file:
        file.write(raw(log)[1] + b"\n")
    told = run("show", "2")
    assert "2 records are called 2" in told.stderr
    assert told.stdout.count("\nnumber     2\n") == 2


@pytest.mark.parametrize("more", [[], ["--no-index"]])
def test_hostile_names_steer_no_terminal(state, more):
    hostile(state / "audit")
    for seq in range(2, 2 + 4 * len(HOSTILE)):
        told = run("show", str(seq), "--around", "2", *more)
        assert told.exit_code == 0, told.stderr
        assert all(line.isprintable() for line in told.stdout.splitlines())
    assert run("show", "3", "--json").stdout.rstrip("\n").isprintable()
