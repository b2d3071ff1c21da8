"""Do the sockets of a daemon refuse who they should refuse? Asked by a child of ours with the wrong identity.

Each decoy does what an impostor would do and gets the daemon's own answer. What this system does not let us try is
said, and counts as nothing: it is no proof of a refusal.
"""

from __future__ import annotations

import ctypes
import enum
import json
import os
import select
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from mcpguard import __version__

_CLONE_NEWUSER: Final = 0x10000000
_NOBODY: Final = 65534
_SECONDS: Final = 5.0
_AT_ONCE: Final = 0.2
_ADMIN: Final = b'{"verb":"status"}\n'


class Result(enum.Enum):
    """What became of a decoy."""

    REFUSED = "refused"
    LET_IN = "let in"
    NOT_TRIED = "not tried"


class Decoy(msgspec.Struct, frozen=True):
    """One try.

    Attributes:
        who: Who tried what, as the beginning of a sentence.
        result: What became of it.
        words: What was said to it, or why it was not tried.
    """

    who: str
    result: Result
    words: str


def decoys(admin: Path, run: Path) -> list[Decoy]:
    """All that can be tried here."""
    tries: list[tuple[str, Callable[[], None], Callable[[], tuple[Result, str]]]] = [
        ("a process in a user namespace of its own", _foreign_namespace, lambda: _ask(admin, _ADMIN)),
        ("a shim that answers with the number of another connection", _nobody_else, lambda: _replay(run)),
    ]
    if os.geteuid() == 0:
        tries.append(("a process of another user", _other_user, lambda: _ask(admin, _ADMIN)))
    return [Decoy(who, *_in_child(become, work)) for who, become, work in tries]


def _in_child(become: Callable[[], None], work: Callable[[], tuple[Result, str]]) -> tuple[Result, str]:
    """What `work` finds in a child that has become somebody else."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, json.dumps(_tried(become, work)).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as stream:  # noqa: PTH123 (a descriptor, not a path)
        said = stream.read()
    os.waitpid(child, 0)
    if not said:
        return Result.NOT_TRIED, "the child ended without a word"
    word, words = json.loads(said)
    return Result(word), words


def _tried(become: Callable[[], None], work: Callable[[], tuple[Result, str]]) -> tuple[str, str]:
    try:
        become()
    except (OSError, AttributeError) as error:
        return Result.NOT_TRIED.value, str(getattr(error, "strerror", "") or error).lower()
    try:
        result, words = work()
    except (FileNotFoundError, ConnectionRefusedError, TimeoutError) as error:  # nobody was there to refuse
        return Result.NOT_TRIED.value, (error.strerror or str(error)).lower()
    except OSError as error:
        return Result.REFUSED.value, (error.strerror or str(error)).lower()
    return result.value, words


def _foreign_namespace() -> None:
    """A user namespace of our own, as sandboxes and containers have.

    Raises:
        OSError: The system does not let us.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWUSER) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _nobody_else() -> None:
    """Who has the right identity and says the wrong thing."""


def _other_user() -> None:
    os.setgroups([])
    os.setresgid(_NOBODY, _NOBODY, _NOBODY)
    os.setresuid(_NOBODY, _NOBODY, _NOBODY)


def _ask(path: Path, line: bytes) -> tuple[Result, str]:
    """One request on the socket of people."""
    with _connected(path) as sock:
        if not select.select([sock], [], [], _AT_ONCE)[0]:  # who is refused for who it is, is told at once
            sock.sendall(line)
        said = _all(sock)
    try:
        reply = json.loads(said)
    except ValueError:
        return Result.REFUSED, "the connection was closed"
    return (
        (Result.LET_IN, "it was answered")
        if reply.get("ok")
        else (Result.REFUSED, str(reply.get("error", "")))
    )


def _replay(path: Path) -> tuple[Result, str]:
    """A handshake with a nonce that belongs to another connection."""
    with _connected(path) as other, _connected(path) as sock:
        nonce = other.recv(1000).split(b" ")[-1].strip()
        sock.recv(1000)
        head = [
            b"run1",
            __version__.encode(),
            nonce,
            b"command",
            b"decoy",
            b"/",
            b"18 -1 0",
            b"1",
            b"/bin/true",
        ]
        body = b"\0".join(head)
        ends = socket.socketpair()
        try:
            rights = b"".join(end.fileno().to_bytes(4, sys.byteorder) for end in (ends[0], ends[0], ends[0]))
            sock.sendmsg(
                [len(body).to_bytes(4, "big") + body], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)]
            )
            said = _all(sock)
        finally:
            for end in ends:
                end.close()
    if said.startswith((b"ready", b"exit", b"say")):
        return Result.LET_IN, said[:80].decode(errors="replace").strip()
    refusal = said.removeprefix(b"refuse ").partition(b"\n")[0]  # an exit code, and words
    return Result.REFUSED, refusal.lstrip(b"0123456789 ").decode(errors="replace")


def _connected(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(_SECONDS)
    try:
        sock.connect(os.fspath(path))
    except OSError:
        sock.close()
        raise
    return sock


def _all(sock: socket.socket) -> bytes:
    said = b""
    while more := sock.recv(65536):
        said += more
    return said
