"""What the kernel said about a peer, as values. Nothing here was said by the peer itself."""

from __future__ import annotations

import msgspec


class PeerFacts(msgspec.Struct, frozen=True):
    """A process at the other end of a Unix socket.

    Attributes:
        pid: Its process id when it connected; a name for people, never acted upon.
        uid: Its effective user id when it connected.
        gid: Its effective group id when it connected.
        pinned: Whether the kernel gave a handle on this very process (a pidfd).
    """

    pid: int
    uid: int
    gid: int
    pinned: bool

    @property
    def grade(self) -> str:
        """How much the evidence is worth: G0, the user id alone. Higher grades need attestation of the host."""
        return "G0"

    def evidence(self) -> dict[str, object]:
        """The members that every audit record of the connection carries."""
        return {"uid": self.uid, "pid": self.pid, "grade": self.grade}
