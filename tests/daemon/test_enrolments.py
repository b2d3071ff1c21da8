"""The daemon's list of enrolled hosts, on a real disk."""

import json

import msgspec
import pytest

from mcpguard.daemon.enrolments import Enrolments, connected
from mcpguard.errors import TrustError
from mcpguard.identity.enrolment import Recognition, encode_one, propose
from mcpguard.identity.facts import Appraisal, FileFacts, HostFacts, PeerFacts, Program
from mcpguard.model import Grade
from mcpguard.system.hostsfile import HostsFile

WHEN = "2026-11-22T10:00:00Z"


def host(path="/home/u/.local/share/claude/versions/2.1.328", digest="a" * 64):
    return HostFacts(
        shim=PeerFacts(5, 1000, 1000, pinned=True),
        pid=9,
        uid=1000,
        pinned=True,
        alone=True,
        program=Program.NATIVE,
        executable=FileFacts(path, 1, 2, 3, owner=1000, writable=True, digest=digest),
    )


def text(host_name, facts, **changes):
    return encode_one(msgspec.structs.replace(propose(host_name, facts, Grade.G2, WHEN), **changes))


@pytest.fixture
def store(tmp_path):
    return HostsFile(tmp_path / "hosts")


@pytest.fixture
def enrolments(store):
    return Enrolments(store)


def test_nobody_is_recognised_before_somebody_is_enrolled(enrolments):
    assert enrolments.recognise(host(), "ask") == Recognition()
    assert not enrolments.concerns(host())
    assert enrolments.described() == []


def test_a_host_is_enrolled_recognised_and_forgotten(enrolments, store):
    reply = enrolments.trust(text("claude-code", host()), "claude-code")
    assert reply["host"]["executable"]["sha256"] == "a" * 64
    assert enrolments.concerns(host(digest=""))
    assert not enrolments.concerns(host("/usr/bin/zed"))
    assert enrolments.recognise(host(), "ask").name == "claude-code"
    assert json.loads(json.dumps(enrolments.described())) == json.loads(json.dumps([reply["host"]]))
    assert Enrolments(store).recognise(host(), "ask").name == "claude-code"
    assert enrolments.forget("claude-code") == {"forgotten": "claude-code"}
    assert enrolments.recognise(host(), "allow_same_owner") == Recognition()
    assert enrolments.described() == []


def test_an_update_is_asked_about_and_trusted_again(enrolments):
    enrolments.trust(text("claude-code", host()), "claude-code")
    updated = host("/home/u/.local/share/claude/versions/2.1.329", "b" * 64)
    assert "sha256 aaaaaaaaaaaa -> bbbbbbbbbbbb" in enrolments.recognise(updated, "ask").sentence
    assert enrolments.recognise(updated, "ask").name == ""
    enrolments.trust(text("claude-code", updated), "claude-code")
    assert enrolments.recognise(updated, "ask").name == "claude-code"
    assert enrolments.described()[0]["executable"]["previous"] == ("a" * 64,)
    assert enrolments.recognise(host(), "ask").name == ""


def test_an_update_that_policy_lets_pass_is_written_down(enrolments, store):
    enrolments.trust(text("claude-code", host()), "claude-code")
    updated = host(digest="b" * 64)
    assert enrolments.recognise(updated, "allow_same_owner").name == "claude-code"
    assert store.load()[0].executable.sha256 == "b" * 64
    assert enrolments.recognise(updated, "ask").name == "claude-code"


def test_one_program_has_one_name(enrolments):
    enrolments.trust(text("claude-code", host()), "claude-code")
    with pytest.raises(TrustError) as caught:
        enrolments.trust(text("claude", host(digest="b" * 64)), "claude")
    assert "is enrolled as claude-code" in caught.value.message
    assert "mcpguard host forget claude-code" in caught.value.hint
    enrolments.trust(text("claude", host("/opt/other/claude")), "claude")
    assert [entry["name"] for entry in enrolments.described()] == ["claude", "claude-code"]


def test_a_name_may_be_given_to_another_program_without_its_history(enrolments):
    enrolments.trust(text("x", host()), "x")
    enrolments.trust(text("x", host("/opt/other", "c" * 64)), "x")
    assert enrolments.described()[0]["executable"]["previous"] == ()
    assert enrolments.recognise(host(), "allow_same_owner") == Recognition()


@pytest.mark.parametrize(
    ("content", "name", "words"),
    [
        ("", "a", "not strict JSON"),
        (text("a", host()), "b", "the enrolment is of a, not of 'b'"),
        (text("a", host()), "\x1b", "not of '\\x1b'"),
        (text("a", host(), name="A"), "A", "no name for a host"),
        (text("a", host(), grade="G8"), "a", "no grade"),
        (text("a", host()).replace('"writable":true', '"writable":true,"exec":"x"'), "a", "unknown field"),
    ],
)
def test_what_is_no_enrolment_is_refused_and_changes_nothing(enrolments, content, name, words):
    enrolments.trust(text("kept", host("/opt/kept")), "kept")
    with pytest.raises(TrustError) as caught:
        enrolments.trust(content, name)
    assert words in caught.value.message
    assert [entry["name"] for entry in enrolments.described()] == ["kept"]


def test_who_is_not_enrolled_cannot_be_forgotten(enrolments):
    with pytest.raises(TrustError, match=r"no host is enrolled as '\\x1b\[2J'"):
        enrolments.forget("\x1b[2J")


def test_a_damaged_list_refuses_every_question_until_it_is_restored(enrolments, store):
    enrolments.trust(text("a", host()), "a")
    place = store.directory / "enrolled.json"
    good = place.read_bytes()
    place.write_bytes(b"{")
    for ask in (
        lambda: enrolments.recognise(host(), "ask"),
        lambda: enrolments.concerns(host()),
        lambda: enrolments.trust(text("b", host("/opt/b")), "b"),
        lambda: enrolments.forget("a"),
        enrolments.described,
    ):
        with pytest.raises(TrustError, match="cannot be relied on"):
            ask()
    place.write_bytes(good)
    assert enrolments.recognise(host(), "ask").name == "a"


def test_a_connected_host_is_described_with_all_that_is_needed_to_enrol_it():
    facts = host()
    told = connected("c1", "files", facts, Appraisal(Grade.G2, ("why",)), Recognition("x", "bear in mind"))
    told = msgspec.json.decode(msgspec.json.encode(told))
    assert (told["id"], told["server"], told["pid"], told["grade"]) == ("c1", "files", 9, "G2")
    assert (told["reasons"], told["host"], told["sentence"]) == (["why"], "x", "bear in mind")
    assert msgspec.convert(told["facts"], HostFacts) == facts


def test_paths_that_are_no_text_do_not_break_the_reply():
    told = connected("c1", "s", host("/tmp/\udcff"), Appraisal(Grade.G0, ()), Recognition())
    assert msgspec.json.decode(msgspec.json.encode(told))["facts"]["executable"]["path"] == "/tmp/\\udcff"
