"""What detectors find: one table that says what each kind means, and the value that a detector gives.

Ids are those of MITRE ATLAS 5.6.1 (`dist/ATLAS.yaml` of its data), of the OWASP MCP Top 10 v0.1 (2025) and of the
OWASP Top 10 for Agentic Applications (ASI01 to ASI10, December 2025). A kind without an ATLAS id has none there: a
clock that jumps is no technique.

Not here: how anything is found (`bursts`, `deviations`, `habits`, `breaks`); what policy makes of it (`policy`).
"""

from __future__ import annotations

import enum
from typing import Final

import msgspec

from mcpguard.model import JsonObject


class Severity(enum.IntEnum):
    """How bad a finding is by itself; the words of the audit log in lower case."""

    INFO = 0
    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4

    @property
    def word(self) -> str:
        """As records have it."""
        return self.name.lower()


SEVERITIES: Final = {severity.word: severity for severity in Severity}


class Kind(msgspec.Struct, frozen=True):
    """One kind of finding.

    Attributes:
        severity: How bad one is, unless the detector says otherwise.
        means: What it is, for the documentation and for people.
        step: What a person does next.
        about: Whom policy can put into quarantine for it, `server` or `host`; empty for nobody.
        atlas: Techniques of MITRE ATLAS.
        owasp: Entries of the OWASP MCP Top 10 and of the Top 10 for Agentic Applications.
    """

    severity: Severity
    means: str
    step: str
    about: str = ""
    atlas: tuple[str, ...] = ()
    owasp: tuple[str, ...] = ()


KINDS: Final = {
    "definition-drift": Kind(
        Severity.HIGH,
        "a server says something else of itself than its manifest pins: the rug pull",
        "compare what it says with what was pinned: mcpguard server diff",
        "server",
        ("AML.T0109", "AML.T0110", "AML.T0010.005"),
        ("MCP03:2025", "MCP04:2025", "ASI04"),
    ),
    "hidden-characters": Kind(
        Severity.HIGH,
        "a definition holds characters that people do not see and models do",
        "look at the definition with every character visible: mcpguard server show",
        "server",
        ("AML.T0110", "AML.T0051.001", "AML.T0068"),
        ("MCP03:2025", "MCP06:2025", "ASI01"),
    ),
    "denied-burst": Kind(
        Severity.MEDIUM,
        "many calls of one run of a host were denied in a short time",
        "see what it tried, and whether the agent follows somebody else's instructions: mcpguard audit tail",
        "host",
        ("AML.T0053", "AML.T0084.001"),
        ("MCP02:2025", "MCP06:2025", "ASI02"),
    ),
    "new-host": Kind(
        Severity.LOW,
        "a program that never came before has connected as a host",
        "see which program it is and enrol it if it is yours: mcpguard host list",
        "host",
        ("AML.T0103", "AML.T0073"),
        ("MCP07:2025", "MCP09:2025", "ASI10"),
    ),
    "new-tool": Kind(
        Severity.LOW,
        "a tool was called that was never called on this server before",
        "see whether the call belongs to the task at hand: mcpguard audit tail",
        "server",
        ("AML.T0053",),
        ("MCP02:2025", "ASI02"),
    ),
    "off-hours": Kind(
        Severity.LOW,
        "a host was active at an hour of the day at which it never was before",
        "see what it did, and whether somebody was there: mcpguard audit tail",
        "host",
        ("AML.T0053", "AML.T0112.000"),
        ("MCP07:2025", "ASI10"),
    ),
    "volume": Kind(
        Severity.MEDIUM,
        "a host sends far more calls, or far more bytes, to a server than it used to",
        "see what is sent where: mcpguard audit tail; a rule can bound it: rate, budget",
        "server",
        ("AML.T0086", "AML.T0034.002"),
        ("MCP10:2025", "ASI02"),
    ),
    "credential-moved": Kind(
        Severity.HIGH,
        "one credential is used from a second place",
        "ask its owner; if it was not them, revoke it",
        "host",
        ("AML.T0012", "AML.T0091.000"),
        ("MCP01:2025", "MCP07:2025", "ASI03"),
    ),
    "auth-failures": Kind(
        Severity.MEDIUM,
        "connections were refused again and again because who calls could not be established",
        "see which program it is, and end it if it is not yours: mcpguard audit tail",
        "host",
        ("AML.T0012", "AML.T0073"),
        ("MCP07:2025", "ASI03"),
    ),
    "approval-flood": Kind(
        Severity.MEDIUM,
        "one run of a host asks people for approval faster than anybody reads",
        "deny what waits, and end the host: mcpguard pending",
        "host",
        ("AML.T0046", "AML.T0053"),
        ("MCP06:2025", "ASI09"),
    ),
    "response-spoofing": Kind(
        Severity.HIGH,
        "answers came that nobody had asked for: somebody tries to answer in another's place",
        "end the server and look at what it runs: mcpguard quarantine",
        "server",
        ("AML.T0073", "AML.T0093"),
        ("MCP03:2025", "MCP07:2025", "ASI07"),
    ),
    "protocol-violation": Kind(
        Severity.LOW,
        "one side keeps sending what MCP does not allow",
        "see what was dropped and why: mcpguard audit tail",
        "server",
        ("AML.T0049",),
        ("MCP05:2025", "ASI07"),
    ),
    "clock-jump": Kind(
        Severity.MEDIUM,
        "the clock of this machine was set, so times in the log do not follow one another",
        "see who set it, and compare times with another machine's",
        "",
        (),
        ("MCP08:2025",),
    ),
    "log-gap": Kind(
        Severity.HIGH,
        "records are missing, or were not looked at",
        "check the log: mcpguard audit verify; see that the disk has room",
        "",
        (),
        ("MCP08:2025",),
    ),
}  # fmt: skip


