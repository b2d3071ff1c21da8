"""The certificate of a listener from the registry (`tlsfiles.Keeper`): renewed by the daemon, clients known there.

Not here: the checks themselves (`daemon.certificates`), which the context makes in every handshake.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from mcpguard.credentials.presented import Authenticated
from mcpguard.errors import ConfigError, TrustError
from mcpguard.system.servefile import CERT, Listen

if TYPE_CHECKING:
    import ssl

    from mcpguard.daemon.certificates import Certificates


class RegistryKeeper:
    """The certificates of one listener.

    Args:
        listen: The listener; its `certificate` is a name in the registry.
        keeper: The registry of the daemon, opened when it is needed.
    """

    def __init__(self, listen: Listen, keeper: Callable[[], Certificates]) -> None:
        self._listen = listen
        self._keeper = keeper

    def context(self) -> ssl.SSLContext:
        """A TLS context that stays up to date by itself.

        Raises:
            ConfigError: There is no such certificate, or its key is locked.
        """
        listen = self._listen
        try:
            context = self._keeper().listener(listen.registered, required=CERT in listen.auth)
        except TrustError as error:
            raise ConfigError(error.message, file=listen.name, key="certificate", hint=error.hint) from error
        context.set_alpn_protocols(["http/1.1"])
        return context

    def stamp(self) -> object:
        """Never another one: what is renewed is shown by the same context."""
        return ""

    def identify(self, der: bytes) -> Authenticated:
        """Whom a client certificate stands for.

        Raises:
            TrustError: Nobody.
        """
        return self._keeper().identify(der)

    def refused(self, der: bytes) -> str:
        """Why a client certificate counts no longer; empty if it does."""
        return self._keeper().still_valid(hashlib.sha256(der).hexdigest())
