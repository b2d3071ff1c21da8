"""The daemon's way to its work, past the command tree: it lives long, and needs nothing of what verbs need.

Cost: without the command tree, 3 MiB and 50 ms less (2-core virtual machine, tests/bench/run.py).
"""

from __future__ import annotations

import os
import sys

from mcpguard import limits
from mcpguard.errors import GuardError
from mcpguard.system import paths
from mcpguard.system.files import private_directory


def main() -> int:
    """Be the daemon of a service, or the one that `mcpguard run` starts; returns the exit code."""
    try:
        serve(on_demand=sys.argv[-1] == "--on-demand")
    except (GuardError, OSError) as error:
        from mcpguard.cli.main import told

        return told(error)
    return 0


def serve(*, on_demand: bool = False, idle: float | None = None, system: bool = False) -> None:
    """Be the daemon until it is stopped.

    Args:
        on_demand: End after some idle minutes, and log to a file.
        idle: End after so many seconds without a server; 0 never, None as `on_demand` says.
        system: Serve every user of this machine.

    Raises:
        GuardError: It cannot start; the sentence says why.
    """
    if system:
        paths.be_the_system()
    from mcpguard.daemon import process  # asyncio and all

    _log_to(on_demand)
    process.main(
        idle=idle if idle is not None else limits.IDLE_SECONDS if on_demand else 0.0, everybody=system
    )


def _log_to(on_demand: bool) -> None:
    from mcpguard.daemon.logtext import log_to

    if on_demand:
        private_directory(paths.state_dir())
    log_to(os.fspath(paths.daemon_log()) if on_demand else sys.stderr)
