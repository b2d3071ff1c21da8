"""Tell the service manager how the daemon is: sd_notify(3), one datagram a message.

Without NOTIFY_SOCKET, as on demand and under launchd, nobody is told.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import MutableMapping
from typing import Final

_MICROSECOND: Final = 1_000_000


class ServiceNotify:
    """The service manager, if there is one.

    Takes its variables out of the environment, so that no server takes them for its own.

    Attributes:
        heard: Whether there is one.
    """

    def __init__(self, environ: MutableMapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        self._address = environ.pop("NOTIFY_SOCKET", "")
        asked, whom = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        watched = asked.isascii() and asked.isdigit() and whom in ("", str(os.getpid()))
        self._watched = int(asked) / _MICROSECOND / 2 if watched else 0.0
        self._told = 0.0
        self.heard = self._address.startswith(("/", "@"))

    def ready(self, status: str) -> None:
        """The sockets are served."""
        self._send("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """What is read from files is being read again; `ready` follows."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def alive(self, now: float) -> None:
        """The loop turns; told at half of the time that the manager waits. `now`: seconds of a monotonic clock."""
        if self._watched and now - self._told >= self._watched:
            self._told = now
            self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """The end has begun."""
        self._send("STOPPING=1")

    def _send(self, *words: str) -> None:
        """A manager that is away is no reason to stop."""
        if not self.heard:
            return
        address = self._address.encode()
        if address.startswith(b"@"):
            address = b"\0" + address[1:]
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto("\n".join(words).encode(), address)
