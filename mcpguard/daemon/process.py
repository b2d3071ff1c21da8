"""The daemon as a process: its lock, its limits, its loop.

Start is race-free: whoever holds the lock in the runtime directory is the daemon; the others see that it answers
and leave.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import resource
import socket
import time
from pathlib import Path

from mcpguard.daemon.app import Daemon, Service
from mcpguard.daemon.audience import Audience
from mcpguard.errors import DaemonError
from mcpguard.system import paths
from mcpguard.system.activation import handed_over
from mcpguard.system.allocator import keep_freed_memory, quiet_collector
from mcpguard.system.files import private_directory, public_directory
from mcpguard.system.journal import Journal
from mcpguard.system.journalfiles import latest
from mcpguard.system.policystore import PolicyStore, SystemPolicy
from mcpguard.system.privacy import keep_private
from mcpguard.system.servicenotify import ServiceNotify
from mcpguard.system.truststore import Seen

_log = logging.getLogger("mcpguard")
_LOCK_SECONDS = 10.0


def take_lock(directory: Path, *, handed: bool = False) -> int:
    """The lock that makes this process the daemon; it is held until the descriptor is closed.

    It names us, so that a shim can tell whether who listens is who holds it. `handed`: the socket is a service
    manager's, and that it can be connected to says nothing about another daemon.

    Raises:
        DaemonError: Another daemon serves already (its message is what to tell the user).
    """
    fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if (not handed and _answers(directory / "run.sock")) or time.monotonic() > deadline:
                os.close(fd)
                raise DaemonError("a daemon runs already", hint="mcpguard status") from None
            time.sleep(0.02)
        else:
            os.ftruncate(fd, 0)
            os.pwrite(fd, b"%d\n" % os.getpid(), 0)
            return fd


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            sock.connect(os.fspath(path))
        except OSError:
            return False
        return True


def main(*, idle: float = 0.0, everybody: bool = False) -> None:
    """Run the daemon in the foreground until SIGTERM, SIGINT or `mcpguard daemon stop`.

    `everybody`: serve every user of the machine.

    Raises:
        GuardError: It cannot start; the sentence says why.
    """
    os.umask(0o077)
    os.chdir("/")
    if not keep_private():
        _log.warning("this system does not keep other programs of yours from looking into the daemon")
    directory = (public_directory if everybody else private_directory)(paths.runtime_dir())
    service = Service(handed_over(directory), ServiceNotify())
    lock = take_lock(directory, handed=bool(service.sockets))
    _raise_limits()
    private_directory(paths.state_dir())
    audience = Audience(everybody, private_directory(paths.server_home())) if everybody else Audience()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_main(idle, service, audience))
    os.close(lock)


async def _main(idle: float, service: Service, audience: Audience) -> None:
    journal = Journal.open(paths.audit_dir())
    last = latest(paths.audit_dir(), "trust")
    remembered = Seen.from_record(last.body) if last else None
    store = (SystemPolicy if audience.everybody else PolicyStore)(paths.policy_dir())
    daemon = Daemon(journal, store, idle, remembered=remembered, service=service, audience=audience)
    quiet_collector()
    keep_freed_memory()
    await daemon.serve()


def _raise_limits() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    _, core = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, core))


def _loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    """The loop of uvloop where it is installed; asyncio's own loop gives the same results, slower."""
    if os.environ.get("MCPGUARD_LOOP") == "asyncio":
        return None
    try:
        import uvloop  # noqa: PLC0415 (optional)
    except ImportError:
        return None
    return uvloop.Loop
