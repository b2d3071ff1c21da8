"""Who is on the host's side of a connection: looked at once when it comes, watched while it lasts.

Facts from the kernel (`system.hostprocess`), their worth (`identity.grading`), the name under which a person has
enrolled that host (`daemon.enrolments`); all three together are what policy calls the caller.

Not here: whether that caller may do anything (`policy`).
"""

from __future__ import annotations

import asyncio
import os
import select
import stat
import sys
import time
from collections.abc import Callable
from typing import Final, Protocol

from mcpguard.daemon.enrolments import Enrolments
from mcpguard.daemon.party import Party
from mcpguard.errors import PeerError
from mcpguard.identity.enrolment import Recognition
from mcpguard.identity.facts import Appraisal, HostFacts, evidence
from mcpguard.identity.grading import appraise
from mcpguard.identity.release import release_of
from mcpguard.model import Caller, JsonObject
from mcpguard.policy.rules import ANYBODY
from mcpguard.system.accounts import groups_of
from mcpguard.system.digests import Digests
from mcpguard.system.hostprocess import attest_host
from mcpguard.system.kernel import Kernel
from mcpguard.system.loginsession import session_of
from mcpguard.system.peercred import Peer

_UNKNOWN = "?"
"""What an executable is called that we may not know (`identity.facts`)."""
_DELETED = " (deleted)"


_INLINE_SECONDS: Final = 0.005
"""Who holds a pipe is a question to every process. Where the last answer took longer, a thread asks, so that calls of
others go on meanwhile; a thread costs a millisecond of its own."""


class Host(Protocol):
    """A host that is held by a handle, whatever system says so."""

    facts: HostFacts

    @property
    def pidfd(self) -> int:
        """Readable once the host has ended; -1 if there is none."""

    def digest(self, digests: Digests) -> HostFacts:
        """The facts with digests; blocking."""

    def recheck(self) -> str:
        """Empty while the same program of the same process runs; else what has changed."""

    def close(self) -> None:
        """Let go of it."""


class Attested:
    """The host of one connection (`party.Party`). The holder closes it.

    Attributes:
        facts: What the kernel said.
        appraisal: What that is worth.
        recognition: As which enrolled host it was recognised.
        caller: What policy sees.
    """

    def __init__(
        self,
        host: Host,
        facts: HostFacts,
        recognition: Recognition,
        digests: Digests,
        cwd: str = "",
        groups: tuple[str, ...] = (),
    ) -> None:
        self.facts = facts
        self.appraisal = appraise(facts)
        self.recognition = recognition
        self.caller = _caller(facts, self.appraisal, recognition, cwd, groups)
        self._host = host
        self._digests = digests
        self._watching = False

    @property
    def pid(self) -> int:
        """The host's process id; 0 if nobody was found."""
        return self.facts.pid

    @property
    def name(self) -> str:
        """The name of the enrolled host that it is; empty if it is none."""
        return self.recognition.name

    @property
    def handle(self) -> int:
        """Inode of its pidfd; 0 if not known."""
        return self.facts.instance

    @property
    def uid(self) -> int:
        """The user whose shim came."""
        return self.facts.shim.uid

    @property
    def login(self) -> str:
        """The login session that it is in; empty if it is in none that is known."""
        return session_of(self.facts.cgroup, self.facts.uid)

    def evidence(self) -> JsonObject:
        """The members of every record of the connection."""
        return evidence(self.facts, self.appraisal, self.recognition.name)

    async def take_digests(self) -> None:
        """Take the digests that were not taken because nothing depended on them; what the caller may is unchanged."""
        self.facts = await asyncio.to_thread(self._host.digest, self._digests)

    def recheck(self) -> str:
        """Empty while the same program of the same process runs; else what has changed."""
        return self._host.recheck()

    def alive(self) -> bool:
        """Whether the process still runs; true where there is no handle to ask."""
        if self._host.pidfd < 0:
            return True
        poll = select.poll()
        poll.register(self._host.pidfd, select.POLLIN)
        return not poll.poll(0)

    def watch(self, gone: Callable[[], None]) -> None:
        """Call `gone`, once, when the process has ended."""
        if self._host.pidfd < 0 or self._watching:
            return

        def ended() -> None:
            self._unwatch()
            gone()

        asyncio.get_running_loop().add_reader(self._host.pidfd, ended)
        self._watching = True

    def close(self) -> None:
        """Let go of the handles."""
        self._unwatch()
        self._host.close()

    def _unwatch(self) -> None:
        if self._watching:
            asyncio.get_running_loop().remove_reader(self._host.pidfd)
            self._watching = False


