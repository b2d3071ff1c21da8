"""journald through its own socket: one datagram for an entry, a sealed memory file for one that is too long for that.

journald acknowledges nothing: an entry that its socket took may be dropped there by its rate limit.

Source: systemd, JOURNAL_NATIVE_PROTOCOL.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Sequence
from typing import Final

from mcpguard import limits
from mcpguard.audit.event import Event
from mcpguard.audit.native import entry
from mcpguard.system.delivery import SinkError, reason
from mcpguard.system.sinkfile import Sink

_SEALS: Final = ("F_SEAL_SHRINK", "F_SEAL_GROW", "F_SEAL_WRITE", "F_SEAL_SEAL")
_TOO_LONG: Final = (errno.EMSGSIZE, errno.ENOBUFS)


class JournaldSink:
    """The journal of this machine."""

    def __init__(self, sink: Sink, _hostname: str) -> None:
        self._sink = sink
        self._sock: socket.socket | None = None

    def send(self, events: Sequence[Event]) -> None:
        """Hand over events.

        Raises:
            SinkError: journald cannot be reached.
        """
        try:
            self._sock = self._sock or self._connected()
            for event in events:
                _deliver(self._sock, entry(event))
        except OSError as error:
            self.close()
            raise SinkError(f"{self._sink.to}: {reason(error)}") from error

    def look(self) -> None:
        """Nothing to see: datagrams have no connection."""

    def close(self) -> None:
        """Close the socket."""
        if self._sock is not None:
            with contextlib.suppress(OSError):
                self._sock.close()
            self._sock = None

    def _connected(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock.settimeout(limits.SINK_SECONDS)
        try:
            sock.connect(self._sink.url.path)
        except OSError:
            sock.close()
            raise
        return sock


def _deliver(sock: socket.socket, data: bytes) -> None:
    try:
        sock.send(data)
    except OSError as error:
        if error.errno not in _TOO_LONG or not hasattr(os, "memfd_create"):
            raise
        _deliver_file(sock, data)


def _deliver_file(sock: socket.socket, data: bytes) -> None:
    descriptor = os.memfd_create("mcpguard", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(descriptor, "wb", buffering=0) as file:  # noqa: PTH123 (a descriptor, not a path)
        file.write(data)
        seals = 0
        for name in _SEALS:
            seals |= getattr(fcntl, name)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
        socket.send_fds(sock, [b""], [descriptor])
