"""`mcpguard daemon`: start, stop, logs; as a service: install, uninstall, status (`cli.services`)."""

from __future__ import annotations

import fcntl
import os
import time
from typing import Final

import click

from mcpguard.cli import client
from mcpguard.cli.daemonmain import serve
from mcpguard.cli.verbs import Verbs
from mcpguard.errors import DaemonError
from mcpguard.model import how_many
from mcpguard.system import paths

_STOP_SECONDS = 10.0
_OF_SERVICES: Final = dict.fromkeys(("install", "uninstall", "status"), "services")


@click.group(cls=Verbs, table=_OF_SERVICES)
def daemon() -> None:
    """The process that guards: it starts with the first `mcpguard run` and ends after ten idle minutes."""


@daemon.command()
@click.option(
    "--on-demand", is_flag=True, help="End after some idle minutes; log to a file. Used by `mcpguard run`."
)
@click.option(
    "--idle", type=float, default=None, metavar="SECONDS", help="End after so many seconds without a server."
)
@click.option("--system", is_flag=True, help="Serve every user of this machine, and root on admin.sock.")
def start(on_demand: bool, idle: float | None, system: bool) -> None:
    """Run in the foreground until SIGTERM or `mcpguard daemon stop`.

    Exits 1 if a daemon runs already.
    """
    serve(on_demand=on_demand, idle=idle, system=system)


@daemon.command()
def stop() -> None:
    """End the daemon and every guarded server; exits 3 if none runs."""
    reply = client.request({"verb": "stop"})
    deadline = time.monotonic() + _STOP_SECONDS
    while not _ended():
        if time.monotonic() > deadline:
            raise DaemonError(f"the daemon (pid {reply['pid']}) does not end", hint=f"kill -9 {reply['pid']}")
        time.sleep(0.02)
    click.echo(f"stopped; closed {how_many(reply['connections'], 'connection')}")


@daemon.command()
@click.option("-n", "count", type=click.IntRange(1), default=40, show_default=True, help="Lines.")
def logs(count: int) -> None:
    """Show the end of the log of a daemon that was started on demand."""
    try:
        lines = paths.daemon_log().read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        click.echo(f"no log yet at {paths.daemon_log()}", err=True)
        return
    for line in lines[-count:]:
        click.echo("".join(c if c.isprintable() else ascii(c)[1:-1] for c in line))


def _ended() -> bool:
    """Whether no daemon holds the lock; a socket may stay, where a service manager holds it."""
    try:
        lock = os.open(paths.runtime_dir() / "lock", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True