class Callers:
    """Attests hosts for one daemon.

    Args:
        enrolments: The hosts that a person has enrolled.
        kernel: What to ask.
    """

    def __init__(self, enrolments: Enrolments, kernel: Kernel) -> None:
        self._enrolments = enrolments
        self._kernel = kernel
        self._digests = Digests(kernel)
        self._took = 0.0
        self._groups = groups_of(os.geteuid())  # once: an account database may be slow
        self._uid = os.geteuid()

    async def attest(self, peer: Peer, stdin: int, stdout: int, on_update: str) -> Attested:
        """The host behind the stdio that a shim has passed.

        Raises:
            PeerError: It lives in another namespace, or is no longer what it was when it was looked at.
        """
        began = time.monotonic()
        if self._took > _INLINE_SECONDS and stat.S_ISFIFO(os.fstat(stdin).st_mode):
            host: Host = await asyncio.to_thread(_held, peer, stdin, stdout, self._kernel)
        else:
            host = _held(peer, stdin, stdout, self._kernel)
        if host.facts.stdin == "pipe":
            self._took = time.monotonic() - began
        try:
            groups = self._groups
            if peer.facts.uid != self._uid:
                groups = await asyncio.to_thread(groups_of, peer.facts.uid)
            facts = host.facts
            if self._worth_hashing(facts):
                facts = await asyncio.to_thread(host.digest, self._digests)
            recognition = self._enrolments.recognise(facts, on_update)
            require_unchanged(host)
        except BaseException:
            host.close()
            raise
        return Attested(host, facts, recognition, self._digests, _folder(peer), groups)

    def _worth_hashing(self, facts: HostFacts) -> bool:
        """Whether a digest can matter: for the grade if the file is beyond the user's reach, else for a name."""
        if facts.executable is None:
            return False
        return not facts.executable.writable or self._enrolments.concerns(facts)


def require_unchanged(host: Host | Party) -> None:
    """Refuse a host that is not what it was.

    Raises:
        PeerError: It ended, or runs another program.
    """
    if changed := host.recheck():
        raise PeerError(changed, hint="start the server again from the host")


def _held(peer: Peer, stdin: int, stdout: int, kernel: Kernel) -> Host:
    if sys.platform == "darwin":
        from mcpguard.system import macos, macoscalls  # noqa: PLC0415 (libraries that only macOS has)

        return macos.attest_host(peer.facts, stdin, stdout, macoscalls.Calls())
    return attest_host(peer, stdin, stdout, kernel)


def _folder(peer: Peer) -> str:
    """The folder that the host started the shim in, as the kernel says; empty if it does not."""
    try:
        folder = peer.process.readlink("cwd") if peer.process is not None else ""
    except OSError:
        return ""
    return folder if folder.startswith("/") and not folder.endswith(_DELETED) else ""


def _caller(
    facts: HostFacts, appraisal: Appraisal, recognition: Recognition, cwd: str, groups: tuple[str, ...]
) -> Caller:
    named = (f"host:{recognition.name}",) if recognition.name else ()
    paths = [each.path for each in (facts.script, facts.executable) if each is not None]
    return Caller(
        principals=(ANYBODY, f"uid:{facts.shim.uid}", *(f"group:{name}" for name in groups), *named),
        grade=appraisal.grade,
        unit=facts.unit,
        label=facts.label,
        ancestors=_ancestors(facts),
        release=release_of(paths),
        cwd=cwd,
        instance=f"{facts.pid}-{facts.instance}" if facts.instance else "",
    )


def _ancestors(facts: HostFacts) -> tuple[str, ...]:
    """The host, then what is above the shim, in which it is not named again: no host is above itself.

    Empty, so that no rule which refuses some ancestors is met, if nothing is known of them.
    """
    own = facts.executable.path if facts.executable else _UNKNOWN
    others = list(facts.chain)
    for name in (own, own + _DELETED):
        if name in others:
            others.remove(name)
            break
    return (own, *others) if facts.chain or facts.pid == 1 else ()
