"""What facts are worth: from the best host downwards, each fact that is missing takes its grade away."""

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard.identity.facts import FileFacts, HostFacts, PeerFacts, Program
from mcpguard.identity.grading import appraise
from mcpguard.model import Grade

FILE = FileFacts("/usr/bin/acme", 1, 2, 3, 0, writable=False, digest="ab" * 32)
SHIM = PeerFacts(5, 1000, 1000, pinned=True)
BEST = HostFacts(
    shim=SHIM, pid=9, uid=1000, instance=7, stdin="socket", holds_both=True, is_parent=True, pinned=True, alone=True,
    program=Program.NATIVE, executable=FILE,
)  # fmt: skip


def but(**changes):
    return msgspec.structs.replace(BEST, **changes)


def file(**changes):
    return but(executable=msgspec.structs.replace(FILE, **changes))


def test_nothing_known_is_worth_nothing():
    found = appraise(HostFacts(shim=SHIM, doubts=("the kernel is silent",)))
    assert found.grade is Grade.G0
    assert found.reasons[:2] == (
        "no process was found to hold the far end of stdin",
        "the kernel is silent",
    )


def test_best_host_without_a_label_is_g3():
    found = appraise(BEST)
    assert found.grade is Grade.G3
    assert found.reasons == (
        "the system enforces no label that confines it, so a program of the same user can pass for it",
    )


@pytest.mark.parametrize(
    ("facts", "grade", "words"),
    [
        (but(pinned=False), Grade.G0, "no lasting handle"),
        (but(alone=None), Grade.G0, "does not say in which namespaces"),
        (but(alone=False), Grade.G0, "mount namespace of its own"),
        (but(uid=1001), Grade.G0, "runs as uid 1001, what it started as uid 1000"),
        (but(uid=-1), Grade.G0, "does not say whose process"),
        (but(shim=PeerFacts(5, 1000, 1000, pinned=False)), Grade.G1, "before Linux 6.5"),
        (but(holds_both=False), Grade.G1, "does not alone hold both far ends"),
        (but(is_parent=False), Grade.G1, "something stands between"),
        (but(program=Program.INTERPRETER), Grade.G2, "interpreter"),
        (but(program=Program.SHELL), Grade.G2, "shell"),
        (but(program=Program.LOADER), Grade.G2, "loader"),
        (but(program=None), Grade.G2, "cannot be told"),
        (but(executable=None), Grade.G2, "cannot be opened"),
        (file(owner=1000), Grade.G2, "others than root can change"),
        (file(writable=True), Grade.G2, "others than root can change"),
        (file(lasting=False), Grade.G2, "on no disk"),
        (file(digest=""), Grade.G2, "the digest of its executable is not known"),
        (file(digest="", doubt="it is too large"), Grade.G2, "is not known: it is too large"),
        (but(uid=0, shim=PeerFacts(5, 0, 0, pinned=True)), Grade.G2, "runs as root"),
        (but(injected=("LD_PRELOAD",)), Grade.G2, "signs of foreign code: LD_PRELOAD"),
        (but(tracer=77), Grade.G2, "another process traces it"),
        (but(tracer=-1), Grade.G2, "whether it is traced is not known"),
    ],
)
def test_each_fact_that_is_missing_takes_its_grade_away(facts, grade, words):
    found = appraise(facts)
    assert found.grade is grade
    assert words in found.reasons[0]
    assert "\n" not in found.reasons[0]


def test_enforced_label_is_the_highest_on_top_of_g2():
    label = {"label": "snap.acme.acme (enforce)", "confined": True}
    assert appraise(but(**label)).grade is Grade.G4
    assert appraise(but(**label, program=Program.INTERPRETER, injected=("LD_PRELOAD",))).grade is Grade.G4
    assert appraise(but(**label, is_parent=False)).grade is Grade.G1
    assert appraise(but(**label, pinned=False)).grade is Grade.G0
    assert appraise(but(label="unconfined")).grade is Grade.G3
    assert appraise(but(confined=True)).grade is Grade.G3


def test_signed_program_on_macos_needs_no_handle_of_linux():
    facts = but(
        shim=PeerFacts(5, 1000, 1000, pinned=False), label="T/com.acme", confined=True, signing="com.acme"
    )
    assert appraise(facts).grade is Grade.G4


def test_deleted_executable_keeps_its_worth():
    assert appraise(file(deleted=True)).grade is Grade.G3  # updated while it runs; its digest is known


@given(st.data())
def test_a_fact_that_gets_worse_never_raises_the_grade(data):
    worse = {
        "pinned": False, "alone": None, "holds_both": False, "is_parent": False, "program": Program.SHELL,
        "executable": None, "injected": ("x",), "tracer": 1, "pid": 0, "uid": -1, "confined": False,
    }  # fmt: skip
    facts = but(label="x", confined=True)
    order = data.draw(st.permutations(sorted(worse)))
    grades = [appraise(facts).grade]
    for key in order:
        facts = msgspec.structs.replace(facts, **{key: worse[key]})
        grades.append(appraise(facts).grade)
    assert all(one >= two for one, two in itertools.pairwise(grades))
