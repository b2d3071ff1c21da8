"""Which process holds the other end of the stdio, on macOS: the interface of `system.hostprocess`, other facts.

What the kernel says of a Unix socket's far end is not fixed when it is connected: LOCAL_PEERTOKEN looks up the
process that last *used* the far end, at the moment of asking. A pid alone may be a stranger's by then. The pair of
pid and pidversion names one image of one process: it changes with fork and with exec. So the token is read again
after every other look, and a different pair refuses.

Source: xnu-11417 bsd/kern/uipc_usrreq.c; bsd/sys/codesign.h; TN3126 (hardened runtime).

Not here: scripts that a validly signed interpreter runs (`Program.INTERPRETER` is told by the name of its file);
the vendor's requirement, which an enrolled host states by team and signing identifier.
"""

from __future__ import annotations

import contextlib
import os
import select
import stat
import struct
from pathlib import Path
from typing import Final, Protocol

import msgspec

from mcpguard.errors import PeerError
from mcpguard.identity.facts import FileFacts, HostFacts, PeerFacts, Program
from mcpguard.system.digests import Digests
from mcpguard.system.macoscalls import Parentage, Signature

_CS_VALID: Final = 0x1
_CS_ADHOC: Final = 0x2
_CS_GET_TASK_ALLOW: Final = 0x4
_CS_FORCED_LV: Final = 0x10
_CS_REQUIRE_LV: Final = 0x2000
_CS_RUNTIME: Final = 0x10000
_CS_LINKER_SIGNED: Final = 0x20000
_CS_DEBUGGED: Final = 0x10000000
_CS_SIGNED: Final = 0x20000000
_NEEDED: Final = _CS_VALID | _CS_SIGNED | _CS_RUNTIME
_EITHER: Final = _CS_REQUIRE_LV | _CS_FORCED_LV
_FATAL: Final = {
    _CS_GET_TASK_ALLOW: "it lets debuggers attach (get-task-allow)",
    _CS_DEBUGGED: "it was or is debugged",
    _CS_ADHOC: "its signature is ad hoc",
    _CS_LINKER_SIGNED: "only the linker signed it",
}
_OPENING: Final = {
    "com.apple.security.cs.disable-library-validation": "it loads libraries of others",
    "com.apple.security.cs.allow-dyld-environment-variables": "its environment can inject libraries",
    "com.apple.security.get-task-allow": "it lets debuggers attach",
}
_INTERPRETERS: Final = ("node", "python", "ruby", "perl", "deno", "bun", "osascript")
_SHELLS: Final = ("sh", "bash", "zsh", "dash", "fish", "ksh")


class Layer(Protocol):
    """What is asked of the system; `macoscalls.Calls` on macOS. Every method raises OSError if it refuses."""

    def token(self, fd: int) -> bytes:
        """Audit token of the far end of a socket, now."""

    def uid(self, fd: int) -> int:
        """User id of the far end, when it was connected."""

    def status(self, pid: int, token: bytes) -> int:
        """Code-signing flags."""

    def signature(self, token: bytes) -> Signature:
        """What a valid signature says."""

    def path(self, token: bytes) -> str:
        """Path of the executable."""

    def parentage(self, pid: int) -> Parentage:
        """Parent and beginning."""

    def descriptors(self, pid: int) -> list[int]:
        """Open pipe descriptors."""

    def pipe(self, pid: int, fd: int) -> tuple[int, int]:
        """Handles of a pipe: near end, far end."""

    def watch(self, pid: int) -> int:
        """A descriptor that becomes readable on exit and exec."""


class Token(msgspec.Struct, frozen=True):
    """The members of an audit token that name one image of one process of one user."""

    euid: int
    pid: int
    version: int

    @classmethod
    def parse(cls, raw: bytes) -> Token:
        """Decode an `audit_token_t`.

        Raises:
            PeerError: It has another size.
        """
        try:
            _, euid, _, _, _, pid, _, version = struct.unpack("8I", raw)
        except struct.error as error:
            raise PeerError("the kernel's audit token has an unknown form") from error
        return cls(euid, pid, version)


def require_same(fd: int, before: Token, layer: Layer) -> None:
    """Refuse a far end that is no longer the process, or no longer the program, that was looked at.

    Raises:
        PeerError: It is another one, or the kernel does not say.
    """
    if _token(fd, layer) != before:
        raise PeerError("the process at the other end has changed while it was looked at", hint="try again")


def peer_token(fd: int, layer: Layer) -> Token:
    """The token of the far end of a socket, checked against the user id that was fixed when it was connected.

    Raises:
        PeerError: They differ, or the kernel does not say.
    """
    token = _token(fd, layer)
    try:
        uid = layer.uid(fd)
    except OSError as error:
        raise PeerError("the kernel does not say who is at the other end") from error
    if token.euid != uid or token.pid <= 0:
        raise PeerError(f"the socket of uid {uid} is used by a process of uid {token.euid}")
    return token


def _token(fd: int, layer: Layer) -> Token:
    try:
        return Token.parse(layer.token(fd))
    except OSError as error:
        raise PeerError("the kernel does not say who is at the other end") from error


