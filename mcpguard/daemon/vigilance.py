"""What keeps watch in a daemon, wired together: detectors, what follows from findings, quarantine, the refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mcpguard.audit.detectors import Detectors
from mcpguard.daemon.approvals import Approvals
from mcpguard.daemon.consequences import Consequences, Teller
from mcpguard.daemon.formerhosts import FormerHosts
from mcpguard.daemon.instances import Instances
from mcpguard.daemon.policies import Policies
from mcpguard.daemon.quarantine import Quarantine
from mcpguard.daemon.recorder import Recorder
from mcpguard.daemon.refused import Refused
from mcpguard.daemon.session import Session
from mcpguard.daemon.watch import Watch
from mcpguard.model import JsonObject
from mcpguard.system import paths
from mcpguard.system.approver import Below
from mcpguard.system.journalfiles import latest
from mcpguard.system.journalhome import boot_id
from mcpguard.system.kernel import Kernel
from mcpguard.system.memoryfile import MemoryFile
from mcpguard.system.quarantinefile import QuarantineFile


class Vigilance:
    """The watch of one daemon.

    Args:
        recorder: What is watched, and where findings go.
        policies: The policy in force, which from now on asks of what is in quarantine.
        sessions: The connections that are open now, by id.
        instances: The runs of hosts.
        teller: Who tells people.
        approvals: The open questions.
        renew: Compiles the policy of a connection anew.

    Attributes:
        quarantine: Who is kept away.
        refused: Writes down callers that are refused.
    """

    def __init__(
        self,
        recorder: Recorder,
        policies: Policies,
        sessions: Mapping[str, Session],
        instances: Instances,
        teller: Teller,
        approvals: Approvals,
        renew: Callable[[Session], None],
    ) -> None:
        self._recorder = recorder
        self._sessions = sessions
        self._approvals = approvals
        self._renew = renew
        self.refused = Refused(recorder)
        self.quarantine = Quarantine(
            QuarantineFile(paths.quarantine_dir()),
            recorder,
            sessions,
            FormerHosts(Kernel(), instances.adopter),
            boot_id().decode(),
            self._changed,
        )
        policies.doubted = self.quarantine.doubted
        self._findings = Consequences(recorder, lambda: policies.rules, sessions, self.quarantine, teller)
        learned = MemoryFile(
            paths.baseline_dir(), "baseline.json", "what detectors have learned", "remove it: rm"
        )
        self._watch = Watch(recorder, learned, self._findings.take, Detectors())

    def start(self) -> None:
        """Before anybody is served.

        Raises:
            JournalError: The log cannot be read.
        """
        self.quarantine.restore(latest(self._recorder.journal.directory, "quarantine"))
        self._watch.start()

    def tick(self) -> None:
        """A second has gone by."""
        self._watch.tick()

    async def close(self) -> None:
        """After the last connection."""
        await self._watch.close()

    def former(self) -> dict[int, Below]:
        """While something is in quarantine, whoever has been connected counts as connected: by process id."""
        hosts = self.quarantine.hosts()
        return hosts.below() if hosts is not None else {}

    def status(self) -> JsonObject:
        """What `mcpguard status` shows of it."""
        return {"findings": self._findings.counts, "quarantine": self.quarantine.described()}

    def _changed(self, server: str, reason: str) -> None:
        """What is asked of calls of a server is something else now; with a reason, none of them passes."""
        if not reason:
            for session in list(self._sessions.values()):
                if session.server == server:
                    self._renew(session)
        self._approvals.void(reason or "whether its calls are asked about was changed", server=server)
