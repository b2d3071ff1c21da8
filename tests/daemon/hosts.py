"""A host that does what a test says: it ends, it becomes another program, it stays."""

import os

from mcpguard.daemon.callers import Attested
from mcpguard.identity.enrolment import Recognition
from mcpguard.identity.facts import FileFacts, HostFacts, PeerFacts, Program
from mcpguard.system.digests import Digests

FACTS = HostFacts(
    shim=PeerFacts(pid=60, uid=1000, gid=1000, pinned=True),
    pid=50,
    uid=1000,
    stdin="socket",
    holds_both=True,
    is_parent=True,
    pinned=True,
    alone=True,
    program=Program.NATIVE,
    executable=FileFacts("/opt/host", 1, 2, 3, 0, writable=False, digest="ab" * 32),
    chain=("/usr/bin/bash",),
)


class TameHost:
    """Implements `callers.Host`; its handle is an eventfd."""

    def __init__(self, facts: HostFacts = FACTS) -> None:
        self.facts = facts
        self.pidfd = os.eventfd(0)
        self.changed = ""
        self.looked = 0
        self.hashed = 0

    def digest(self, digests: Digests) -> HostFacts:
        self.hashed += 1
        return self.facts

    def recheck(self) -> str:
        self.looked += 1
        return self.changed

    def die(self) -> None:
        os.eventfd_write(self.pidfd, 1)

    def close(self) -> None:
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1


def attested(host: TameHost, name: str = "") -> Attested:
    """What admission would know of it."""
    return Attested(host, host.facts, Recognition(name), Digests())
