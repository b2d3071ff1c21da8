"""Facts are values; the evidence in records says what the kernel said, and nothing that was not asked."""

import pytest

from mcpguard.identity.facts import Appraisal, FileFacts, HostFacts, PeerFacts, evidence
from mcpguard.model import Grade

_SHIM = PeerFacts(pid=5, uid=1000, gid=1000, pinned=True)


def test_facts_cannot_be_changed():
    with pytest.raises(AttributeError):
        _SHIM.uid = 0


def test_evidence_of_a_caller_of_whom_nothing_is_known():
    found = evidence(HostFacts(shim=_SHIM), Appraisal(Grade.G0, ("nobody holds stdin",)))
    assert found == {
        "uid": 1000, "pid": 0, "shim": 5, "grade": "G0", "stdin": "other", "because": "nobody holds stdin",
    }  # fmt: skip


def test_evidence_of_a_recognised_host():
    program = FileFacts("/opt/a", 1, 2, 3, 0, writable=False, digest="ab")
    facts = HostFacts(
        shim=_SHIM, pid=9, instance=77, stdin="socket", executable=program, unit="a.scope", tracer=3
    )
    found = evidence(facts, Appraisal(Grade.G3, ()), "acme")
    assert found["host"] == "acme"
    assert (found["pid"], found["instance"], found["exe"], found["sha256"]) == (9, 77, "/opt/a", "ab")
    assert (found["unit"], found["tracer"], found["grade"]) == ("a.scope", 3, "G3")
    assert "because" not in found
