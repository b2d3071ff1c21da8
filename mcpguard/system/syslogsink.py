"""Syslog over UDP, TCP, TLS and the local socket.

What each promises: nothing acknowledges a syslog message. Over UDP and the local socket, one that was sent may be
lost. Over TCP and TLS a batch counts as taken when the receiver's kernel has acknowledged all of it; should the
stream break, `system.shipping` sends again what its program may not have read, so that some may come twice.

Source: RFC 5424; RFC 5426 (UDP: one message, one datagram); RFC 6587 3.4.1 (TCP: octet counting); RFC 5425 (TLS).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import socket
import ssl
import struct
import sys
import termios
import time
from collections.abc import Sequence
from typing import Final

from mcpguard import limits
from mcpguard.audit.event import Event
from mcpguard.audit.formats import PAYLOADS
from mcpguard.audit.syslog import SHORTEST, framed, message
from mcpguard.system.delivery import SinkError, reason, tls
from mcpguard.system.sinkfile import Sink

_TLS_PORT: Final = 6514
_PAUSE: Final = 0.002


class SyslogSink:
    """One receiver; `hostname` is what messages call this machine."""

    def __init__(self, sink: Sink, hostname: str) -> None:
        self._sink = sink
        self._hostname = hostname
        self._stream = sink.url.scheme in ("tcp", "tls")
        self._sock: socket.socket | None = None

    def send(self, events: Sequence[Event]) -> None:
        """Hand over events.

        Raises:
            SinkError: The receiver cannot be reached, or the stream broke.
        """
        if self._sock is not None:
            self.look()
        fresh = self._sock is None
        sock = self._sock = self._sock or self._connected()
        try:
            if self._stream:
                sock.sendall(b"".join(framed(self._message(event, self._sink.most)) for event in events))
                self._acknowledged(sock)
            else:
                for event in events:
                    self._datagram(sock, event)
        except OSError as error:
            self.close()
            broken = self._stream and not fresh
            raise SinkError(f"{self._sink.to}: {reason(error)}", broken=broken) from error

    def look(self) -> None:
        """See whether the receiver has closed the stream.

        Raises:
            SinkError: It has.
        """
        sock = self._sock
        if sock is None or not self._stream:
            return
        sock.setblocking(False)
        try:
            ended = not sock.recv(4096)
        except (BlockingIOError, ssl.SSLWantReadError):
            ended = False
        except OSError:
            ended = True
        if ended:
            self.close()
            raise SinkError(f"{self._sink.to}: the receiver closed the connection", broken=True)
        sock.settimeout(limits.SINK_SECONDS)

    def close(self) -> None:
        """Close the socket."""
        if self._sock is not None:
            with contextlib.suppress(OSError):
                self._sock.close()
            self._sock = None

    def _message(self, event: Event, most: int) -> bytes:
        payload = PAYLOADS[self._sink.format](event, self._hostname)
        return message(event, payload, hostname=self._hostname, facility=self._sink.facility, most=most)

    def _datagram(self, sock: socket.socket, event: Event) -> None:
        try:
            sock.send(self._message(event, self._sink.most))
        except OSError as error:
            if error.errno != errno.EMSGSIZE:
                raise
            sock.send(self._message(event, SHORTEST))

    def _connected(self) -> socket.socket:
        url = self._sink.url
        try:
            if url.scheme == "unix":
                return _local(url.path)
            host, port = url.hostname or "", url.port or _TLS_PORT
            if url.scheme == "udp":
                return _datagrams(host, port)
            sock = socket.create_connection((host, port), limits.SINK_SECONDS)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            return sock if url.scheme == "tcp" else _secured(sock, host, self._sink.ca)
        except OSError as error:
            raise SinkError(f"{self._sink.to}: {reason(error)}") from error

    def _acknowledged(self, sock: socket.socket) -> None:
        """Until the receiver's kernel has everything; where that cannot be asked, its window is all there is."""
        deadline = time.monotonic() + limits.SINK_SECONDS
        while _outstanding(sock):
            if time.monotonic() > deadline:
                raise TimeoutError
            time.sleep(_PAUSE)


def _outstanding(sock: socket.socket) -> int:
    """Bytes that were sent and not acknowledged (tcp(7), SIOCOUTQ)."""
    if sys.platform != "linux":
        return 0
    (count,) = struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0" * 4))
    return int(count)


def _secured(sock: socket.socket, host: str, ca: str) -> socket.socket:
    with contextlib.ExitStack() as undo:
        undo.callback(sock.close)
        secured = tls(ca).wrap_socket(sock, server_hostname=host)
        undo.pop_all()
    return secured


def _datagrams(host: str, port: int) -> socket.socket:
    family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    sock = socket.socket(family, kind, proto)
    sock.connect(address)
    return sock


def _local(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.settimeout(limits.SINK_SECONDS)
    try:
        sock.connect(path)
    except OSError:
        sock.close()
        raise
    return sock
