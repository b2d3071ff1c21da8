"""Places outside the log that a checkpoint can be sent to, where whoever rewrites the log cannot reach it.

A file takes notes one after the other; journald and syslog take one line (`checkpoint.in_a_line`); a witness takes
the note by HTTPS POST. What each of them promises is in SECURITY.md.

Not here: which checkpoint, and when (`journalnotes`).
"""

from __future__ import annotations

import os
import socket
import ssl
import stat
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final

from mcpguard.audit import checkpoint
from mcpguard.errors import JournalError

JOURNALD: Final = Path("/run/systemd/journal/socket")
"""Where journald takes native messages (systemd.io/JOURNAL_NATIVE_PROTOCOL)."""
SYSLOG: Final = Path("/dev/log")
"""Where the system's syslog takes messages."""
SECONDS: Final = 20.0
"""How long a witness may take."""
_AUTH_NOTICE: Final = 10 * 8 + 5  # RFC 5424, 6.2.1: authpriv.notice


def to_file(path: Path, note: bytes) -> bool:
    """Append a note to a file, made if it is not there; False if its last note is this one already.

    Raises:
        JournalError: What is there is no file of notes.
        OSError: It cannot be written.
    """
    fd = os.open(
        path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600
    )
    with os.fdopen(fd, "r+b", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise JournalError(f"{path} is not a file")
        there = list(checkpoint.notes(file.read()))
        if there and there[-1] == note:
            return False
        os.write(fd, note)
        os.fsync(fd)
    return True


def to_journald(note: bytes, place: Path = JOURNALD) -> None:
    """One entry in the system's journal.

    Raises:
        OSError: It is not there, or takes nothing.
    """
    line = checkpoint.in_a_line(note)
    size = checkpoint.parse_note(note)[0].size
    fields = (
        "SYSLOG_IDENTIFIER=mcpguard",
        "PRIORITY=5",
        f"MCPGUARD_CHECKPOINT_SIZE={size}",
        f"MESSAGE={line}",
    )
    _datagram(place, "".join(f"{field}\n" for field in fields).encode())


def to_syslog(note: bytes, place: Path = SYSLOG) -> None:
    """One message to the system's syslog, as facility authpriv.

    Raises:
        OSError: It is not there, or takes nothing.
    """
    _datagram(place, f"<{_AUTH_NOTICE}>mcpguard: {checkpoint.in_a_line(note)}".encode())


def _datagram(place: Path, data: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.settimeout(SECONDS)
        sock.connect(str(place))
        sock.send(data)


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: who was named is who is told."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Nowhere."""


def to_witness(url: str, note: bytes) -> bytes:
    """POST the note; what is answered, at most `checkpoint.NOTE_BYTES` of it. TLS is verified, no redirect followed.

    Raises:
        JournalError: It is no https address, or answers with anything but 2xx.
        OSError: It cannot be reached, or its certificate does not hold.
    """
    if not url.startswith("https://"):
        raise JournalError(f"{url} is not an https address")
    request = urllib.request.Request(  # noqa: S310 (https, see above)
        url, note, {"Content-Type": "text/plain; charset=utf-8", "User-Agent": "mcpguard"}, method="POST"
    )
    context = ssl.create_default_context()
    opener = urllib.request.build_opener(_Stay, urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(request, timeout=SECONDS) as answer:
            content: bytes = answer.read(checkpoint.NOTE_BYTES)
    except urllib.error.HTTPError as error:
        with error:
            raise JournalError(f"{url} answers {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        reason = error.reason
        raise reason if isinstance(reason, OSError) else OSError(str(reason)) from error
    return content
