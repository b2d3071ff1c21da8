"""The public keys of one issuer: fetched when they are needed, kept for a while, and never longer than is said.

Rule 1. However many unknown key ids come, keys are fetched for them once a minute. So it is after a failure.
Rule 2. While the issuer cannot be reached, the last good set counts for a bounded time, and then nothing does.
Rule 3. Only the address that configuration names, or the issuer's own metadata, is asked; nothing that a token says.
Rule 4. One fetch at a time: whoever comes meanwhile waits for it.

Source: OpenID Connect Discovery 1.0 4; RFC 8414 3.3 (the issuer must be the one that was asked).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from mcpguard.credentials import jws
from mcpguard.daemon.outgoing import Fetch
from mcpguard.daemon.tasks import spawn_task
from mcpguard.errors import PeerError, UpstreamError
from mcpguard.model import JsonObject

_log: Final = logging.getLogger("mcpguard")
BYTES: Final = 256 * 1024
"""Largest answer of an issuer, bytes."""
PAUSE_SECONDS: Final = 60.0
"""Between two fetches that an unknown key id or a failure leads to."""
TTL_SECONDS: Final = 600.0
STALE_SECONDS: Final = 86_400.0
_METADATA: Final = "/.well-known/openid-configuration"


class KeySet:
    """The keys of one issuer.

    Args:
        issuer: Its name, as its metadata must have it.
        url: Where its keys are; empty to ask its metadata.
        fetch: The way there.
        clock: Seconds that only go up.
        ttl: How long a set counts without being looked at again, seconds.
        stale: How long the last good set counts while there is no other, seconds.

    Attributes:
        fetches: How often the issuer was asked for keys.
    """

    def __init__(
        self,
        issuer: str,
        url: str,
        fetch: Fetch,
        clock: Callable[[], float],
        ttl: float = TTL_SECONDS,
        stale: float = STALE_SECONDS,
    ) -> None:
        self._issuer = issuer
        self._url = url
        self._fetch = fetch
        self._clock = clock
        self._ttl = ttl
        self._stale = stale
        self._keys: tuple[jws.Key, ...] = ()
        self._thumbprints: frozenset[str] = frozenset()
        self._good = -1.0
        self._tried = -1.0
        self._wanted = -PAUSE_SECONDS
        self._fault = ""
        self._loading: asyncio.Task[None] | None = None
        self.fetches = 0

    @property
    def fresh(self) -> bool:
        """Whether the set is young enough to count without asking."""
        return self._good >= 0 and self._clock() - self._good < self._ttl

    def holds(self, thumbprint: str) -> bool:
        """Whether a key is in the set now."""
        return thumbprint in self._thumbprints

    async def find(self, kid: str, algorithm: str) -> tuple[jws.Key, ...]:
        """The keys that may have signed a token; without a `kid`, the only one that there is for the algorithm.

        Raises:
            PeerError: There is none, or the issuer's keys are not known.
        """
        await self.refresh()
        found = self._of(kid, algorithm)
        if not found and (self._loading is not None or self._clock() - self._wanted >= PAUSE_SECONDS):
            self._wanted = self._clock()
            await self._load()
            found = self._of(kid, algorithm)
        if not found:
            what = "names a key that its issuer has not" if kid else "does not say which key signed it"
            raise PeerError(f"the token {what} (kid)", hint="get a fresh token from the issuer")
        return found

    async def refresh(self) -> None:
        """Have keys that are young enough, or the last good ones.

        Raises:
            PeerError: There are none.
        """
        if self.fresh:
            return
        failed = self._tried != self._good and self._clock() - self._tried < PAUSE_SECONDS
        if self._loading is not None or not failed:
            await self._load()
        if self._good < 0 or self._clock() - self._good > self._ttl + self._stale:
            self._keys, self._thumbprints = (), frozenset()
            raise PeerError(f"the keys of the issuer {self._issuer} are not known: {self._fault}")

    def _of(self, kid: str, algorithm: str) -> tuple[jws.Key, ...]:
        fit = tuple(key for key in self._keys if algorithm in key.algorithms)
        if kid:
            return tuple(key for key in fit if key.kid == kid)
        return fit if len(fit) == 1 else ()

    async def _load(self) -> None:
        """Fetch the set, or wait for whoever does; it goes on for the others if one of them gives up."""
        if self._loading is None:
            self._loading = spawn_task(self._loaded(), name="the keys of an issuer")
        await asyncio.shield(self._loading)

    async def _loaded(self) -> None:
        self._tried = self._clock()
        self.fetches += 1
        try:
            self._keys = await self._fetched()
            self._thumbprints = frozenset(key.thumbprint for key in self._keys)
            self._good, self._fault = self._tried, ""
        except (UpstreamError, PeerError) as error:
            self._fault = error.message
            _log.warning("the keys of %s stay as they are: %s", self._issuer, error.message)
        finally:
            self._loading = None

    async def _fetched(self) -> tuple[jws.Key, ...]:
        url = self._url or await self._address()
        return jws.read_keys(await fetched(self._fetch, url))

    async def _address(self) -> str:
        """Where the issuer's metadata says that its keys are."""
        document = await fetched(self._fetch, self._issuer.rstrip("/") + _METADATA)
        if document.get("issuer") != self._issuer:
            raise PeerError("its metadata is of another issuer")
        url = document.get("jwks_uri")
        if not isinstance(url, str) or not url.startswith("https://"):
            raise PeerError("its metadata names no https:// address of its keys (jwks_uri)")
        return url


async def fetched(
    fetch: Fetch, url: str, method: str = "GET", headers: JsonObject | None = None, body: bytes = b""
) -> JsonObject:
    """A JSON object from an address.

    Raises:
        UpstreamError: There was no answer.
        PeerError: It was something else.
    """
    answer = await fetch(method, url, {"accept": "application/json", **(headers or {})}, body, BYTES)
    if answer.status != 200:
        raise PeerError(f"{url} answers with status {answer.status}")
    value = jws.read_json(answer.body[:BYTES])
    if not isinstance(value, dict):
        raise PeerError(f"{url} does not answer with a JSON object")
    return value
