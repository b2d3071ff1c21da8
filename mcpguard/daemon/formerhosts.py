"""The runs of hosts that have ever been here and still live: who may not lift a quarantine.

A host whose connections were ended, or refused, is connected no longer, and yet what it has started must not change
what holds it. So while something is in quarantine, every run of a host that came since the daemon began counts as
connected as long as its process lives; over a restart, those that came until then.

Not here: what follows from it (`system.approver`). Where the kernel has no handles on processes, nothing is known.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final

from mcpguard.daemon.party import Party
from mcpguard.system.approver import Below
from mcpguard.system.kernel import Kernel
from mcpguard.system.processes import Process
from mcpguard.system.quarantinefile import RUNS, Run

_WORDS: Final = "a program that a host has started which has been connected"


class FormerHosts:
    """Runs of hosts.

    Args:
        kernel: What to ask.
        adopter: The process that is given the orphans of a run of a host (`instances.adopter`).
    """

    def __init__(self, kernel: Kernel, adopter: Callable[[str], int]) -> None:
        self._kernel = kernel
        self._adopter = adopter
        self._runs: OrderedDict[Run, str] = OrderedDict()

    def met(self, host: Party) -> bool:
        """A host has come; whether it is a run that was not known."""
        run = Run(host.pid, host.handle)
        if not host.pid:
            return False
        new = run not in self._runs
        self._runs[run] = host.caller.instance
        self._runs.move_to_end(run)
        if len(self._runs) > RUNS:
            self._tidy()
        return new

    def load(self, runs: Iterable[Run]) -> None:
        """Those that an earlier daemon has met, of this boot."""
        self._runs |= {run: f"{run.pid}-{run.instance}" for run in runs}

    def dump(self) -> list[Run]:
        """Those that live."""
        return [run for run in self._runs if self._lives(run)]

    def below(self) -> dict[int, Below]:
        """What is known of what is below those that live, by process id."""
        return {
            run.pid: Below(_WORDS, self._adopter(instance))
            for run, instance in self._runs.items()
            if self._lives(run)
        }

    def _tidy(self) -> None:
        for run in [run for run in self._runs if not self._lives(run)]:
            del self._runs[run]
        while len(self._runs) > RUNS:
            self._runs.popitem(last=False)

    def _lives(self, run: Run) -> bool:
        process = Process.find(self._kernel, run.pid)
        if process is None:
            return False
        try:
            return process.alive() and process.instance in (0, run.instance)
        finally:
            process.close()
