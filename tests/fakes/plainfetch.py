"""HTTP to the outside as `daemon.outgoing.Fetch` has it, over aiohttp: real TLS, one private CA, no redirects."""

import ssl
from collections.abc import Mapping

import aiohttp

from mcpguard.daemon.outgoing import Answer
from mcpguard.errors import UpstreamError


class PlainFetch:
    """Fetches, and remembers what was asked: method, URL, header fields, body."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self.sent: list[tuple[str, str, dict[str, str], bytes]] = []

    async def __call__(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"", most: int = 1 << 20
    ) -> Answer:
        self.sent.append((method, url, dict(headers), body))
        timeout = aiohttp.ClientTimeout(total=20)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as session,
                session.request(
                    method,
                    url,
                    headers=dict(headers),
                    data=body or None,
                    ssl=self._context,
                    allow_redirects=False,
                ) as answer,
            ):
                data = b""
                async for chunk in answer.content.iter_any():
                    data += chunk
                    if len(data) > most:
                        raise UpstreamError(f"more than {most} bytes", code=125)
                fields: dict[str, str] = {}
                for name, value in answer.headers.items():
                    key = name.lower()
                    fields[key] = f"{fields[key]}, {value}" if key in fields else value
                return Answer(answer.status, fields, data)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise UpstreamError(f"no answer: {error!r}", code=125) from error

    def urls(self) -> list[str]:
        """What was asked, in order."""
        return [url for _, url, _, _ in self.sent]
