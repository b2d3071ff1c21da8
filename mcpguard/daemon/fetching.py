"""Fetching small things over HTTPS: metadata of authorisation servers, their keys, tokens (`outgoing.Fetch`).

The connection is made like one to a remote server: TLS 1.3, a CA that was named, addresses that are judged, no
redirects, nothing of the environment. Plain HTTP goes to this machine only, and only if `loopback` is named.

Not here: what the answer means, and whether its status is a good one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import aiohttp

from mcpguard import limits
from mcpguard.daemon.dialling import Dialler, Lookup, check_head, look_up, read_body, told
from mcpguard.daemon.outgoing import Answer
from mcpguard.daemon.registrytls import RegistryTls
from mcpguard.errors import TrustError, UpstreamError
from mcpguard.identity.remote import Remote, parse_web

_UNREACHABLE = 126


class Fetcher:
    """Fetches from anywhere that the egress policy allows (`outgoing.Fetch`).

    Args:
        ca: Certificates that may vouch for whoever answers, PEM, or `system`.
        networks: Networks that may be connected to besides the public Internet.
        proxy: `http://HOST:PORT`; empty for none.
        lookup: Resolves names.
        registry: The certificate registry, where `ca` is that.
    """

    def __init__(
        self,
        ca: str,
        networks: tuple[str, ...] = (),
        proxy: str = "",
        lookup: Lookup = look_up,
        registry: RegistryTls | None = None,
    ) -> None:
        self._registry = registry
        self._ca = ca
        self._networks = networks
        self._proxy = proxy
        self._lookup = lookup

    async def __call__(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"", most: int = 1 << 20
    ) -> Answer:
        """Send one request, in `limits.REMOTE_BRIEF_SECONDS` at most.

        Raises:
            UpstreamError: No answer: refused by the egress policy, no connection, bad TLS, too long, too late.
        """
        try:
            target = parse_web(url)
        except TrustError as error:
            raise UpstreamError(error.message, code=_UNREACHABLE, hint=error.hint) from error
        try:
            remote = Remote(url, ca=self._ca, networks=self._networks, proxy=self._proxy)
            dialler = Dialler(remote, target, self._lookup, self._registry)
            async with asyncio.timeout(limits.REMOTE_BRIEF_SECONDS):
                return await _fetched(dialler, method, headers, body, most)
        except TrustError as error:
            raise UpstreamError(error.message, code=_UNREACHABLE, hint=error.hint) from error
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            failed = told(error, target)
            raise UpstreamError(failed.message, code=_UNREACHABLE, hint=failed.hint) from error


async def _fetched(
    dialler: Dialler, method: str, headers: Mapping[str, str], body: bytes, most: int
) -> Answer:
    async with await dialler.session(eager=False) as session:
        request = dialler.request(session, method, headers=headers, data=body or None)
        async with request as answer:
            check_head(answer)
            fields: dict[str, str] = {}
            for name, value in answer.headers.items():
                known = fields.get(name.lower())
                fields[name.lower()] = value if known is None else f"{known}, {value}"
            return Answer(answer.status, fields, await read_body(answer, most))
