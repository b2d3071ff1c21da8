"""What follows from a finding: a record always, and what policy says.

Rule 1: the record of a finding says what was done about it. Where policy only watches, nothing but telling is done,
and the record says so.
Rule 2: the policy of a trusted folder can only make it stricter, and only for connections of its own.
Rule 3: who cannot be named cannot be kept away: for a host that is not enrolled, `quarantine` ends the connection.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from mcpguard.audit import record
from mcpguard.audit.findings import SEVERITIES, Finding
from mcpguard.daemon.quarantine import Quarantine, try_impose
from mcpguard.daemon.recorder import Recorder
from mcpguard.daemon.session import Session
from mcpguard.model import Action, JsonObject, Mode
from mcpguard.policy.rules import RuleSet
from mcpguard.system.quarantinefile import ASK, HOST, REFUSE, SERVER

_log: Final = logging.getLogger("mcpguard")


class Teller(Protocol):
    """Who tells a person (`notify.Desktop`)."""

    def tell(self, title: str, text: str) -> None:
        """Something that a person should know."""


class Consequences:
    """Carries out what policy says of findings.

    Args:
        recorder: Where findings are recorded.
        rules: The policy in force.
        sessions: The connections that are open now, by id.
        quarantine: What can be kept away.
        teller: Who tells people.

    Attributes:
        counts: Findings since the daemon began, by severity.
    """

    def __init__(
        self,
        recorder: Recorder,
        rules: Callable[[], RuleSet],
        sessions: Mapping[str, Session],
        quarantine: Quarantine,
        teller: Teller,
    ) -> None:
        self._recorder = recorder
        self._rules = rules
        self._sessions = sessions
        self._quarantine = quarantine
        self._teller = teller
        self.counts = dict.fromkeys(SEVERITIES, 0)

    def take(self, finding: Finding) -> None:
        """Do what follows from a finding. The record comes first: it is evidence even if the rest fails."""
        self.counts[finding.weight.word] += 1
        action = self._possible(finding, self._wanted(finding))
        binding = action <= Action.NOTIFY or self._rules().mode is not Mode.OBSERVE
        members: JsonObject = {**finding.members(), "action": action.name.lower()}
        if not binding:
            members["binding"] = False
        self._recorder.later([record.detected(finding.kind, finding.subject, finding.says, members)])
        if action is not Action.RECORD:
            self._teller.tell(f"mcpguard: {finding.kind}", f"{finding.says}\nmcpguard findings")
        if binding:
            self._carry_out(finding, action)

    def _wanted(self, finding: Finding) -> Action:
        """What policy says, and stricter, what the folder of the connection says."""
        session = self._sessions.get(finding.conn)
        folders = session.standing.projects if session is not None else ()
        return max(
            (each.findings.get(finding.kind, Action.RECORD) for each in (self._rules(), *folders)),
            default=Action.RECORD,
        )

    def _possible(self, finding: Finding, action: Action) -> Action:
        """What of that can be done for this finding."""
        if action <= Action.NOTIFY:
            return action
        if action is Action.ASK:
            return action if finding.server else Action.NOTIFY
        if action is Action.QUARANTINE and self._subject(finding):
            return action
        return Action.END if finding.conn in self._sessions else Action.NOTIFY

    def _subject(self, finding: Finding) -> str:
        if finding.culprit == SERVER and finding.server:
            return f"{SERVER}:{finding.server}"
        name = finding.host.get("host")
        return f"{HOST}:{name}" if finding.culprit == HOST and name else ""

    def _carry_out(self, finding: Finding, action: Action) -> None:
        by = f"policy, on {finding.kind}"
        match action:
            case Action.ASK:
                try_impose(self._quarantine, f"{SERVER}:{finding.server}", ASK, finding.says, by)
            case Action.QUARANTINE:
                if try_impose(self._quarantine, self._subject(finding), REFUSE, finding.says, by):
                    self._end(finding)
            case Action.END:
                self._end(finding)
            case Action.RECORD | Action.NOTIFY:
                return

    def _end(self, finding: Finding) -> None:
        session = self._sessions.get(finding.conn)
        if session is not None:
            session.cut(f"{finding.says} ({finding.kind}): a person can look with: mcpguard findings")
