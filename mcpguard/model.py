"""Values that several rooms speak: sides, eras, verdicts, decisions; and how text of others is shown to a person.

The zero value of every enumeration here is the safe one, so that an empty value denies.
"""

from __future__ import annotations

import enum
import re
from typing import Any, Final, TypeAlias

import msgspec

Json: TypeAlias = Any
"""A decoded JSON value: None, bool, int, float, str, list[Json] or dict[str, Json]."""

JsonObject: TypeAlias = dict[str, Any]
"""A decoded JSON object."""

MessageId: TypeAlias = int | str
"""A JSON-RPC id as MCP allows it. `7` and `"7"` are different ids; `True` is not an id."""


class Side(enum.Enum):
    """One end of a guarded connection."""

    HOST = "host"
    SERVER = "server"

    __hash__ = object.__hash__
    """Members are single objects; the inherited hash is a Python function, and sides key tables on every call."""

    @property
    def other(self) -> Side:
        """The far side."""
        return Side.SERVER if self is Side.HOST else Side.HOST


class Era(enum.Enum):
    """Which handshake a connection speaks (MCP basic/versioning, revision 2026-07-28).

    MODERN: version and capabilities in `_meta` of every request. LEGACY: `initialize` first, all revisions
    from 2024-11-05 to 2025-11-25.
    """

    LEGACY = "legacy"
    MODERN = "modern"


class Verdict(enum.IntEnum):
    """What policy says; the zero value is the safe one."""

    DENY = 0
    ASK = 1
    ALLOW = 2


_NO_RULE = "built in"


class Charge(msgspec.Struct, frozen=True):
    """What one forwarded request takes from a meter.

    Attributes:
        key: Which meter: the rule and what it counts apart.
        limit: How many there may be.
        seconds: In how long a time; 0.0 counts requests in flight, which are given back when they are answered;
            `DAY` counts from midnight to midnight in `zone`.
        zone: Time zone of the day.
    """

    key: str
    limit: int
    seconds: float
    zone: str = "UTC"


DAY = 86_400.0
"""The seconds of a `Charge` that is a budget of a calendar day."""


class Decision(msgspec.Struct, frozen=True):
    """A verdict and where it comes from.

    Attributes:
        verdict: What policy says.
        rule: The `id` of the rule that decided, or `default` when none matched, or `observe` built in.
        reason: One sentence for a person: why.
        origin: `file:line` of that rule, or `built in`.
        durable: The record of this call is on stable storage before the call is forwarded.
        recheck: The host is looked at again before the call is forwarded.
        recorded: The arguments are kept with the record, redacted and encrypted.
        depends: Only the name was looked at. `Decider.judge` has the last word; `verdict` is the most it can become.
        confirm: For ASK, what an approver must show besides the answer: `presence`, or nothing.
        result_bytes: Longest result that may pass, bytes of its line; 0 for no bound of its own.
        charges: What is taken from meters when the request is forwarded.
        reads: Labels that its answer carries.
        sends: Labels of where it sends what it is given.
        binding: It holds while policy only watches, too, since something else than policy has decided.
        secrets: Names of secrets whose handles in the arguments are replaced by their values.
    """

    verdict: Verdict = Verdict.DENY
    rule: str = "default"
    reason: str = "no rule allows it"
    origin: str = _NO_RULE
    durable: bool = False
    recheck: bool = False
    recorded: bool = False
    depends: bool = False
    confirm: str = ""
    result_bytes: int = 0
    charges: tuple[Charge, ...] = ()
    reads: tuple[str, ...] = ()
    sends: tuple[str, ...] = ()
    binding: bool = False
    secrets: tuple[str, ...] = ()

    @property
    def silent(self) -> bool:
        """Whether no rule speaks of it: a denial by default, not by a rule that happens to be called so."""
        return self.verdict is Verdict.DENY and self.origin == _NO_RULE


class Grade(enum.IntEnum):
    """How much the evidence about a host is worth; the zero value is the least.

    G0 its user id; G1 a live, pinned process in our user, pid and mount namespaces; G2 the same process holds both
    ends of the stdio and is the direct parent; G3 its executable is beyond the user's reach and bears no sign of
    injection; G4 the system enforces a label on it.
    """

    G0 = 0
    G1 = 1
    G2 = 2
    G3 = 3
    G4 = 4


