"""HTTP to the outside, as the rooms above see it: one bounded request, one bounded answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec


class Answer(msgspec.Struct, frozen=True):
    """The whole answer to one request.

    Attributes:
        status: HTTP status.
        headers: Field names in lower case; of a field that came twice, both values, joined by `, `.
        body: The body, no longer than was asked for.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


class Fetch(Protocol):
    """Fetches what is small: metadata, keys, tokens. Never follows a redirect."""

    async def __call__(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"", most: int = 1 << 20
    ) -> Answer:
        """Send one request.

        Raises:
            UpstreamError: No answer: refused by the egress policy, no connection, bad TLS, too long, too late.
        """


class Authorizer(Protocol):
    """Authorises requests to one remote server."""

    async def headers(self, method: str, url: str) -> Mapping[str, str]:
        """The header fields of one request: `Authorization`, and `DPoP` where it is used.

        Raises:
            UpstreamError: There is no token, and none can be had without a person.
        """

    async def challenged(self, status: int, www_authenticate: str, dpop_nonce: str = "") -> bool:
        """The server refused with 401 or 403; whether the request may be sent once more.

        Args:
            status: 401 or 403.
            www_authenticate: The field of that name.
            dpop_nonce: The field `DPoP-Nonce` of the same answer (RFC 9449 9); empty if there is none.

        Raises:
            UpstreamError: It is no use, and what a person can do.
        """
