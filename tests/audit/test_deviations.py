from typing import Any

import pytest

from mcpguard.audit import deviations
from mcpguard.audit.deviations import Deviations
from mcpguard.audit.findings import Severity
from mcpguard.audit.seen import Seen
from mcpguard.gate import pinning
from mcpguard.protocol import views
from tests.audit.sights import drop, seen


def said(fault: str, kind: str = "tools", name: str = "read", **more: Any) -> Seen:
    return seen("finding", 0.0, 5, kind=kind, name=name, fault=fault, pinned="aa", seen="bb", **more)


CASES = [
    (said(pinning.DIFFERS), "definition-drift", Severity.HIGH, "the tool 'read' differs"),
    (said(pinning.UNPINNED), "definition-drift", Severity.MEDIUM, "the tool 'read' is not pinned"),
    (said("is not pinned, and looks like 'read'"), "definition-drift", Severity.HIGH, "looks like"),
    (said("differ from the pinned instructions", "instructions", ""), "definition-drift", Severity.HIGH, "the instructions differ"),
    (said("are not pinned", "instructions", ""), "definition-drift", Severity.MEDIUM, "the instructions are"),
    (said("it calls itself 'x', and", "serverInfo", ""), "definition-drift", Severity.HIGH, "the server is another one"),
    (said(deviations.HIDDEN), "hidden-characters", Severity.HIGH, "the tool 'read' holds"),
    (drop(f"definition 'read' {deviations.HIDDEN}"), "hidden-characters", Severity.HIGH, "definition 'read' holds"),
]  # fmt: skip


@pytest.mark.parametrize(("event", "kind", "severity", "words"), CASES)
def test_each_deviation_is_a_finding(event: Seen, kind: str, severity: Severity, words: str) -> None:
    (found,) = Deviations().take(event)
    assert (found.kind, found.weight, found.server) == (kind, severity, "files")
    assert words in found.says


@pytest.mark.parametrize(
    "event",
    [
        said(pinning.AGAIN),
        said(pinning.DIFFERS, event="detected", severity="high"),
        drop("definition 'read' has a description longer than 16384 characters"),
        seen("call", fault=pinning.DIFFERS),
    ],
)
def test_what_is_none_is_none(event: Seen) -> None:
    assert list(Deviations().take(event)) == []


def test_the_words_are_those_of_the_gate() -> None:
    assert deviations.AGAIN == pinning.AGAIN
    assert pinning.UNPINNED.endswith(deviations.UNPINNED)
    with open(views.__file__) as file:
        assert f'"{deviations.HIDDEN}"' in file.read()


def test_evidence_is_the_digests_and_the_record() -> None:
    (found,) = Deviations().take(said(pinning.DIFFERS))
    assert found.evidence == {"pinned": "aa", "seen": "bb"}
    assert (found.seqs, found.tool) == ((5, 5), "read")