class MacHost:
    """The host of one connection. The holder closes it.

    Attributes:
        facts: What the system said.
        pidfd: Becomes readable when the host exits or executes another program; -1 if it cannot be watched.
    """

    def __init__(self, facts: HostFacts, stdin: int, token: Token | None, layer: Layer) -> None:
        self.facts = facts
        self.pidfd = -1
        self._stdin = os.dup(stdin) if token is not None else -1
        self._token = token
        self._layer = layer
        if facts.pid:
            with contextlib.suppress(OSError):
                self.pidfd = layer.watch(facts.pid)

    def recheck(self) -> str:
        """Empty while the same image of the same process runs; else what has changed."""
        if self.pidfd >= 0:
            poll = select.poll()
            poll.register(self.pidfd, select.POLLIN)
            if poll.poll(0):
                return "the host has ended or runs another program"
        if self._token is not None:
            try:
                require_same(self._stdin, self._token, self._layer)
            except PeerError as error:
                return error.message
        return ""

    def digest(self, digests: Digests) -> HostFacts:  # noqa: ARG002 (the interface of `system.hostprocess`)
        """The facts: on macOS the code signature stands where elsewhere a digest does."""
        return self.facts

    def close(self) -> None:
        """Let go of the descriptors."""
        for fd in (self.pidfd, self._stdin):
            if fd >= 0:
                os.close(fd)
        self.pidfd = self._stdin = -1


def attest_host(shim: PeerFacts, stdin: int, stdout: int, layer: Layer) -> MacHost:
    """Find the process that holds the far ends of stdin and stdout, and what its code signature says.

    Raises:
        PeerError: It changed while it was looked at.
    """
    if not stat.S_ISSOCK(os.fstat(stdin).st_mode):
        return MacHost(_through_pipes(shim, stdin, layer), stdin, None, layer)
    first = peer_token(stdin, layer)
    facts = _described(shim, first, layer.token(stdin), layer)
    both = stat.S_ISSOCK(os.fstat(stdout).st_mode) and _token(stdout, layer) == first
    parent = _parent(shim.pid, layer)
    facts = msgspec.structs.replace(
        facts, stdin="socket", holds_both=both, is_parent=parent == first.pid, pinned=True
    )
    require_same(stdin, first, layer)
    return MacHost(facts, stdin, first, layer)


def _described(shim: PeerFacts, token: Token, raw: bytes, layer: Layer) -> HostFacts:
    """What is known of the process that a token names. Order: the caller reads the token again afterwards."""
    doubts: list[str] = []
    path, signature, flags = "", Signature("", "", frozenset()), 0
    try:
        path = layer.path(raw)
        flags = layer.status(token.pid, raw)
        signature = layer.signature(raw)
    except OSError as error:
        doubts.append(f"its code signature cannot be checked: {error.strerror}")
    openings = tuple(_openings(flags, signature)) if not doubts else ()
    sound = not doubts and not openings and bool(signature.team)
    name = path.rpartition("/")[2]
    return HostFacts(
        shim=shim,
        pid=token.pid,
        uid=token.euid,
        name=name,
        alone=True,
        program=_program(name),
        executable=_file(path),
        label=f"{signature.team}/{signature.identifier}" if sound else "",
        confined=sound,
        team=signature.team if sound else "",
        signing=signature.identifier if sound else "",
        doubts=(*doubts, *openings),
    )


def _openings(flags: int, signature: Signature) -> list[str]:
    """What lets other code into a signed process, as sentences."""
    found = [sentence for bit, sentence in _FATAL.items() if flags & bit]
    if flags & _NEEDED != _NEEDED:
        found.append("it is not validly signed with the hardened runtime")
    if not flags & _EITHER:
        found.append("its libraries are not validated")
    return found + [sentence for name, sentence in _OPENING.items() if name in signature.entitlements]


def _program(name: str) -> Program:
    if name in _SHELLS:
        return Program.SHELL
    plain = name.rstrip("0123456789.")
    return Program.INTERPRETER if plain in _INTERPRETERS else Program.NATIVE


def _file(path: str) -> FileFacts | None:
    """The file at a path, as people know it: on macOS the signature is the identity."""
    try:
        info = Path(path).stat()
    except OSError:
        return None
    writable = bool(info.st_mode & 0o022) or info.st_uid != 0
    return FileFacts(path, info.st_dev, info.st_ino, info.st_size, info.st_uid, writable)


def _parent(pid: int, layer: Layer) -> int:
    """The parent of a process, if it began no later than its child; 0 if that cannot be told."""
    try:
        child = layer.parentage(pid)
        parent = layer.parentage(child.parent)
        again = layer.parentage(pid)
    except OSError:
        return 0
    return child.parent if again.parent == child.parent and parent.began <= child.began else 0


def _through_pipes(shim: PeerFacts, stdin: int, layer: Layer) -> HostFacts:
    """Pipes name nobody: the shim's parent, if it has the far end of stdin open. It is not pinned, so G0 at most."""
    doubt = "stdin is no socket, and macOS pins nobody at the other end of a pipe"
    parent = _parent(shim.pid, layer)
    kind = "pipe" if stat.S_ISFIFO(os.fstat(stdin).st_mode) else "other"
    if not parent or not _holds(parent, stdin, layer):
        return HostFacts(shim=shim, stdin=kind, doubts=(doubt,))
    return HostFacts(
        shim=shim, pid=parent, uid=shim.uid, stdin=kind, is_parent=True, alone=True, doubts=(doubt,)
    )


def _holds(pid: int, stdin: int, layer: Layer) -> bool:
    """Whether a process has the far end of our pipe open."""
    try:
        _, far = layer.pipe(os.getpid(), stdin)
        return far != 0 and any(layer.pipe(pid, fd)[0] == far for fd in layer.descriptors(pid))
    except OSError:
        return False
