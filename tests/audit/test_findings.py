import re
from pathlib import Path

import msgspec
import pytest

from mcpguard import limits
from mcpguard.audit import record
from mcpguard.audit.findings import KINDS, SEVERITIES, Finding, Severity, Thresholds
from mcpguard.model import FINDING_KINDS

ATLAS = {
    "AML.T0010.005": "AI Agent Tool",
    "AML.T0012": "Valid Accounts",
    "AML.T0034.002": "Agentic Resource Consumption",
    "AML.T0046": "Spamming AI System with Chaff Data",
    "AML.T0049": "Exploit Public-Facing Application",
    "AML.T0051.001": "Indirect",
    "AML.T0053": "AI Agent Tool Invocation",
    "AML.T0068": "LLM Prompt Obfuscation",
    "AML.T0073": "Impersonation",
    "AML.T0084.001": "Tool Definitions",
    "AML.T0086": "Exfiltration via AI Agent Tool Invocation",
    "AML.T0091.000": "Application Access Token",
    "AML.T0093": "Prompt Infiltration via Public-Facing Application",
    "AML.T0103": "Deploy AI Agent",
    "AML.T0109": "AI Supply Chain Rug Pull",
    "AML.T0110": "AI Agent Tool Poisoning",
    "AML.T0112.000": "Local AI Agent",
}
"""The techniques that are named, by MITRE ATLAS 5.6.1."""


def test_the_table_has_every_kind_that_policy_knows() -> None:
    assert tuple(KINDS) == FINDING_KINDS


def test_ids_are_those_of_the_references() -> None:
    named = {each for kind in KINDS.values() for each in kind.atlas}
    assert named == set(ATLAS)
    for kind in KINDS.values():
        assert kind.owasp
        for each in kind.owasp:
            assert re.fullmatch(r"MCP(0[1-9]|10):2025|ASI(0[1-9]|10)", each), each


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_says_what_it_means_and_what_to_do(name: str) -> None:
    kind = KINDS[name]
    assert kind.about in ("", "server", "host")
    for words in (kind.means, kind.step):
        assert words
        assert not words.endswith(".")


def test_severities_are_ordered_words() -> None:
    assert list(SEVERITIES) == ["info", "low", "medium", "high", "critical"]
    assert Severity.HIGH > Severity.MEDIUM


def test_a_finding_fits_into_a_record_whatever_it_is_about() -> None:
    hostile = "\u202e" * 100_000
    finding = Finding(
        "denied-burst",
        hostile,
        hostile,
        conn=hostile,
        host={"exe": hostile},
        server=hostile,
        tool=hostile,
        seqs=(1, 2),
        evidence={"tried": [hostile] * 1000},
    )
    body = record.detected(finding.kind, finding.subject, finding.says, finding.members())
    assert len(body) < limits.RECORD_BYTES
    members = msgspec.json.decode(b"{%b}" % body)
    assert members["severity"] == "medium"
    assert "\u202e" not in body.decode()


def test_asking_is_found_before_it_is_refused() -> None:
    assert Thresholds().asked[0] < limits.TICKETS_MINUTE


def test_the_table_of_the_documentation_is_this_one() -> None:
    text = (Path(__file__).parents[2] / "docs" / "findings.md").read_text()
    rows = re.findall(r"^\| `([a-z-]+)` \| ([a-z]+) \| (.*?) \| (.*?) \| (.*?) \|$", text, re.MULTILINE)
    assert rows == [
        (name, kind.severity.word, kind.means, ", ".join(kind.atlas) or "-", ", ".join(kind.owasp))
        for name, kind in KINDS.items()
    ]
