"""Rules as values: what a policy file says once it has been read and found right.

Nothing here decides; `snapshot` does. Values are frozen and shared by all connections.
"""

from __future__ import annotations

from typing import Final

import msgspec

from mcpguard.model import Mode, Verdict
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


class Rule(msgspec.Struct, frozen=True):
    """One `[[rule]]`.

    Attributes:
        id: Its name in records, refusals and explanations; unique in its file.
        who: Principals that it speaks of; one of them is enough.
        server: Patterns over server names; one of them is enough.
        tools: Patterns over tool names.
        methods: Patterns over `GATED_METHODS`.
        effect: ALLOW or DENY.
        durable: The record of a call is on stable storage before the call is forwarded.
        line: Where it begins in its file, from 1.
    """

    id: str
    effect: Verdict
    who: tuple[str, ...] = (ANYBODY,)
    server: tuple[Pattern, ...] = ()
    tools: tuple[Pattern, ...] = ()
    methods: tuple[Pattern, ...] = ()
    durable: bool = False
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
    """

    file: str
    digest: str
    mode: Mode
    neutralise: bool
    rules: tuple[Rule, ...] = ()
