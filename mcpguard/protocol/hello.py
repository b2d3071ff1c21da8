"""The handshake between shim and daemon on run.sock, and the lines that follow it.

The daemon speaks first: `mcpguard 1 VERSION NONCE LF`. The shim answers with one length-prefixed block of
NUL-separated fields, the three descriptors attached. After that both send short lines::

    daemon -> shim    ready | say TEXT | refuse CODE TEXT | exit CODE
    shim -> daemon    term

NUL separates because it cannot occur in arguments, environment or paths, which are bytes and not always text. The
nonce proves that the block was written after the daemon looked at its peer, not queued before.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from mcpguard import limits
from mcpguard.errors import ProtocolError

_NUMBER: Final = re.compile(rb"-1|[0-9]{1,20}")
WIRE: Final = b"1"
KINDS: Final = (b"command", b"connect", b"name")
_FIXED: Final = 8
_HABITS: Final = 3


class Hello(msgspec.Struct, frozen=True):
    """What a shim asks for. Everything in it is said by the shim and believed only as a wish.

    Attributes:
        version: Version of the shim.
        nonce: The daemon's nonce, echoed.
        kind: `command` to start argv, `connect` to use the Unix socket argv[0], `name` for a registered server.
        name: The server's name, empty to derive one from the command.
        cwd: Working directory of the host.
        habits: The host's umask, soft limit of open files and of core size (-1: unlimited), which servers inherit.
        argv: Command and arguments.
        env: `NAME=value` entries.
    """

    version: str
    nonce: bytes
    kind: str
    name: str
    cwd: bytes
    habits: tuple[int, ...]
    argv: tuple[bytes, ...]
    env: tuple[bytes, ...]


def greeting(version: str, nonce: bytes) -> bytes:
    """The daemon's first line."""
    return b"mcpguard %b %b %b\n" % (WIRE, version.encode(), nonce)


def parse_hello(body: bytes) -> Hello:
    """The block of a shim, without its length.

    Raises:
        ProtocolError: It is not such a block.
    """
    fields = body.split(b"\0")
    if len(fields) < _FIXED or fields[0] != b"run" + WIRE:
        raise ProtocolError("not the handshake of this version of mcpguard run")
    _, version, nonce, kind, name, cwd, habits, count = fields[:_FIXED]
    if kind not in KINDS or not count.isdigit() or len(count) > 6:
        raise ProtocolError("malformed handshake")
    rest = fields[_FIXED:]
    if int(count) > len(rest) or int(count) < 1 or not rest[0] or not cwd.startswith(b"/"):
        raise ProtocolError("malformed handshake")
    try:
        spoken = version.decode("ascii"), kind.decode("ascii"), name.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ProtocolError("malformed handshake") from error
    if len(spoken[2]) > limits.NAME_CHARS or not spoken[2].isprintable():
        raise ProtocolError("the name of a server is short printable text")
    inherited = tuple(int(word) for word in habits.split(b" ") if _NUMBER.fullmatch(word))
    if len(inherited) != _HABITS or inherited[0] < 0:
        raise ProtocolError("malformed handshake")
    argv, env = tuple(rest[: int(count)]), tuple(entry for entry in rest[int(count) :] if entry)
    return Hello(spoken[0], nonce, spoken[1], spoken[2], cwd, inherited, argv, env)


def one_line(text: str) -> bytes:
    """Text for a line of this wire: one line, printable, bounded."""
    kept = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return kept[:2000].encode("utf-8", "backslashreplace")