class Caller(msgspec.Struct, frozen=True):
    """Who is on the host's side of a connection, as policy sees it.

    Attributes:
        principals: `any`, `uid:N`, `group:NAME` for each group of that user, and `host:NAME` for an enrolled host;
            of a peer beyond stdio, those that its credential gives (`key:`, `jwt:`, `cert:`, `spiffe://`).
        grade: What the evidence is worth.
        unit: systemd unit, from its control group; empty if it is in none.
        label: Security label that the system enforces; empty if it has none.
        ancestors: Paths of the executables above the host, nearest first, the host's own first of all. Evidence
            for refusing, never for allowing.
        release: Version of the host, as its path or its package says; empty if neither does.
        cwd: Absolute path of the folder that the host started the server in, links resolved; empty if not known.
        instance: Names this run of the host: what labels, rates and approvals are kept under.
        tools: Patterns of the tools that its credential is for; empty for all.
    """

    principals: tuple[str, ...] = ("any",)
    grade: Grade = Grade.G0
    unit: str = ""
    label: str = ""
    ancestors: tuple[str, ...] = ()
    release: str = ""
    cwd: str = ""
    instance: str = ""
    tools: tuple[str, ...] = ()


class ToolFacts(msgspec.Struct, frozen=True):
    """What a manifest says of one tool, pinned with it.

    Attributes:
        annotations: `annotations` of the pinned definition (MCP server/tools): hints of the publisher.
        risk: What the manifest's author says of it; empty if nothing.
        reads: Labels of what its answers carry.
        sends: Labels of where it sends what it is given.
    """

    annotations: JsonObject = {}
    risk: str = ""
    reads: tuple[str, ...] = ()
    sends: tuple[str, ...] = ()


class Action(enum.IntEnum):
    """What follows from a finding, by policy; the greater one is the stricter one.

    RECORD writes it down. NOTIFY also tells the person at the desktop. ASK lets no call of the server through without
    a person's approval from then on. END ends the connection. QUARANTINE ends all connections of the server, or of
    the host where the finding is about one, and refuses new ones. The last three also tell; ASK and QUARANTINE hold
    until a person lifts them.
    """

    RECORD = 0
    NOTIFY = 1
    ASK = 2
    END = 3
    QUARANTINE = 4


FINDING_KINDS: Final = (
    "definition-drift", "hidden-characters", "denied-burst", "new-host", "new-tool", "off-hours", "volume",
    "credential-moved", "auth-failures", "approval-flood", "response-spoofing", "protocol-violation", "clock-jump",
    "log-gap",
)  # fmt: skip
"""What detectors find (`audit.findings` says what each means); the keys of `[findings]` in a policy."""


HOST_REFERENCE: Final = "mcpguard-secret://"
"""What stands in a host's configuration in the place of a secret begins with this; a name of the vault follows."""


HANDLE: Final = "${secret:"
"""What stands in an argument of a tool in the place of a secret begins with this; its name and `}` follow."""


class Mode(enum.Enum):
    """ENFORCE: verdicts bind. OBSERVE: verdicts are recorded and nothing is refused by policy."""

    ENFORCE = "enforce"
    OBSERVE = "observe"


_NOT_ASCII: Final = re.compile(r"[^ -~]")
_INVISIBLE: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)


def _escaped(match: re.Match[str]) -> str:
    """JSON escape of a character that a terminal does not show as itself; others stay."""
    char = match[0]
    if char.isprintable() and not _INVISIBLE.match(char):
        return char
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


_TOML: Final = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r", '"': '\\"', "\\": "\\\\"}


def escape(text: str) -> str:
    """Text in which JSON escapes stand for control, bidirectional and invisible characters, and for nothing else.

    For JSON, in which a backslash is an escape already; other text goes through `visible`.
    """
    return _NOT_ASCII.sub(_escaped, text)


def visible(value: str) -> str:
    r"""Text of others for a person: control, bidirectional and invisible characters appear as `\uXXXX`.

    A backslash is doubled, so that an escape cannot be forged.
    """
    return escape(value.replace("\\", "\\\\"))


def how_many(count: int, what: str) -> str:
    """`1 file`, `2 files`: for nouns whose plural is regular."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def toml_text(text: str) -> str:
    """A TOML basic string in which every character can be seen. Not here: lone surrogates, which TOML cannot say."""
    return '"' + "".join(_TOML.get(char) or _in_toml(char) for char in text) + '"'


def _in_toml(char: str) -> str:
    if escape(char) == char:
        return char
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"