class Finding(msgspec.Struct, frozen=True):
    """Something that a person should look at.

    Attributes:
        kind: A key of `KINDS`.
        subject: What it is about; findings of one kind and subject are told once in a while, with their number.
        says: What happened, as a sentence without its full stop.
        severity: How bad; None for that of its kind.
        conn: Connection, if it is about one.
        host: Evidence of the host of that connection, as records have it.
        server: Server, if it is about one.
        tool: Tool, if it is about one.
        count: How many events it stands for.
        about: Whom policy can put into quarantine for this one, if not as its kind says.
        seqs: First and last record that it is drawn from; zeros if not known.
        evidence: Further members, small.
    """

    kind: str
    subject: str
    says: str
    severity: Severity | None = None
    conn: str = ""
    host: JsonObject = {}
    server: str = ""
    tool: str = ""
    count: int = 1
    about: str = ""
    seqs: tuple[int, int] = (0, 0)
    evidence: JsonObject = {}

    @property
    def weight(self) -> Severity:
        """How bad it is."""
        return KINDS[self.kind].severity if self.severity is None else self.severity

    @property
    def culprit(self) -> str:
        """`server` or `host`, whose connections policy can end for it; empty for nobody."""
        return self.about or KINDS[self.kind].about

    def members(self) -> JsonObject:
        """What a record has of it beside kind, subject and sentence (`record.detected`)."""
        kind = KINDS[self.kind]
        found: JsonObject = {
            "severity": self.weight.word,
            "count": self.count,
            "atlas": list(kind.atlas),
            "owasp": list(kind.owasp),
            "step": kind.step,
        }
        named = {"conn": self.conn, "host": self.host, "server": self.server, "tool": self.tool}
        found |= {key: value for key, value in named.items() if value}
        if any(self.seqs):
            found["seqs"] = list(self.seqs)
        return found | ({"evidence": self.evidence} if self.evidence else {})


class Thresholds(msgspec.Struct, frozen=True):
    """From where on something is a finding; counts in seconds of wall-clock time.

    Attributes:
        denied: Denied calls of one run of a host, and in how many seconds.
        failures: Refused callers of one program, likewise.
        asked: Questions to people by one run of a host, likewise; below the rate at which they are refused
            (`limits.TICKETS_MINUTE`).
        violations: Lines of one side of one connection that were dropped, likewise.
        spoofed: Answers that nobody asked for, likewise.
        learning: Seconds for which a server, or a host, is only learned from.
        days: Days on which a host must have been active before an hour can be unusual.
        hours: Hours with traffic that a volume is compared with, at least.
        calls: Calls in one hour below which no volume is unusual.
        sent: Bytes of arguments in one hour, likewise.
        times: How many times the usual volume is unusual.
        moved: Seconds after which a place where a credential was used is forgotten.
        jump: Seconds that a clock may be off after it was set, without a finding.
        again: Seconds in which findings of one kind and subject are counted and not told again.
        most: Findings of one kind in that time that are told one by one.
    """

    denied: tuple[int, float] = (20, 60.0)
    failures: tuple[int, float] = (5, 300.0)
    asked: tuple[int, float] = (10, 60.0)
    violations: tuple[int, float] = (20, 60.0)
    spoofed: tuple[int, float] = (1, 60.0)
    learning: float = 86_400.0
    days: int = 10
    hours: int = 24
    calls: int = 500
    sent: int = 8 * 1024 * 1024
    times: float = 4.0
    moved: float = 86_400.0
    jump: float = 60.0
    again: float = 600.0
    most: int = 20
