"""Tokens that peers show: signed ones (JWT) and opaque ones, with or without a proof of their key.

A signed token costs its verification once; after that it is found by its digest, and what can change is looked at
each time: the clock, whether its key is still the issuer's, the certificate or proof that it is bound to.

Cost: a token that is known 7 us, with a hundred groups 9 us; the first time 0.2 ms; a proof 0.25 ms (CPython 3.11 on
a 2-core virtual machine; `python -m tests.bench.tokens` measures it).

Not here: which kinds are asked for, and records (`daemon.authenticators`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

import msgspec

from mcpguard.audit.bounded import Table
from mcpguard.credentials import dpop, jws, tokens
from mcpguard.credentials.presented import Authenticated, Presented
from mcpguard.credentials.replay import ReplayCache
from mcpguard.daemon.introspection import Introspector, marked
from mcpguard.daemon.jwks import KeySet
from mcpguard.daemon.outgoing import Fetch
from mcpguard.errors import PeerError
from mcpguard.model import JsonObject
from mcpguard.system.authfile import Auth, Issuer

TOKENS: Final = 4096
"""Tokens that are known at a time; with its claims one takes some 3 KiB."""
_SCHEMES: Final = ("bearer", "dpop")


class _Held(msgspec.Struct, frozen=True):
    """A token that was verified: by which key, of which issuer."""

    judged: tokens.Judged
    provider: _Provider
    thumbprint: str


class _Provider:
    """An issuer and its keys."""

    def __init__(self, settings: Issuer, keys: KeySet) -> None:
        self.settings = settings
        self.rules = settings.rules
        self.keys = keys


class Tokens:
    """Judges tokens by one state of the configuration.

    Args:
        auth: The configuration.
        fetch: The way to issuers.
        clock: Unix seconds.
        ticks: Seconds that only go up.
        nonce_key: Of DPoP nonces; random, and the same over states of the configuration.
        proofs: Ids of proofs that were used; likewise.
        spent: Ids of tokens that count once; likewise.
    """

    def __init__(
        self,
        auth: Auth,
        fetch: Fetch,
        clock: Callable[[], float],
        ticks: Callable[[], float],
        nonce_key: bytes,
        proofs: ReplayCache,
        spent: ReplayCache,
    ) -> None:
        self._clock = clock
        self._nonce_key = nonce_key
        self._proofs = proofs
        self._spent = spent
        self._held: Table[bytes, _Held] = Table(_nothing, TOKENS)
        self._providers = {
            each.rules.issuer: _Provider(
                each, KeySet(each.rules.issuer, each.jwks_url, fetch, ticks, each.ttl, each.stale)
            )
            for each in auth.issuers
        }
        self._opaque = [Introspector(each, fetch, clock, ticks) for each in auth.opaque]

    async def judge(self, presented: Presented, certificate: str) -> Authenticated:
        """Whom the token of a request names; `certificate` is the SHA-256 of the one beside it, base64url.

        Raises:
            NonceWanted: A proof must hold a nonce.
            PeerError: There is no token, or it does not count.
        """
        scheme, token = credential(presented.authorization)
        if scheme not in _SCHEMES or not token or not token.isascii():
            raise PeerError("no token was shown", hint="as a Bearer or DPoP credential")
        if token.count(".") == 2 or not self._opaque:
            held = await self._signed(token)
            judged, wanted, nonce = held.judged, held.provider.rules.dpop, held.provider.settings.nonce
        else:
            judged, wanted, nonce = await self._introspected(token)
        tokens.require_certificate(judged, certificate)
        if dpop.require_scheme(scheme, judged.key, wanted):
            self._prove(presented, token, judged, nonce=nonce)
        return judged.authenticated

    async def recheck(self, evidence: JsonObject) -> None:
        """A token that counted does still: its issuer, its key, its subject; `evidence` is what `judge` gave.

        Raises:
            PeerError: It does not.
        """
        if evidence.get("way") == "introspection":
            await self._server(evidence).ask_again(str(evidence["mark"]))
            return
        provider = self._provider(evidence)
        await provider.keys.refresh()
        self.still(evidence)

    def still(self, evidence: JsonObject) -> None:
        """Likewise, as far as is known here: nobody is asked.

        Raises:
            PeerError: It does not.
        """
        if evidence.get("way") == "introspection":
            self._server(evidence)
            return
        if not self._provider(evidence).keys.holds(str(evidence.get("key"))):
            raise PeerError("the issuer has withdrawn the key of the token", hint=tokens.AGAIN)

    def _provider(self, evidence: JsonObject) -> _Provider:
        found = self._providers.get(str(evidence.get("issuer")))
        if found is None or found.rules.name != evidence.get("provider"):
            raise PeerError("the issuer of the token is no longer trusted", hint="auth.toml was changed")
        _require_kept(evidence, found.rules)
        return found

    def _server(self, evidence: JsonObject) -> Introspector:
        for each in self._opaque:
            if each.settings.rules.name == evidence.get("provider"):
                _require_kept(evidence, each.settings.rules)
                return each
        raise PeerError("who vouched for the token does so no longer", hint="auth.toml was changed")

    async def _signed(self, token: str) -> _Held:
        name = hashlib.sha256(token.encode()).digest()
        held = self._held.get(name)
        if held is not None and await self._counts(held):
            return held
        return await self._verified(token, name)

    async def _counts(self, held: _Held) -> bool:
        """Whether nothing has changed for a token that was verified; if not, it is looked at anew."""
        keys = held.provider.keys
        if not keys.fresh:
            await keys.refresh()
        return self._clock() < held.judged.until and keys.holds(held.thumbprint)

    async def _verified(self, token: str, name: bytes) -> _Held:
        compact = jws.split(token)
        issuer = compact.payload.get("iss")
        provider = self._providers.get(issuer) if isinstance(issuer, str) else None
        if provider is None:
            raise PeerError(
                "the token is of an issuer that is not trusted here (iss)", hint="auth.toml names them"
            )
        rules = provider.rules
        jws.require_algorithm(compact.algorithm, rules.algorithms)
        tokens.judge_type(compact.header, rules)
        judged = tokens.judge(compact.payload, rules, self._clock())  # cheap, and before anything is fetched
        key = await self._key(compact, provider)
        if rules.single_use:
            self._spent.use(rules.issuer, judged.ident, judged.until, self._clock())
        kid = compact.header.get("kid", "")
        evidence = {**judged.authenticated.evidence, "kid": kid, "key": key.thumbprint}
        found = msgspec.structs.replace(judged.authenticated, evidence=evidence)
        held = _Held(msgspec.structs.replace(judged, authenticated=found), provider, key.thumbprint)
        if not rules.single_use:
            self._held.put(name, held)
        return held

    async def _key(self, compact: jws.Compact, provider: _Provider) -> jws.Key:
        """The key that has signed a token."""
        candidates = await provider.keys.find(compact.header.get("kid", ""), compact.algorithm)
        for last, key in enumerate(candidates, 1 - len(candidates)):
            try:
                jws.verify(compact, key, provider.rules.algorithms)
            except PeerError:
                if last == 0:
                    raise
            else:
                return key
        raise PeerError("the issuer has no key for the token")

    async def _introspected(self, token: str) -> tuple[tokens.Judged, str, bool]:
        """What the first server says that knows the token."""
        for last, server in enumerate(self._opaque, 1 - len(self._opaque)):
            try:
                judged = await server.judge(token)
            except PeerError:
                if last == 0:
                    raise
                continue
            evidence = {**judged.authenticated.evidence, "mark": marked(token)}
            found = msgspec.structs.replace(judged.authenticated, evidence=evidence)
            settings = server.settings
            return msgspec.structs.replace(judged, authenticated=found), settings.rules.dpop, settings.nonce
        raise PeerError("nobody vouches for the token")

    def _prove(self, presented: Presented, token: str, judged: tokens.Judged, *, nonce: bool) -> None:
        now = self._clock()
        nonces = dpop.nonces(self._nonce_key, now) if nonce else ()
        proof = dpop.proved(presented.dpop, presented.method, presented.url, token, now, nonces)
        dpop.require_key(proof, judged.key)
        self._proofs.use(proof.thumbprint, proof.ident, proof.until, now)


def _require_kept(evidence: JsonObject, rules: tokens.Rules) -> None:
    if not {evidence.get("subject"), evidence.get("jti")}.isdisjoint(rules.revoked):
        raise PeerError("the token, or whom it is for, was revoked here", hint="auth.toml names it")


def credential(authorization: str) -> tuple[str, str]:
    """The scheme in lower case and the credential of an `Authorization` field; one without a scheme is a bearer's."""
    scheme, blank, rest = authorization.lstrip().partition(" ")
    return (scheme.lower(), rest.strip()) if blank else ("bearer", scheme)


def _nothing() -> _Held:
    raise AssertionError("tokens are put, never made")
