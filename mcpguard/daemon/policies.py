"""The policy in force, and what becomes of it for one connection.

Order: the policy is compiled for each connection, since what it says depends on who calls, from where, and what the
server's manifest says of its tools. A policy that is applied is compiled anew for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from mcpguard.daemon.folders import Folders
from mcpguard.daemon.registry import Registered
from mcpguard.gate.shared import Manners
from mcpguard.model import Caller, ToolFacts
from mcpguard.policy.builtin import OBSERVE_RULES, observe_snapshot
from mcpguard.policy.cautious import cautious
from mcpguard.policy.circumstances import Surroundings
from mcpguard.policy.decider import Decider
from mcpguard.policy.engine import compile_policy
from mcpguard.policy.narrowed import narrow
from mcpguard.policy.rules import RuleSet
from mcpguard.policy.scoped import scoped
from mcpguard.system.policystore import PolicyStore
from mcpguard.system.realpath import resolve

_SESSION: Final = '"session"'
"""How the session stands in a Cedar policy, as `rules.Rule` has it."""


class Standing(msgspec.Struct, frozen=True):
    """What a connection's policy is compiled for.

    Attributes:
        server: The server's name.
        caller: Who is on the host's side.
        surroundings: Where it runs.
        projects: The policies of the trusted folders that the host works in.
    """

    server: str
    caller: Caller
    surroundings: Surroundings
    projects: tuple[RuleSet, ...] = ()


class Policies:
    """The policy of one daemon.

    Args:
        store: Where the applied policy lives.
        folders: The folders whose own policies count.

    Attributes:
        doubted: Whether a person must look at every call of a server.
    """

    def __init__(self, store: PolicyStore, folders: Folders) -> None:
        self.doubted: Callable[[str], bool] = lambda _server: False
        self._store = store
        self._folders = folders
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
        return any(
            (rule.when is not None and rule.when.session) or _SESSION in rule.cedar
            for rule in self.rules.rules
        )

    def apply(self, data: bytes, source: str) -> RuleSet:
        """Put another policy in force.

        Raises:
            ConfigError: It is not a valid policy; nothing has changed.
        """
        self._rules = self._store.apply(data, source)
        return self._rules

    def reload(self) -> RuleSet:
        """Read what is stored again: the policy of the system may have changed since.

        Raises:
            ConfigError: It is not valid; what was in force stays.
        """
        self._rules = self._store.load()
        return self.rules

    def decider(self, standing: Standing) -> Decider:
        """The policy of one connection."""
        tools = standing.caller.tools
        if self._rules is None:
            return scoped(observe_snapshot(standing.server), tools)
        decider: Decider = compile_policy(
            self._rules, standing.server, standing.caller, standing.surroundings
        )
        for project in standing.projects:
            decider = narrow(decider, project, standing.caller, standing.surroundings, self._rules.labels)
        if self.doubted(standing.server):
            decider = cautious(decider, standing.caller, standing.surroundings)
        return scoped(decider, tools)

    def standing(self, server: str, caller: Caller, cwd: str, found: Registered | None) -> Standing:
        """What the policy of a connection is compiled for; `cwd`: the server's working directory.

        Raises:
            DaemonError: The trusted folders cannot be relied on.
        """
        around = Surroundings(home=str(Path.home()), cwd=cwd, resolve=resolve, tools=_facts(found))
        return Standing(server, caller, around, self._folders.narrowing(caller.cwd))

    def refolded(self, standing: Standing) -> Standing:
        """The same, with the folders that are trusted now."""
        return msgspec.structs.replace(standing, projects=self._folders.narrowing(standing.caller.cwd))

    def notes(self, caller: Caller) -> list[str]:
        """What a person should know of policies in the folder that the host works in: sentences."""
        return self._folders.notes(caller.cwd) if self._rules is not None else []

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
