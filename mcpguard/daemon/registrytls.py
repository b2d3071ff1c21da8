"""TLS towards one remote server by the certificate registry: what vouches for it, and what we show.

Rule 1: what counts is what the registry says at the handshake, and then again and again while a connection lasts
(`fault`): a certificate that was revoked, whose pin was changed, or that has ended, ends it.
Rule 2: of a server that the registry does not vouch for, it only shows our certificate: its authorities do not count
there.

Not here: the checks themselves (`daemon.certificates`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from mcpguard.errors import TrustError

if TYPE_CHECKING:
    import ssl

    from mcpguard.daemon.certificates import Certificates

_CHAINS: Final = 64
"""Certificates that one connection to a server remembers; each is of a server that counted."""


class RegistryTls:
    """The registry, as far as one connection to one server goes.

    Args:
        name: What the server is called here: certificates pinned for it are the only ones that count.
        keeper: The registry of the daemon, opened when it is needed.
    """

    def __init__(self, name: str, keeper: Callable[[], Certificates]) -> None:
        self.name = name
        self._keeper = keeper
        self._met: dict[tuple[bytes, ...], str] = {}
        self._closed = False

    def context(self, host: str, own: str) -> ssl.SSLContext:
        """A context in whose handshakes the registry is asked about the server.

        Args:
            host: Host or address in its URL.
            own: Name of our certificate; empty for none.

        Raises:
            TrustError: There is no such certificate here, its key is locked, or no authority counts.
        """
        return self._keeper().remote(self.name, host, own, lambda chain: self._note(chain, host))

    def show(self, context: ssl.SSLContext, own: str) -> None:
        """Let a context that something else vouches for show our certificate, and whatever it is renewed to.

        Raises:
            TrustError: As for `context`.
        """
        self._keeper().showing(context, own)

    def fault(self) -> str:
        """Why the server counts no longer; empty if it does, or nothing of it was seen."""
        for chain, host in self._met.items():
            if why := self._keeper().refusal(chain, host, self.name):
                return why
        return ""

    def close(self) -> None:
        """The connection is over: nothing of it matters any more."""
        self._closed = True
        self._met.clear()

    def _note(self, chain: Sequence[bytes], host: str) -> None:
        if self._closed:
            return
        if len(self._met) >= _CHAINS:
            del self._met[next(iter(self._met))]
        self._met[tuple(chain)] = host


def needed(registry: RegistryTls | None) -> RegistryTls:
    """The registry, where a description of a server names it.

    Raises:
        TrustError: It is not to be had here.
    """
    if registry is None:
        raise TrustError("the certificate registry is the daemon's, and this is not asked through it")
    return registry
