"""Rules as values: what a policy file says once it has been read and found right.

Nothing here decides; `snapshot` does. Values are frozen and shared by all connections.
"""

from __future__ import annotations

from typing import Final

import msgspec

from mcpguard.model import Grade, Mode, Verdict
from mcpguard.policy.match import Pattern

GATED_METHODS: Final = frozenset(
    {
        "completion/complete",
        "elicitation/create",
        "prompts/get",
        "resources/read",
        "resources/subscribe",
        "resources/unsubscribe",
        "roots/list",
        "sampling/createMessage",
        "subscriptions/listen",
        "tasks/cancel",
        "tasks/get",
        "tasks/list",
        "tasks/result",
        "tasks/update",
    }
)
"""The methods that `methods` of a rule speaks of. `tools/call` is not among them: tools are judged by name.

The resource URIs of a `subscriptions/listen` are gated as `resources/subscribe`, over and above the listen.
Source: MCP schema, revisions 2024-11-05 to 2026-07-28.
"""

ANYBODY: Final = "any"
"""The principal that everybody has."""

HOST: Final = "host:"
"""What the principal of an enrolled host begins with; its name follows."""

ASK: Final = "ask"
ALLOW_SAME_OWNER: Final = "allow_same_owner"
"""What `on_update` says of an enrolled host whose executable changed: a person looks at it first, or it is enough
that the file has the same owner as before."""


class Rule(msgspec.Struct, frozen=True):
    """One `[[rule]]`.

    Attributes:
        id: Its name in records, refusals and explanations; unique in its file.
        who: Principals that it speaks of; one of them is enough. A host that is not recognised has no principal of
            its own, so a denial for a host reaches it only while it is.
        server: Patterns over server names; one of them is enough.
        tools: Patterns over tool names.
        methods: Patterns over `GATED_METHODS`.
        effect: ALLOW or DENY.
        durable: The record of a call is on stable storage before the call is forwarded.
        grade: Least evidence about the host. This and the next three stand on rules that allow: a denial that
            asks for evidence would be escaped by having less.
        unit: Patterns over the host's systemd unit; one of them is enough, none given asks for nothing.
        label: Patterns over the security label that the system enforces on the host; likewise.
        ancestor_not: Patterns over paths, or last components of paths, of executables; the rule does not speak of
            a host that has an ancestor which one of them describes.
        recheck: The host is looked at again before each such call.
        line: Where it begins in its file, from 1.
    """

    id: str
    effect: Verdict
    who: tuple[str, ...] = (ANYBODY,)
    server: tuple[Pattern, ...] = ()
    tools: tuple[Pattern, ...] = ()
    methods: tuple[Pattern, ...] = ()
    durable: bool = False
    grade: Grade = Grade.G0
    unit: tuple[Pattern, ...] = ()
    label: tuple[Pattern, ...] = ()
    ancestor_not: tuple[Pattern, ...] = ()
    recheck: bool = False
    line: int = 0

    def same_as(self, other: Rule) -> bool:
        """Whether both say the same, wherever they stand."""
        return msgspec.structs.replace(self, line=0) == msgspec.structs.replace(other, line=0)


class RuleSet(msgspec.Struct, frozen=True):
    """A whole policy, valid; made by `document.parse`.

    Attributes:
        file: The name that people know it by; shown in explanations, never opened.
        digest: The first 16 hexadecimal digits of the SHA-256 of its bytes.
        mode: Whether verdicts bind.
        neutralise: Whether text of servers is stripped of characters that people cannot see.
        rules: In the order of the file, which has no meaning.
        unpinned: Whether a server that no manifest describes may run while verdicts bind.
        on_update: `ASK` or `ALLOW_SAME_OWNER`.
        recheck: Each host is looked at again after so many seconds; 0.0 for never.
    """

    file: str
    digest: str
    mode: Mode
    neutralise: bool
    rules: tuple[Rule, ...] = ()
    unpinned: bool = False
    on_update: str = ASK
    recheck: float = 0.0
