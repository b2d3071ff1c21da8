"""Speak to the daemon on admin.sock: one request, one reply."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from mcpguard import limits
from mcpguard.approvals.book import ApprovalError
from mcpguard.cli import shim
from mcpguard.errors import ConfigError, DaemonError, GuardError, PeerError, SecretError, TrustError
from mcpguard.model import JsonObject
from mcpguard.system import paths
from mcpguard.system.peercred import require_user
from mcpguard.system.rundir import listeners

_SECONDS = 20.0


class PresenceWanted(GuardError):
    """An answer that counts only from a person who is there.

    Attributes:
        methods: The ways to show it that are set up.
        challenge: What is to be answered, once.
    """

    def __init__(self, message: str, methods: list[str], challenge: str) -> None:
        super().__init__(message)
        self.methods = methods
        self.challenge = challenge


def request(content: JsonObject) -> JsonObject:
    """Ask the daemon.

    Raises:
        DaemonError: No daemon runs, it belongs to somebody else, or it refused; `hint` says what to do.
        ConfigError: It refused a policy; nothing was applied.
        PeerError: It refuses to answer us: another user, a namespace, the process tree of a host.
        SecretError: A secret cannot be had, or be kept.
        TrustError: It refused a signature, a manifest or an enrolment; nothing was stored.
        ApprovalError: There is no such ticket, or it waits no longer.
        PresenceWanted: Whoever approves has to show presence.
    """
    try:
        reply = msgspec.json.decode(_exchange(msgspec.json.encode(content) + b"\n"), type=dict[str, Any])
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise DaemonError(
            "the mcpguard daemon is not running", hint="the first mcpguard run starts it"
        ) from error
    except (OSError, ValueError) as error:
        raise DaemonError(
            f"the mcpguard daemon does not answer: {error}", hint="mcpguard daemon logs"
        ) from error
    if reply.get("ok"):
        return reply
    raise _failure(reply, content)


def _failure(reply: JsonObject, content: JsonObject) -> GuardError:
    """What a reply that says no is, by who must act."""
    sentence = str(reply.get("error", "the daemon refused"))
    match reply.get("code"):
        case "config":
            return ConfigError(sentence, file=str(content.get("source", "policy")))
        case "refused":
            return PeerError(sentence)
        case "trust":
            return TrustError(sentence)
        case "secret":
            return SecretError(sentence)
        case "approval":
            return ApprovalError(sentence, code=str(reply.get("why", "")))
        case "presence":
            methods = [str(method) for method in reply.get("methods", [])]
            return PresenceWanted(sentence, methods, str(reply.get("challenge", "")))
        case _:
            return DaemonError(sentence)


@contextlib.contextmanager
def held(content: JsonObject) -> Iterator[tuple[JsonObject, Callable[[], str]]]:
    """Ask the daemon for what lasts as long as the connection; the reply, and what waits for its end and says why.

    Raises:
        GuardError: As for `request`.
    """
    try:
        sock = _connected()
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise DaemonError(
            "the mcpguard daemon is not running", hint="the first mcpguard run starts it"
        ) from error
    with sock:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            sock.sendall(msgspec.json.encode(content) + b"\n")
        reply = msgspec.json.decode(_line(sock) or b"{}", type=dict[str, Any])
        if not reply.get("ok"):
            raise _failure(reply, content)
        sock.settimeout(None)

        def over() -> str:
            last = msgspec.json.decode(_line(sock) or b"{}", type=dict[str, Any])
            return str(last.get("error", "the daemon ended"))

        yield reply, over


def ensure() -> None:
    """Start the daemon if it does not run.

    Raises:
        DaemonError: It does not start.
    """
    try:
        shim.connect().close()
    except shim.Failed as failed:
        raise DaemonError(failed.sentence) from failed


def running() -> bool:
    """Whether a daemon answers."""
    try:
        request({"verb": "status"})
    except DaemonError:
        return False
    return True


def _connected() -> socket.socket:
    """A connection to admin.sock, whose other end is the daemon's user."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(_SECONDS)
        sock.connect(os.fspath(paths.admin_socket()))
        require_user(sock, *listeners(str(paths.runtime_dir())))
    except PeerError as error:
        sock.close()
        raise DaemonError(error.message) from error
    except OSError:
        sock.close()
        raise
    return sock


def _exchange(line: bytes) -> bytes:
    with _connected() as sock:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # refused before we had asked
            sock.sendall(line)
        data = _line(sock)
        if not data:
            raise DaemonError("the mcpguard daemon does not answer: it ended", hint="mcpguard status")
        return data


def _line(sock: socket.socket) -> bytes:
    data = bytearray()
    while not data.endswith(b"\n"):
        try:
            more = sock.recv(65536)
        except ConnectionResetError:  # it ended with our request unread
            more = b""
        if not more or len(data) > limits.CONTROL_BYTES:
            break
        data += more
    return bytes(data)
