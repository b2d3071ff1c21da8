"""Who is at the other end of a listener: what the connection alone shows, joined with what authenticators say.

Rule 1: all kinds that a listener names are required. What is not shown, or cannot be checked here, refuses.
Rule 2: kinds that are joined narrow: who shows two credentials may what both allow, and is called by the names of
both.

Rule 3: what must be asked of every peer (`always` in auth.toml) is asked whatever the listener names.

`uid` is what the kernel says of the peer of a Unix socket, `cert` the verified certificate of a TLS client. Every
other kind is an authenticator's.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from mcpguard.credentials.presented import Authenticated, Found, Presented
from mcpguard.daemon.combining import combined
from mcpguard.errors import ConfigError, GuardError, PeerError
from mcpguard.model import JsonObject
from mcpguard.system.accounts import groups_of
from mcpguard.system.servefile import CERT, UID, Listen
from mcpguard.system.tlsfiles import Keeper

_OWN: Final = (UID, CERT)
_TOKENS: Final = "jwt"
_GROUP: Final = "group:"


class Authenticators(Protocol):
    """A chain of authenticators for what a request shows beside its connection."""

    async def authenticate(
        self, presented: Presented, required: tuple[str, ...], connected: Authenticated | None
    ) -> Authenticated:
        """Who it is, by all of these kinds; `connected` is what its connection shows, if that counts here.

        Raises:
            PeerError: It is not shown, or not right; a sentence without anything secret.
        """

    def issuers(self) -> tuple[str, ...]:
        """Who gives the tokens that count here."""

    def asked_always(self) -> bool:
        """Whether every peer must be put to `vet`. Quick: asked for each request."""

    async def vet(self, found: Authenticated, presented: Presented) -> Authenticated:
        """What those that must be asked of every peer add to what the connection shows.

        Raises:
            PeerError: One of them refuses, or it is not known which there are.
        """

    async def renew(
        self, found: Authenticated, presented: Presented, connected: Authenticated | None
    ) -> Authenticated:
        """What a credential gives now that was found right before: the same, less, or nothing.

        Asked now and then while a connection lasts. What can be shown once only is not asked for again.

        Raises:
            PeerError: It counts no more: expired, revoked, its key was changed.
        """

    def still(self, found: Authenticated) -> str:
        """Empty while a credential counts; else why not, a sentence. Quick: asked before sensitive calls."""


class Unknown(PeerError):
    """No credential was shown, or one that is wrong: another one may do. Counted against the network."""


class ConnectionAuth:
    """Authenticates the peers of one listener.

    Args:
        listen: The listener.
        keeper: Whoever has its certificates; None for a Unix socket.
        others: What checks kinds other than `uid` and `cert`; None if nothing does.

    Raises:
        ConfigError: The listener requires a kind that nothing here checks.
    """

    def __init__(self, listen: Listen, keeper: Keeper | None, others: Authenticators | None) -> None:
        self._listen = listen
        self._keeper = keeper
        self._others = others
        self._uids = frozenset(listen.uids or (os.geteuid(),))
        self.required = tuple(kind for kind in listen.auth if kind not in _OWN)
        if self.required and others is None:
            raise ConfigError(
                f"nothing here checks credentials of the kind {self.required[0]!a}", file=listen.name, key="auth",
                hint='use "uid" or "cert"',
            )  # fmt: skip

    async def authenticate(self, presented: Presented) -> Found:
        """Who a peer is.

        Raises:
            Unknown: A credential is missing or wrong.
            PeerError: The peer may not connect here, whatever it shows.
        """
        found = self._connected(presented)
        if not self.required or self._others is None:
            return _joined(found, await self._added(found, presented))
        try:
            other = await self._others.authenticate(presented, self.required, _alone(found))
        except PeerError as error:
            raise Unknown(error.message, hint=error.hint) from error
        return _joined(found, other)

    async def renewed(self, found: Found, presented: Presented) -> Found:
        """What the credentials of an open connection give now.

        Raises:
            PeerError: They count no more.
        """
        connected, other = self._connected(presented), found.other
        if other is None:  # `always` may have been written meanwhile
            return _joined(connected, await self._added(connected, presented))
        if self._others is not None:
            other = await self._others.renew(other, presented, _alone(connected))
        return _joined(connected, other)

    @property
    def issuers(self) -> tuple[str, ...]:
        """Who gives tokens that this listener takes; none where it takes no tokens."""
        if _TOKENS not in self.required or self._others is None:
            return ()
        return self._others.issuers()

    @property
    def looks_again(self) -> bool:
        """Whether others than the connection have a say in who a peer is."""
        return bool(self.required) or (self._others is not None and self._others.asked_always())

    async def _added(self, connected: list[Authenticated], presented: Presented) -> Authenticated | None:
        """What is added whatever the listener requires; a refusal is no wrong credential: no other one would do."""
        whole = _alone(connected)
        if self._others is None or whole is None or not self._others.asked_always():
            return None
        return await self._others.vet(whole, presented)

    def _connected(self, presented: Presented) -> list[Authenticated]:
        """What the connection alone shows."""
        found: list[Authenticated] = []
        if UID in self._listen.auth:
            found.append(self._user(presented))
        if CERT in self._listen.auth:
            found.append(self._holder(presented))
        return found

    def still(self, found: Found, presented: Presented) -> str:
        """Empty while a credential counts; else why not."""
        if found.whole.expires and found.whole.expires <= time.time():
            return "the credential has expired"
        if (
            CERT in self._listen.auth
            and self._keeper is not None
            and (why := self._keeper.refused(presented.certificate))
        ):
            return why
        other = found.other
        return self._others.still(other) if other is not None and self._others is not None else ""

    def _user(self, presented: Presented) -> Authenticated:
        uid = presented.uid
        if uid is None:
            raise PeerError("the kernel does not say who is at the other end")
        if uid not in self._uids:
            raise PeerError(
                f"uid {uid} may not use the listener {self._listen.name}",
                hint="its `uids` in serve.toml say who may",
            )
        groups = frozenset(f"{_GROUP}{name}" for name in groups_of(uid))
        return Authenticated(frozenset({f"uid:{uid}"}) | groups, {}, instance=f"uid:{uid}")

    def _holder(self, presented: Presented) -> Authenticated:
        if not presented.certificate or self._keeper is None:
            raise Unknown(
                "no client certificate was shown", hint="connect with one that the listener's CA has issued"
            )
        try:
            found = self._keeper.identify(presented.certificate)
        except GuardError as error:
            raise Unknown(error.message, hint=error.hint) from error
        if why := self._keeper.refused(presented.certificate):
            raise Unknown(why)
        return found


def _in_time(found: Authenticated) -> Authenticated:
    if found.expires and found.expires <= time.time():
        raise Unknown("the credential has expired", hint="get a new one")
    return found


def _joined(connected: Sequence[Authenticated], other: Authenticated | None) -> Found:
    found = [*connected, other] if other is not None else connected
    return Found(_in_time(found[0] if len(found) == 1 else _one(found)), other)


def _alone(connected: Sequence[Authenticated]) -> Authenticated | None:
    """What the connection shows by itself; None if nothing of that counts here."""
    return _joined(connected, None).whole if connected else None


def _one(found: Sequence[Authenticated]) -> Authenticated:
    """Several credentials as one."""
    evidence: JsonObject = {}
    for each in found:
        evidence.update(each.evidence)
    instance = " + ".join(each.instance for each in found if each.instance)
    return msgspec.structs.replace(combined(found), evidence=evidence, instance=instance)
