"""What every engine of policy answers: rules of ours, Cedar, and either of them narrowed by a project's file."""

from __future__ import annotations

from typing import Protocol

from mcpguard.model import Decision, Json, Mode
from mcpguard.policy.circumstances import Circumstances


class Decider(Protocol):
    """One connection's policy.

    Attributes:
        policy: Digest of the policy, or `built-in`.
        mode: Whether verdicts bind.
        observing: Whether verdicts are recorded only.
        neutralise: Whether text of the server is stripped of characters that people cannot see.
        schemas: Whether arguments and results are held against the pinned schemas.
        server: The name that the server has in this configuration.
    """

    policy: str
    mode: Mode
    observing: bool
    neutralise: bool
    schemas: bool
    server: str

    def tool(self, name: str) -> Decision:
        """What the name of a tool alone decides, and whether it is shown: the most that a call can become."""
        ...

    def method(self, method: str, target: str = "") -> Decision:
        """Likewise for a gated method; without a target, the most that any target can become."""
        ...

    def extension(self, name: str) -> Decision:
        """Likewise for an extension that a side declares; silent where no rule speaks of it."""
        ...

    def judge(
        self, method: str, target: str, value: Json, circumstances: Circumstances, now: int
    ) -> Decision:
        """The decision on one request, where the name alone does not decide (`Decision.depends`).

        `value`: arguments of a tool, else the params of the request. `now`: monotonic nanoseconds. Takes nothing
        from any meter.
        """
        ...
