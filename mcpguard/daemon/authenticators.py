"""The chain that peers beyond stdio pass who must show more than their connection: tokens, keys, then plug-ins.

Rule 1. All that is required must be there; what is found is combined so that each part can only narrow: principals of
all, scopes that all allow, the earliest expiry.
Rule 2. A refusal is one sentence without a secret in it. It is recorded as a failed authentication; of a flood, a few
are, and the number of the others.
Rule 3. What was found is looked at again (`recheck`) as long as it is used: keys are revoked, certificates and tokens
end, issuers withdraw keys, plug-ins change their mind.

Not here: what the connection itself shows (`connectionauth`), throttling of addresses that fail (the listener;
`failures` counts), policy.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from mcpguard.credentials import apikey, jws
from mcpguard.credentials.dpop import NonceWanted
from mcpguard.credentials.presented import Authenticated, Presented
from mcpguard.credentials.replay import ReplayCache
from mcpguard.daemon import plugins
from mcpguard.daemon.apikeys import ApiKeys
from mcpguard.daemon.bearer import Tokens, credential
from mcpguard.daemon.combining import combined, earliest
from mcpguard.daemon.outgoing import Fetch
from mcpguard.daemon.refused import Refused
from mcpguard.errors import ConfigError, PeerError
from mcpguard.model import JsonObject
from mcpguard.system.authfile import Auth, AuthFile
from mcpguard.system.servefile import PLUGIN

_log: Final = logging.getLogger("mcpguard")
JWT: Final = "jwt"
APIKEY: Final = "apikey"
KINDS: Final = (JWT, APIKEY)
"""What a listener may require of us, the strongest first; also `plugin:NAME`, beside one of these or what the
connection shows."""


class Authenticators:
    """The chain of one daemon.

    Args:
        file: `auth.toml`.
        keys: The API keys.
        refused: Where refusals are written down; None if whoever asks does that.
        fetch: The way to issuers.
        nonce_key: Random; of DPoP nonces.
        clock: Unix seconds.
        ticks: Seconds that only go up.

    Attributes:
        failures: How many were refused, by the kind that failed.
        fault: Why nobody is let in; empty if they are.
    """

    def __init__(
        self,
        file: AuthFile,
        keys: ApiKeys,
        refused: Refused | None,
        fetch: Fetch,
        nonce_key: bytes,
        *,
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._file = file
        self._keys = keys
        self._refused = refused
        self._fetch = fetch
        self._nonce_key = nonce_key
        self._clock = clock
        self._ticks = ticks
        self._proofs, self._spent = ReplayCache("DPoP proof"), ReplayCache("token")
        self._stamp: tuple[int, int, int] = (-1, 0, 0)
        self._leaving: list[plugins.Authenticator] = []
        self.failures: Counter[str] = Counter()
        self.fault = ""
        self._tokens = self._judge(Auth())
        self._issuers: tuple[str, ...] = ()
        self._plugins: dict[str, plugins.Authenticator] = {}
        self._ways: dict[str, Callable[[Presented], Awaitable[Authenticated]]] = {
            JWT: self._jwt, APIKEY: self._apikey,
        }  # fmt: skip
        self.reload()

    async def authenticate(
        self, presented: Presented, required: tuple[str, ...], connected: Authenticated | None = None
    ) -> Authenticated:
        """Who a peer is by the kinds that are `required`, which must all succeed.

        Plug-ins are told of what the connection shows (`connected`), too, which is not in the answer; without it, one
        of `KINDS` must be required.

        Raises:
            NonceWanted: A DPoP proof must hold a nonce (`credentials.dpop`); not a failure.
            PeerError: It is not known who it is; recorded.
        """
        try:
            return await self._found(presented, required, connected)
        except PeerError as error:
            self._note(error, presented, required)
            raise

    def issuers(self) -> tuple[str, ...]:
        """Who gives the tokens that count here."""
        return self._issuers

    def asked_always(self) -> bool:
        """Whether `vet` has something to ask or to refuse."""
        self.reload()
        return bool(self.fault) or any(each.settings.always for each in self._plugins.values())

    async def vet(self, found: Authenticated, presented: Presented) -> Authenticated:
        """What plug-ins that are `always` asked add to a peer whom its connection alone shows.

        Raises:
            PeerError: One refuses, or `auth.toml` is not valid: it may name one.
        """
        return await self._plugged(Authenticated(frozenset(), {}), presented, [], found)

    async def recheck(self, found: Authenticated, connected: Authenticated | None = None) -> None:
        """What was found counts still; issuers and plug-ins are asked where that is due.

        `connected` is what the connection shows now.

        Raises:
            PeerError: It does not, and why. Not recorded here: whoever ends the connection says so.
        """
        if why := self.still(found):
            raise PeerError(why, hint="connect again with a fresh one")
        self._require_settings()
        if token := found.evidence.get(JWT):
            await self._tokens.recheck(token)
        asked = found.evidence.get("plugins", ())
        for name, each in self._plugins.items():
            if each.settings.always and name not in asked:
                raise PeerError(f"the authenticator {name} was not asked yet", hint="connect again")
        for name in asked:
            await self._plugin(name).recheck(_together(connected, found))

    async def renew(
        self,
        found: Authenticated,
        presented: Presented,  # noqa: ARG002 (of listeners)
        connected: Authenticated | None = None,
    ) -> Authenticated:
        """What was found, as it counts now: a key that was rotated meanwhile ends with the overlap.

        Raises:
            PeerError: As `recheck`.
        """
        await self.recheck(found, connected)
        key = found.evidence.get(APIKEY)
        if key is None:
            return found
        ends = self._keys.ends(str(key["id"]), str(key["digest"]))
        return msgspec.structs.replace(found, expires=earliest(found.expires, ends))

    def still(self, found: Authenticated) -> str:
        """Empty while what was found counts, as far as is known here; else why not. Quick, and asks nobody."""
        if found.expires and self._clock() >= found.expires:
            return "what was shown has expired"
        try:
            if key := found.evidence.get(APIKEY):
                self._keys.still(str(key["id"]), str(key["digest"]))
            if token := found.evidence.get(JWT):
                self._require_settings()
                self._tokens.still(token)
        except PeerError as error:
            return error.message
        return ""

    # --- configuration -------------------------------------------------------------------------------------

    def reload(self) -> None:
        """Read `auth.toml` again if it has changed. While it is not valid nobody is let in: it may name plug-ins."""
        stamp = self._file.stamp()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        self._leaving += self._plugins.values()
        try:
            auth = self._file.load()
            if auth.issuers:
                jws.require_library()
            self._plugins = {each.name: plugins.load(each) for each in auth.plugins}
            self._tokens, self.fault = self._judge(auth), ""
            rules = [*(each.rules for each in auth.issuers), *(each.rules for each in auth.opaque)]
            self._issuers = tuple(each.issuer for each in rules if each.issuer)
        except (ConfigError, PeerError) as error:
            self._tokens, self._plugins, self.fault = self._judge(Auth()), {}, error.sentence()
            self._issuers = ()
            _log.error("no peer beyond stdio is let in: %s", self.fault)

    async def tick(self) -> None:
        """A second has gone by."""
        self.reload()
        self._keys.tick()
        leaving, self._leaving = self._leaving, []
        for each in leaving:
            await each.close()

    async def close(self) -> None:
        """Ask plug-ins no more."""
        for each in (*self._leaving, *self._plugins.values()):
            await each.close()
        self._keys.note()

    def _judge(self, auth: Auth) -> Tokens:
        return Tokens(auth, self._fetch, self._clock, self._ticks, self._nonce_key, self._proofs, self._spent)

    def _require_settings(self) -> None:
        if self.fault:
            raise PeerError(
                "how peers are recognised is not known here", hint="auth.toml is not valid; the log says why"
            )

    # --- the kinds -----------------------------------------------------------------------------------------

    async def _found(
        self, presented: Presented, required: tuple[str, ...], connected: Authenticated | None
    ) -> Authenticated:
        kinds = [kind for kind in KINDS if kind in required]
        named = [kind.removeprefix(PLUGIN) for kind in required if kind.startswith(PLUGIN)]
        if not (kinds or connected) or len(kinds) + len(named) != len(set(required)):
            raise PeerError(
                "the listener does not say how peers are recognised", hint=f"of {', '.join(KINDS)}"
            )
        parts = {kind: await self._ways[kind](presented) for kind in kinds}
        evidence: JsonObject = {"auth": kinds, **{kind: part.evidence for kind, part in parts.items()}}
        found = combined(list(parts.values())) if parts else Authenticated(frozenset(), {})
        found = msgspec.structs.replace(found, evidence=evidence)
        if self._plugins or named or self.fault:
            found = await self._plugged(found, presented, named, connected)
        return found

    async def _plugged(
        self, found: Authenticated, presented: Presented, named: list[str], connected: Authenticated | None
    ) -> Authenticated:
        """What was found, and what plug-ins add to it and to what the connection shows."""
        self._require_settings()  # a plug-in that must be asked may stand in a file that cannot be read
        asked = [name for name, each in self._plugins.items() if each.settings.always or name in named]
        asked += [name for name in named if name not in asked]
        for name in asked:
            added = await self._plugin(name).add(_together(connected, found), presented)
            if added.expires and self._clock() >= added.expires:
                raise PeerError(f"the authenticator {name} refuses: it says that this has expired")
            both = combined([found, added])
            found = msgspec.structs.replace(both, evidence=found.evidence, instance=found.instance)
        if asked:
            found = msgspec.structs.replace(found, evidence={**found.evidence, "plugins": asked})
        return found

    def _plugin(self, name: str) -> plugins.Authenticator:
        found = self._plugins.get(name)
        if found is None:
            raise PeerError(f"there is no authenticator {name!a} here", hint="[plugin.NAME] in auth.toml")
        return found

    async def _apikey(self, presented: Presented) -> Authenticated:
        scheme, shown = credential(presented.authorization)
        if scheme != "bearer" or not shown:
            raise PeerError("no API key was shown", hint="as a Bearer credential, mcpg_...")
        certificate = _digest(presented.certificate).hex() if presented.certificate else ""
        key, secret = self._keys.recognise(shown, presented.uid, certificate, presented.network)
        expires = apikey.expiry(key, secret)
        evidence = {"id": key.id, "name": key.name, "digest": secret.digest[: apikey.DIGITS]}
        return Authenticated(
            frozenset([key.principal]), evidence, expires, key.servers, key.tools, key.principal
        )

    async def _jwt(self, presented: Presented) -> Authenticated:
        self._require_settings()
        certificate = jws.encoded(_digest(presented.certificate)) if presented.certificate else ""
        return await self._tokens.judge(presented, certificate)

    # --- what is written down ------------------------------------------------------------------------------

    def _note(self, error: PeerError, presented: Presented, required: tuple[str, ...]) -> None:
        """A refusal; that a proof needs a nonce is a part of how proofs are made."""
        if isinstance(error, NonceWanted):
            return
        shown = "+".join(required)
        self.failures[shown] += 1
        host: JsonObject = {"shown": shown}
        if presented.network:
            host["network"] = presented.network
        if presented.uid is not None:
            host["uid"] = presented.uid
        if self._refused is not None:
            self._refused.note_peer(error, host)


def _together(connected: Authenticated | None, found: Authenticated) -> Authenticated:
    """What plug-ins are told of: all of it, under the name of the connection where that has one."""
    if connected is None:
        return found
    return msgspec.structs.replace(
        combined([connected, found]), instance=connected.instance or found.instance
    )


def _digest(certificate: bytes) -> bytes:
    return hashlib.sha256(certificate).digest()
