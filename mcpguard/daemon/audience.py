"""Whom does this daemon serve: the user whose daemon it is, or everybody on the machine?

For everybody (`daemon start --system`), whose uid is known from the kernel and nothing else is believed:

Rule 1: only root uses admin.sock. Servers run under the daemon's own uid, so that uid may not.
Rule 2: only what root has registered runs. A command that a caller gives would run with the rights of the daemon.
Rule 3: nothing of a caller chooses what a registered server loads: working directory, HOME, PATH, umask and limits
are the daemon's; of the caller's variables a server gets those that its manifest passes on by name.
Rule 4: one user may not have all sessions.

Decided:
    *Servers under the daemon's uid*, until there is a way to give each one of its own: they can do to the files of
    the daemon what they like, which is why root registers them; rejected: servers under the caller's uid, for which
    the daemon would have to be able to become anybody.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Final

import msgspec

from mcpguard.credentials.environment import MINIMUM
from mcpguard.errors import DaemonError, PeerError, TrustError
from mcpguard.identity.manifest import Manifest
from mcpguard.protocol.hello import Hello
from mcpguard.system.peercred import Peer, require_namespaces

_ROOT: Final = 0
_HABITS: Final = (0o077, -1, 0)
_PATH: Final = "/usr/local/bin:/usr/bin:/bin"
_SHARE: Final = 4
"""One user has at most this part of the sessions: a fourth."""


class Audience(msgspec.Struct, frozen=True):
    """Who is served.

    Attributes:
        everybody: Whether that is every user of the machine; else it is the daemon's own.
        home: Home directory of servers that strangers start.
    """

    everybody: bool = False
    home: Path = Path("/")

    def require_caller(self, peer: Peer) -> None:
        """Refuse a shim of a user who is not served, or in a namespace of its own.

        Raises:
            PeerError: It is refused.
        """
        ours = os.geteuid()
        if not self.everybody and peer.facts.uid != ours:
            raise PeerError(f"uid {peer.facts.uid} may not use the daemon of uid {ours}")
        require_namespaces(peer, strangers=self.everybody)

    def require_person(self, peer: Peer) -> None:
        """Refuse whoever may not use admin.sock.

        Raises:
            PeerError: It is refused.
        """
        wanted = _ROOT if self.everybody else os.geteuid()
        if peer.facts.uid != wanted:
            raise PeerError(f"the other end belongs to uid {peer.facts.uid}, not {wanted}")
        require_namespaces(peer, strangers=self.everybody)

    def require_share(self, uid: int, others: Collection[int], room: int) -> None:
        """Refuse a session more than there is room for, or than one user may have. `others`: whose there are.

        Raises:
            DaemonError: It is refused.
        """
        if len(others) >= room:
            raise DaemonError(f"{len(others)} servers run already, the limit of open files allows no more")
        theirs = sum(each == uid for each in others)
        if self.everybody and theirs >= max(1, room // _SHARE):
            raise DaemonError(f"{theirs} servers of uid {uid} run already, and the daemon serves others, too")

    def require_registered(self, hello: Hello, *, registered: bool) -> None:
        """Refuse what only its own user may run.

        Raises:
            TrustError: It is refused.
        """
        if self.everybody and (hello.kind == "connect" or not registered):
            raise TrustError(
                "the daemon of this machine runs only what root has registered",
                hint="leave out --system to run it under your own daemon",
            )

    def launched(self, hello: Hello, manifest: Manifest) -> Hello:
        """What reaches a registered server of what its shim has said."""
        if not self.everybody:
            return hello
        passed = {name.encode() for name in manifest.launch.env_pass} - MINIMUM
        env = [entry for entry in hello.env if entry.partition(b"=")[0] in passed]
        ours = {"HOME": str(self.home), "PATH": os.environ.get("PATH", _PATH)}
        ours |= {name: os.environ[name] for name in ("LANG", "LC_ALL", "TZ") if name in os.environ}
        env += [os.fsencode(f"{name}={value}") for name, value in ours.items()]
        return msgspec.structs.replace(hello, env=tuple(env), cwd=b"/", habits=_HABITS)
