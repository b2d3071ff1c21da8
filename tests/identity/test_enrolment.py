"""Enrolled hosts: who is recognised, who is not, and what a person is told of the difference."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard import limits
from mcpguard.errors import TrustError
from mcpguard.identity.enrolment import (
    Enrolled,
    EnrolledFile,
    Recognition,
    check,
    concerns,
    decode,
    decode_one,
    encode,
    encode_one,
    is_name,
    propose,
    recognise,
    recognise_among,
    succeed,
)
from mcpguard.identity.facts import FileFacts, HostFacts, PeerFacts, Program
from mcpguard.model import Grade

A, B, C = "a" * 64, "b" * 64, "c" * 64
WHEN = "2026-11-22T10:00:00Z"
CLAUDE = FileFacts(
    "/home/u/.local/share/claude/versions/2.1.328", 1, 2, 3, owner=1000, writable=True, digest=A
)
HOST = HostFacts(
    shim=PeerFacts(5, 1000, 1000, pinned=True),
    pid=9,
    uid=1000,
    pinned=True,
    alone=True,
    program=Program.NATIVE,
    executable=CLAUDE,
)
NODE = FileFacts("/usr/bin/node", 1, 2, 3, owner=0, writable=False, digest=B)
SCRIPT = FileFacts("/home/u/gemini/bundle/gemini.js", 1, 2, 3, owner=1000, writable=True, digest=C)
GEMINI = msgspec.structs.replace(HOST, program=Program.INTERPRETER, executable=NODE, script=SCRIPT)


def of(facts=HOST, name="claude-code", **options):
    return propose(name, facts, Grade.G2, WHEN, **options)


def but(facts=HOST, *, exe=None, script=None, **changes):
    """The host, with other facts about it or about its files."""
    if exe:
        changes["executable"] = msgspec.structs.replace(facts.executable, **exe)
    if script:
        changes["script"] = msgspec.structs.replace(facts.script, **script)
    return msgspec.structs.replace(facts, **changes)


# --- to recognise ---------------------------------------------------------------------------------------


def test_a_host_is_proposed_by_pattern_owner_and_digest():
    assert of() == Enrolled(
        name="claude-code",
        executable=EnrolledFile("/home/u/.local/share/claude/versions/*", 1000, A, writable=True),
        grade="G2",
        enrolled_at=WHEN,
    )


@pytest.mark.parametrize("on_update", ["ask", "allow_same_owner", "", "nonsense"])
def test_the_enrolled_host_is_recognised(on_update):
    assert recognise(HOST, of(), on_update) == Recognition("claude-code")


@pytest.mark.parametrize(
    "facts",
    [
        but(exe={"path": "/usr/bin/evil"}),
        but(exe={"path": f"{CLAUDE.path}/x"}),
        but(executable=None),
        HostFacts(shim=HOST.shim),
    ],
)
def test_another_program_is_nobody_and_nothing_is_said(facts):
    assert recognise(facts, of(), "allow_same_owner") == Recognition()
    assert not concerns(facts, of())


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (but(pinned=False), "no handle on its process"),
        (but(alone=False), "another namespace"),
        (but(program=None), "nothing that can be told"),
        (but(program=Program.SHELL), "a shell"),
        (but(program=Program.LOADER), "a loader"),
        (but(program=Program.INTERPRETER), "no script is known"),
        (but(exe={"lasting": False}), "not a file that lasts"),
        (but(exe={"owner": 0}), "belongs to uid 0, and belonged to uid 1000"),
        (but(exe={"owner": 1001}), "belongs to uid 1001, and belonged to uid 1000"),
        (but(exe={"digest": "", "doubt": "it is being written to"}), "no digest of its executable was taken (it is"),
        (but(exe={"deleted": True, "digest": B}), "replaced while it ran"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("on_update", ["ask", "allow_same_owner"])
def test_the_enrolled_program_is_not_recognised_in_doubt(facts, words, on_update):
    found = recognise(facts, of(), on_update)
    assert (found.name, found.updated) == ("", None)
    assert found.sentence.startswith("host claude-code is not recognised: ")
    assert words in found.sentence


def test_what_a_process_says_of_itself_changes_nothing():
    liar = but(
        name="claude", chain=("/x/claude",), cgroup="/claude", injected=(), exe={"path": "/usr/bin/evil"}
    )
    assert recognise(liar, of(), "allow_same_owner") == Recognition()
    other = but(name="evil", cgroup="/evil", pid=77, instance=5, chain=("/bin/evil",))
    assert recognise(other, of(), "ask").name == "claude-code"


UPDATED = but(exe={"path": "/home/u/.local/share/claude/versions/2.1.329", "digest": B})


@pytest.mark.parametrize("on_update", ["ask", "", "nonsense"])
def test_an_updated_host_asks_with_both_digests(on_update):
    found = recognise(UPDATED, of(), on_update)
    assert (found.name, found.updated, found.old, found.new) == ("", None, A, B)
    assert found.sentence == (
        "host claude-code is not recognised: its executable changed, sha256 aaaaaaaaaaaa -> bbbbbbbbbbbb; "
        "if you wanted that: mcpguard host trust claude-code"
    )


def test_an_updated_host_of_the_same_owner_is_recognised_where_policy_says_so():
    found = recognise(UPDATED, of(), "allow_same_owner")
    assert (found.name, found.old, found.new) == ("claude-code", A, B)
    assert "aaaaaaaaaaaa -> bbbbbbbbbbbb; its owner is the same" in found.sentence
    assert found.updated.executable == EnrolledFile(
        "/home/u/.local/share/claude/versions/*", 1000, B, writable=True, previous=(A,)
    )
    assert recognise(UPDATED, found.updated, "ask") == Recognition("claude-code")


def test_the_same_owner_is_not_enough_if_more_can_write_to_it():
    rooted = but(exe={"owner": 0, "writable": False})
    assert recognise(but(rooted, exe={"digest": B}), of(rooted), "allow_same_owner").name
    found = recognise(but(rooted, exe={"digest": B, "writable": True}), of(rooted), "allow_same_owner")
    assert (found.name, found.old, found.new) == ("", A, B)
    assert "others than root can write to it now" in found.sentence
    assert found.sentence.endswith("mcpguard host trust claude-code")


def test_a_former_release_counts_only_while_it_runs_from_a_replaced_file():
    updated = recognise(UPDATED, of(), "allow_same_owner").updated
    running = but(exe={"deleted": True})
    found = recognise(running, updated, "ask")
    assert (found.name, found.updated) == ("claude-code", None)
    assert "former release of its executable, which was replaced" in found.sentence
    put_back = recognise(HOST, updated, "ask")
    assert (put_back.name, put_back.old, put_back.new) == ("", B, A)
    assert "changed (a former release)" in put_back.sentence
    assert recognise(HOST, updated, "allow_same_owner").name == "claude-code"
    assert recognise(HOST, updated, "allow_same_owner").updated is None


def test_a_replaced_file_of_the_release_in_force_is_recognised():
    running = but(exe={"deleted": True})
    assert recognise(running, of(), "ask") == Recognition("claude-code")


def test_a_file_named_as_if_it_were_deleted_is_another_file():
    plain = but(exe={"path": "/usr/bin/claude"})
    assert recognise(but(plain, exe={"path": "/usr/bin/claude (deleted)"}), of(plain), "ask") == Recognition()


def test_former_digests_are_bounded_and_latest_first():
    enrolled = of()
    for number in range(limits.FORMER_DIGESTS + 3):
        digest = f"{number:064x}"
        enrolled = recognise(but(exe={"digest": digest}), enrolled, "allow_same_owner").updated
    assert len(enrolled.executable.previous) == limits.FORMER_DIGESTS
    assert enrolled.executable.previous[0] == f"{limits.FORMER_DIGESTS + 1:064x}"
    check(enrolled)


# --- scripts --------------------------------------------------------------------------------------------


def test_a_host_behind_an_interpreter_is_its_script_and_weak():
    enrolled = of(GEMINI, "gemini")
    assert enrolled.script == EnrolledFile(SCRIPT.path, 1000, C, writable=True)
    found = recognise(GEMINI, enrolled, "ask")
    assert found.name == "gemini"
    assert "by interpreter and script only, which is weak" in found.sentence


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (but(GEMINI, script={"path": "/tmp/evil.js"}), ""),
        (msgspec.structs.replace(GEMINI, script=None), ""),
        (but(GEMINI, script={"digest": A}), "its script changed, sha256 cccccccccccc -> aaaaaaaaaaaa"),
        (but(GEMINI, script={"digest": ""}), "no digest of its script"),
        (but(GEMINI, script={"owner": 7}), "its script belongs to uid 7"),
        (but(GEMINI, exe={"digest": A}), "its executable changed"),
        (but(GEMINI, exe={"path": "/home/u/node"}), ""),
    ],
)
def test_another_script_or_interpreter_is_another_host(facts, words):
    found = recognise(facts, of(GEMINI, "gemini"), "ask")
    assert found.name == ""
    assert words in found.sentence
    assert bool(words) is bool(found.sentence)


def test_an_updated_script_is_recognised_where_policy_says_so():
    found = recognise(
        but(GEMINI, script={"digest": A}, exe={"digest": C}), of(GEMINI, "gemini"), "allow_same_owner"
    )
    assert found.name == "gemini"
    assert (found.updated.script.sha256, found.updated.script.previous) == (A, (C,))
    assert (found.updated.executable.sha256, found.updated.executable.previous) == (C, (B,))


def test_an_interpreter_is_not_recognised_without_a_script():
    bare = msgspec.structs.replace(of(GEMINI, "node"), script=None)
    assert recognise(GEMINI, bare, "allow_same_owner").name == ""


# --- units, labels, signatures --------------------------------------------------------------------------


def test_a_unit_is_asked_for_only_if_a_person_wants_it():
    inside = but(unit="app-code-77.scope")
    assert of(inside).unit == ""
    enrolled = of(inside, unit="app-code-*.scope")
    assert recognise(but(unit="app-code-9.scope"), enrolled, "ask").name
    for elsewhere in ("", "vte-1.scope"):
        found = recognise(but(unit=elsewhere), enrolled, "ask")
        assert found.sentence == "host claude-code is not recognised: it is not in the unit app-code-*.scope"


def test_an_enforced_label_belongs_to_the_host_and_another_one_does_not():
    assert of(but(label="unconfined")).label == ""
    enrolled = of(but(label="snap.code.code", confined=True))
    assert enrolled.label == "snap.code.code"
    assert recognise(but(label="snap.code.code", confined=True), enrolled, "ask").name
    assert "does not have the label" in recognise(HOST, enrolled, "ask").sentence


def test_a_signature_belongs_to_the_host():
    signed = but(team="Q6L2SF6YDW", signing="com.anthropic.claude-code")
    enrolled = of(signed)
    assert recognise(signed, enrolled, "ask").name
    for changes in ({"team": ""}, {"team": "EVIL"}, {"signing": "com.evil"}):
        assert "is not signed by" in recognise(but(signed, **changes), enrolled, "allow_same_owner").sentence


# --- among several --------------------------------------------------------------------------------------


def test_the_enrolment_that_asks_for_most_is_named():
    inside = but(unit="app-code-7.scope")
    hosts = [of(inside, "any"), of(inside, "in-unit", unit="app-*")]
    assert recognise_among(inside, hosts, "ask").name == "in-unit"
    assert recognise_among(HOST, hosts, "ask").name == "any"
    assert recognise_among(HOST, [], "ask") == Recognition()


def test_an_unchanged_host_goes_before_a_changed_one_and_the_nearest_is_told():
    changed, same = of(UPDATED, "a"), of(HOST, "b")
    assert recognise_among(HOST, [changed, same], "allow_same_owner").name == "b"
    assert recognise_among(HOST, [changed], "allow_same_owner").name == "a"
    other = of(but(exe={"path": "/opt/other"}), "0")
    assert "host a is not recognised" in recognise_among(HOST, [other, changed], "ask").sentence


# --- to enrol -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (but(executable=None), "nothing is known"),
        (
            but(exe={"digest": "", "doubt": "it is larger than 512 MiB"}),
            "was taken (it is larger than 512 MiB)",
        ),
        (but(exe={"path": "/tmp/*/claude"}), "holds a star"),
        (but(exe={"path": "/tmp/\x1b/claude"}), "visible characters"),
        (but(exe={"path": "/tmp/\udcff"}), "visible characters"),
        (but(exe={"path": "memfd:claude"}), "absolute path"),
        (but(exe={"lasting": False}), "not a file that lasts"),
        (but(program=Program.SHELL), "a shell"),
        (but(program=None), "nothing that can be told"),
        (but(pinned=False), "no handle"),
        (but(alone=False), "another namespace"),
        (but(GEMINI, script={"digest": ""}), "no digest of its script"),
        (msgspec.structs.replace(GEMINI, script=None), "no script is known"),
    ],
)
def test_what_could_not_be_recognised_again_is_not_enrolled(facts, words):
    with pytest.raises(TrustError) as caught:
        of(facts)
    assert words in caught.value.sentence()
    assert caught.value.hint


def test_a_file_beyond_the_users_reach_may_go_without_a_digest():
    rooted = but(exe={"path": "/usr/bin/zed", "owner": 0, "writable": False, "digest": ""})
    enrolled = of(rooted, "zed")
    found = recognise(rooted, enrolled, "ask")
    assert (found.name, found.sentence) == ("zed", "its executable is known by path and owner only")
    opened = recognise(but(rooted, exe={"writable": True, "digest": A}), enrolled, "allow_same_owner")
    assert opened.name == ""
    assert "can be changed by others than root now" in opened.sentence


def test_a_new_enrolment_of_the_same_program_remembers_the_release_before():
    new = succeed(of(), of(UPDATED))
    assert (new.executable.sha256, new.executable.previous) == (B, (A,))
    again = succeed(new, of(HOST))
    assert (again.executable.sha256, again.executable.previous) == (A, (B,))
    assert succeed(of(), of()) == of()
    elsewhere = of(but(exe={"path": "/opt/other", "digest": B}))
    assert succeed(of(), elsewhere) == elsewhere
    both = succeed(of(GEMINI), of(but(GEMINI, script={"digest": A})))
    assert (both.script.previous, both.executable.previous) == ((C,), ())


def test_the_same_program_is_known_under_any_name_and_release():
    assert of().same_program(of(UPDATED, "other"))
    assert not of().same_program(of(but(exe={"path": "/opt/other"})))
    assert not of(GEMINI).same_program(of(but(GEMINI, script={"path": "/home/u/qwen.js"})))
    assert not of().same_program(of(but(exe={"owner": 7})))


# --- as text --------------------------------------------------------------------------------------------

LISTED = [of(), of(GEMINI, "gemini"), of(but(label="l", confined=True, unit="u7"), "x", unit="u*")]


def test_the_list_is_read_as_it_was_written():
    data = encode(LISTED)
    assert decode(data) == tuple(sorted(LISTED, key=lambda host: host.name))
    assert decode(encode([])) == ()
    assert decode_one(encode_one(LISTED[1])) == LISTED[1]
    assert data.isascii()
    assert data.endswith(b"}\n")


def damaged(**changes):
    value = json.loads(encode(LISTED[:1]))
    value["hosts"][0] |= changes
    return json.dumps(value).encode()


def with_file(**changes):
    return damaged(executable=json.loads(encode(LISTED[:1]))["hosts"][0]["executable"] | changes)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff",
        b'{"version": 2, "hosts": []}',
        b'{"version": true, "hosts": []}',
        b'{"version": 1}',
        b'{"version": 1, "hosts": {}}',
        b'{"version": 1, "hosts": [], "more": 1}',
        b'{"version": 1, "version": 1, "hosts": []}',
        b'{"version": 1, "hosts": []} x',
        b'{"version": 1, "hosts": [' + b"[" * 100_000,
        encode(LISTED)[:-20],
        encode([LISTED[0], LISTED[0]]),
        encode([of(name=f"h{number}") for number in range(limits.ENROLLED_HOSTS + 1)]),
        b" " * (limits.ENROLLED_BYTES + 1),
        damaged(more=1),
        damaged(name=""),
        damaged(name="A"),
        damaged(name="../x"),
        damaged(name="a" * 65),
        damaged(name=7),
        damaged(grade="G9"),
        damaged(enrolled_at="yesterday"),
        damaged(unit="\x1b"),
        damaged(unit="u" * 300),
        damaged(team="T"),
        damaged(script={}),
        damaged(executable=None),
        with_file(pattern="relative"),
        with_file(pattern="/**"),
        with_file(owner=-1),
        with_file(owner=2**32),
        with_file(owner=1.5),
        with_file(sha256="A" * 64),
        with_file(sha256="a" * 63),
        with_file(sha256=""),
        with_file(previous=["x"]),
        with_file(previous=[A] * (limits.FORMER_DIGESTS + 1)),
        with_file(writable=1),
        with_file(more=1),
        damaged(script=json.loads(encode_one(LISTED[1]))["script"] | {"sha256": "", "writable": False}),
    ],
)
def test_anything_else_is_refused(data):
    with pytest.raises(TrustError) as caught:
        decode(data)
    assert "\n" not in caught.value.sentence()
    assert caught.value.message.isprintable()


def test_one_enrolment_is_read_as_strictly():
    text = encode_one(of())
    for bad in (
        "",
        "[]",
        text[:-1],
        text.replace('"G2"', '"G7"'),
        text[:-1] + ',"more":1}',
        text + text,
        "\udcff",
    ):
        with pytest.raises(TrustError):
            decode_one(bad)


@given(st.integers(0, len(encode(LISTED)) - 1), st.integers(0, 255))
def test_a_damaged_byte_gives_a_list_or_a_trust_error(place, value):
    data = bytearray(encode(LISTED))
    data[place] = value
    try:
        hosts = decode(bytes(data))
    except TrustError:
        return
    for host in hosts:
        check(host)


@pytest.mark.parametrize(
    ("name", "good"),
    [("a", True), ("0a_.-", True), ("", False), ("-a", False), ("A", False), ("a b", False), ("a\n", False)],
)
def test_names(name, good):
    assert is_name(name) is good
