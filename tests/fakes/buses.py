"""A message bus of our own: a real dbus-daemon, and services on it."""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator

import pytest

needs_bus = pytest.mark.skipif(shutil.which("dbus-daemon") is None, reason="needs dbus-daemon")


@contextlib.contextmanager
def private_bus() -> Iterator[str]:
    """The address of a bus that nobody else is on."""
    daemon = subprocess.Popen(
        ["dbus-daemon", "--session", "--nofork", "--print-address"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert daemon.stdout
        yield daemon.stdout.readline().strip()
    finally:
        daemon.kill()
        daemon.wait()
        assert daemon.stdout
        daemon.stdout.close()
