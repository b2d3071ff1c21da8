"""`mcpguard audit ship`: brings the log to the sinks of `export.toml`, one thread for each, until it is stopped.

The daemon starts it where there are sinks, and it ends with the daemon: its standard input is a pipe of which only
the daemon has the other end. What it reads are files; it asks the daemon nothing, and the daemon waits for it never.

When `export.toml` changes it begins anew, as the same process.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from typing import Final

import click

from mcpguard.errors import DaemonError, GuardError
from mcpguard.system import paths
from mcpguard.system.files import private_directory
from mcpguard.system.shipping import Shipper
from mcpguard.system.sinkfile import SinkFile

_LOCK: Final = "lock"
_LOOK_SECONDS: Final = 0.5
_LAST_SECONDS: Final = 0.5
"""After the daemon has ended, its last records are still sent for so long."""
_JOIN_SECONDS: Final = 2.0


@click.command()
@click.option("--supervised", is_flag=True, help="End at the end of standard input. Used by the daemon.")
def ship(supervised: bool) -> None:
    """Send the log to the sinks that are set up, now and as it grows, until Ctrl-C.

    The daemon does this by itself. Exits 1 if it is done already, 6 if export.toml is not valid.
    """
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        del os.environ[name]  # what is sent where is in one file
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    file = SinkFile(paths.export_dir())
    lock = _locked()
    before = file.stamp()
    sinks = file.load()
    if not sinks and not supervised:
        click.echo("no sinks are set up; see: mcpguard audit sink add --help", err=True)
    if supervised:
        threading.Thread(target=_until_the_end, args=(stop,), daemon=True).start()
    shippers = [Shipper(sink, paths.audit_dir(), paths.export_dir(), stop) for sink in sinks]
    threads = [threading.Thread(target=shipper.run, daemon=True) for shipper in shippers]
    for thread in threads:
        thread.start()
    while not stop.wait(_LOOK_SECONDS):
        if file.stamp() != before:
            _settle(stop, threads)
            os.close(lock)
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 (ourselves)
    _settle(stop, threads)
    os._exit(0)  # a thread that still waits for its sink has nothing that would be lost


def _settle(stop: threading.Event, threads: Sequence[threading.Thread]) -> None:
    stop.set()
    deadline = time.monotonic() + _JOIN_SECONDS
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))


def _until_the_end(stop: threading.Event) -> None:
    """Wait for the end of standard input."""
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    stop.wait(_LAST_SECONDS)
    stop.set()


def _locked() -> int:
    """The right to send; two exporters would send everything twice.

    Raises:
        DaemonError: Another one has it.
    """
    try:
        directory = private_directory(paths.export_dir())
        descriptor = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise DaemonError("the log is sent to its sinks already", hint="mcpguard audit sink list") from error
    except OSError as error:
        raise GuardError(f"cannot begin: {(error.strerror or str(error)).lower()}") from error
    return descriptor
