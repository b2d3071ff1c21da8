"""The policy in force, and what becomes of it for one connection.

Order: the policy is compiled for each connection, since what it says depends on who calls, from where, and what the
server's manifest says of its tools. A policy that is applied is compiled anew for all of them.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from mcpguard.daemon.registry import Registered
from mcpguard.gate.shared import Manners
from mcpguard.model import Caller, ToolFacts
from mcpguard.policy.builtin import OBSERVE_RULES, observe_snapshot
from mcpguard.policy.circumstances import Surroundings
from mcpguard.policy.decider import Decider
from mcpguard.policy.narrowed import narrow
from mcpguard.policy.rules import RuleSet
from mcpguard.policy.snapshot import compile_snapshot
from mcpguard.system.policystore import PolicyStore
from mcpguard.system.realpath import resolve


class Standing(msgspec.Struct, frozen=True):
    """What a connection's policy is compiled for.

    Attributes:
        server: The server's name.
        caller: Who is on the host's side.
        surroundings: Where it runs.
        project: The policy of the folder that the host works in; None if there is none that counts.
    """

    server: str
    caller: Caller
    surroundings: Surroundings
    project: RuleSet | None = None


class Policies:
    """The policy of one daemon.

    Args:
        store: Where the applied policy lives.
    """

    def __init__(self, store: PolicyStore) -> None:
        self._store = store
        self._rules = store.load()

    @property
    def applied(self) -> RuleSet | None:
        """The policy that a person applied, or that of the system; None if there is neither."""
        return self._rules

    @property
    def rules(self) -> RuleSet:
        """The policy in force; watching only while none was applied."""
        return self._rules or OBSERVE_RULES

    @property
    def asks_of_logins(self) -> bool:
        """Whether some rule depends on the state of login sessions."""
        return any(rule.when is not None and rule.when.session for rule in self.rules.rules)

    def apply(self, data: bytes, source: str) -> RuleSet:
        """Put another policy in force.

        Raises:
            ConfigError: It is not a valid policy; nothing has changed.
        """
        self._rules = self._store.apply(data, source)
        return self._rules

    def decider(self, standing: Standing) -> Decider:
        """The policy of one connection."""
        if self._rules is None:
            return observe_snapshot(standing.server)
        decider = compile_snapshot(self._rules, standing.server, standing.caller, standing.surroundings)
        if standing.project is None:
            return decider
        return narrow(decider, standing.project, standing.caller, standing.surroundings)

    def standing(self, server: str, caller: Caller, cwd: str, found: Registered | None) -> Standing:
        """What the policy of a connection is compiled for; `cwd`: the server's working directory."""
        around = Surroundings(home=str(Path.home()), cwd=cwd, resolve=resolve, tools=_facts(found))
        return Standing(server, caller, around)

    def manners(self, caller: Caller) -> Manners:
        """How people are asked about calls of this host."""
        approving = self.rules.approving
        return Manners(approving.timeout, any(who in approving.elicitation for who in caller.principals))


def _facts(found: Registered | None) -> dict[str, ToolFacts]:
    if found is None:
        return {}
    manifest = found.manifest
    return {
        name: ToolFacts(
            annotations=_annotations(found, name),
            risk=manifest.risks.get(name, ""),
            reads=manifest.reads.get(name, ()),
            sends=manifest.sends.get(name, ()),
        )
        for name in manifest.tools
    }


def _annotations(found: Registered, name: str) -> dict[str, object]:
    annotations = found.definitions.tools.get(name, {}).get("annotations")
    return annotations if isinstance(annotations, dict) else {}
