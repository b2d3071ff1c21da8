"""Which process is the host behind a shim, and is it still?

The shim is a courier: it passes the ends of the stdio that the host gave it. Who holds the far ends is the host, and
what the kernel says of that process is the evidence. Whatever cannot be told is left empty and said in a sentence;
only a process in a namespace of its own is refused.

Not here: what the facts are worth (`identity.grading`). A process that shares its memory with a helper can forge its
executable before anybody looks, and one that runs as the same user can be made to run anything: the
facts are evidence against mistakes, other users, sandboxes and shells of agents, not against a determined
program of the same user.

Texts of a process are read through its memory, so a hostile process can make the reading slow: `attest_host` may be
called in a thread.
"""

from __future__ import annotations

import os
import stat
import threading

import msgspec

from mcpguard.identity.facts import FileFacts, HostFacts, Program
from mcpguard.system.ancestry import above, parent
from mcpguard.system.digests import Digests, Fingerprint
from mcpguard.system.hostfacts import alone, looked
from mcpguard.system.kernel import Kernel
from mcpguard.system.peercred import Peer
from mcpguard.system.processes import Process
from mcpguard.system.sentinel import Sentinel
from mcpguard.system.stdioholder import Held, find


class Host:
    """A host, held. The holder closes it.

    Attributes:
        facts: What the kernel said.
    """

    def __init__(self, facts: HostFacts, peer: Peer, process: Process | None = None) -> None:
        """Takes over `process`, which is watched from now on; `peer` stays the caller's and outlives this."""
        self.facts = facts
        self._peer = peer
        self._process = process
        self._sentinel = None if process is None else Sentinel(process)
        self._files: dict[str, int] = {}
        self._lock = threading.Lock()

    @property
    def pidfd(self) -> int:
        """Readable once the host has ended; -1 if there is none. It stays the host's."""
        return -1 if self._process is None else self._process.pidfd

    def look(self, stdin: int) -> None:
        """Ask the kernel everything about the process that it says; for `attest_host`.

        Order: the sentinel was set before, so that all of it is true of the program that it watches.

        Raises:
            ForeignError: It lives in a user or pid namespace of its own.
        """
        if self._process is None or self._sentinel is None:
            return
        self.facts, self._files = looked(self._process, self.facts, stdin)
        doubts = [self._sentinel.blind] if self._sentinel.blind else []
        if why := self._sentinel.changed():
            doubts.append(f"while the host was looked at: {why}")
        self.facts = msgspec.structs.replace(
            self.facts, pinned=self._process.pidfd >= 0 and not why, doubts=(*self.facts.doubts, *doubts)
        )

    def recheck(self) -> str:
        """Why the facts no longer hold; empty if they do.

        Both still run what they ran when they were looked at: the host, and the shim that passed its stdio.
        """
        if self._sentinel is not None and (why := self._sentinel.changed()):
            return f"the host is not what it was: {why}"
        if why := self._peer.changed():
            return f"the shim is not what it was: {why}"
        return ""

    def digest(self, digests: Digests) -> HostFacts:
        """Take the digests of the executable and of the script; the facts with them, also kept as `facts`.

        Blocks while files are read; call it in a worker thread. The host may be closed meanwhile.
        """
        executable = self._fingerprint("executable", self.facts.executable, digests)
        script = self._fingerprint("script", self.facts.script, digests)
        doubts = list(self.facts.doubts)
        program = self.facts.program
        if executable.fuses and program is Program.NATIVE:
            program = Program.INTERPRETER
            doubts.append(f"it is an Electron application that runs any script ({executable.fuses[0]} is on)")
        if self._sentinel is not None and (why := self._sentinel.changed()):
            executable = script = Fingerprint(doubt=f"while it was read, of the host: {why}")
        self.facts = msgspec.structs.replace(
            self.facts,
            program=program,
            executable=_with(self.facts.executable, executable),
            script=_with(self.facts.script, script),
            doubts=tuple(doubts),
        )
        return self.facts

    def close(self) -> None:
        """Let go of the process and its files."""
        with self._lock:
            for fd in self._files.values():
                os.close(fd)
            self._files.clear()
            if self._sentinel is not None:
                self._sentinel.close()
            if self._process is not None:
                self._process.close()

    def _fingerprint(self, role: str, file: FileFacts | None, digests: Digests) -> Fingerprint:
        with self._lock:
            if file is None or role not in self._files:
                return Fingerprint(doubt="it was not opened")
            fd = os.dup(self._files[role])
        try:
            return digests.take(fd, file, self.facts.uid, self.facts.instance)
        finally:
            os.close(fd)


def _with(file: FileFacts | None, found: Fingerprint) -> FileFacts | None:
    if file is None:
        return None
    return msgspec.structs.replace(file, digest=found.sha256, doubt=found.doubt)


def attest_host(peer: Peer, stdin: int, stdout: int, kernel: Kernel | None = None) -> Host:
    """The host behind a shim that passed `stdin` and `stdout`, which stay the caller's. Takes no digests.

    Order: the shim has answered a nonce that it got after `peer` was attested, and each of its messages was its own
    (`daemon.lifeline`); the descriptors were checked (`system.descriptors`).

    Raises:
        ForeignError: The shim or the host lives in a user or pid namespace of its own.
    """
    kernel = kernel or Kernel()
    if peer.process is None:
        return Host(_without_handles(peer, stdin, kernel), peer)
    alone(peer.process)
    parental = parent(peer.process)
    held = Held("other")
    try:
        held = find(kernel, stdin, stdout, peer.process, parental)
        return _host(peer, held, parental, stdin)
    except BaseException:
        held.close()
        raise
    finally:
        if parental is not None:
            parental.close()


def _without_handles(peer: Peer, stdin: int, kernel: Kernel) -> HostFacts:
    mode = kernel.fstat(stdin).st_mode
    kind = "socket" if stat.S_ISSOCK(mode) else "pipe" if stat.S_ISFIFO(mode) else "other"
    doubt = "the kernel gives no handle on the process that connected"
    return HostFacts(shim=peer.facts, stdin=kind, doubts=(doubt,))


def _host(peer: Peer, held: Held, parental: Process | None, stdin: int) -> Host:
    """The holder of stdin becomes the host; any other holder is let go."""
    process, other = held.stdin, held.stdout
    facts = HostFacts(
        shim=peer.facts,
        stdin=held.kind,
        holds_both=held.both,
        is_parent=process is not None and process.same(parental),
        chain=_chain(parental, process),
        doubts=tuple(held.doubts),
    )
    if other is not None and other is not process:
        other.close()
    if process is None:
        return Host(facts, peer)
    host = Host(facts, peer, process)
    try:
        host.look(stdin)
    except BaseException:
        host.close()
        raise
    return host


def _chain(parental: Process | None, process: Process | None) -> tuple[str, ...]:
    """What is above the shim; where the host is not among it, what is above the host as well."""
    found = above(parental)
    if process is not None and process.pid not in [one.pid for one in found]:
        found += above(process)
    return tuple(one.path for one in found)
