"""Opaque tokens: what the server that issued one says of it (RFC 7662), asked seldom and remembered shortly.

Rule 1. An answer counts for `cache` seconds and never longer than the token. That a token is not active is
remembered, too, for less, so that one bad token cannot make us ask again and again.
Rule 2. Strangers cannot make us ask without end: of tokens that are not known, so many a minute are asked about.
Rule 3. Tokens are kept in memory alone, for `ask_again`, and only those that are good; bad ones do not displace them.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import quote_plus, urlencode

import msgspec

from mcpguard.audit.bounded import Table
from mcpguard.credentials import tokens
from mcpguard.daemon.jwks import fetched
from mcpguard.daemon.outgoing import Fetch
from mcpguard.errors import PeerError, UpstreamError
from mcpguard.system.authfile import Opaque

TOKENS: Final = 4096
"""Answers that are remembered."""
TOKEN_CHARS: Final = 4096
BAD_SECONDS: Final = 10.0
ASKED: Final = 600
"""Questions in a minute."""
_MINUTE: Final = 60.0
_SECRET_BYTES: Final = 4096


class _Known(msgspec.Struct, frozen=True):
    """What was answered: `judged` or the `fault`; good until `until` on the clock that only goes up."""

    until: float
    judged: tokens.Judged | None
    fault: str
    token: str


class Introspector:
    """One server that is asked.

    Args:
        settings: How it is asked.
        fetch: The way there.
        clock: Unix seconds.
        ticks: Seconds that only go up.
    """

    def __init__(
        self, settings: Opaque, fetch: Fetch, clock: Callable[[], float], ticks: Callable[[], float]
    ) -> None:
        self.settings = settings
        self._fetch = fetch
        self._clock = clock
        self._ticks = ticks
        self._known: Table[bytes, _Known] = Table(_nothing, TOKENS)
        self._bad: Table[bytes, _Known] = Table(_nothing, TOKENS)
        self._minute = 0.0
        self._count = 0

    async def judge(self, token: str) -> tokens.Judged:
        """What the server says of a token.

        Raises:
            PeerError: It is not active, does not hold against the rules, or the server does not say.
        """
        if not 0 < len(token) <= TOKEN_CHARS or not token.isascii() or not token.isprintable():
            raise PeerError(f"what was shown is no token of 1 to {TOKEN_CHARS} visible characters")
        name = hashlib.sha256(token.encode()).digest()
        known = self._known.get(name) or self._bad.get(name)
        if known is None or self._ticks() >= known.until:
            known = await self._ask(token)
            (self._known if known.judged is not None else self._bad).put(name, known)
            if known.judged is None:
                self._known.drop(name)
        if known.judged is None:
            raise PeerError(known.fault, hint=tokens.AGAIN)
        if known.judged.until and self._clock() >= known.judged.until:
            raise PeerError("the token has expired", hint=tokens.AGAIN)
        return known.judged

    async def ask_again(self, mark: str) -> None:
        """A token that was good counts still; `mark` is from `marked`.

        Raises:
            PeerError: It does not, or is no longer known here.
        """
        known = self._known.get(bytes.fromhex(mark))
        if known is None or not known.token:
            raise PeerError("the token is not known any more", hint="show it again")
        await self.judge(known.token)

    async def _ask(self, token: str) -> _Known:
        now = self._ticks()
        if now - self._minute >= _MINUTE:
            self._minute, self._count = now, 0
        self._count += 1
        if self._count > ASKED:
            raise PeerError("too many tokens came that are not known here", hint="try again in a minute")
        try:
            answer = await fetched(self._fetch, self.settings.url, "POST", self._headers(), _body(token))
        except (UpstreamError, PeerError) as error:
            raise PeerError(
                f"the server that issued the token does not say whether it counts: {error.message}"
            ) from error
        cache = self.settings.cache
        if answer.get("active") is not True:
            return _Known(now + min(cache, BAD_SECONDS), None, "the token is not active", "")
        try:
            judged = tokens.judge(answer, self.settings.rules, self._clock(), "introspection")
        except PeerError as error:
            return _Known(now + min(cache, BAD_SECONDS), None, error.sentence(), "")
        return _Known(now + cache, judged, "", token)

    def _headers(self) -> dict[str, str]:
        """Who we are there (RFC 6749 2.3.1)."""
        try:
            with Path(self.settings.secret_file).open("rb") as file:
                secret = file.read(_SECRET_BYTES).decode().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise PeerError("our own secret for it cannot be read (client_secret_file)") from error
        if not secret:
            raise PeerError("our own secret for it is empty (client_secret_file)")
        pair = f"{quote_plus(self.settings.client_id)}:{quote_plus(secret)}"
        basic = base64.b64encode(pair.encode()).decode()
        return {"authorization": f"Basic {basic}", "content-type": "application/x-www-form-urlencoded"}


def marked(token: str) -> str:
    """What a token is found by later; it cannot be used as one."""
    return hashlib.sha256(token.encode()).hexdigest()


def _body(token: str) -> bytes:
    return urlencode({"token": token, "token_type_hint": "access_token"}).encode()


def _nothing() -> _Known:
    return _Known(0.0, None, "", "")
