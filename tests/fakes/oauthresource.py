"""A remote server that wants tokens: a protected resource (RFC 9728, RFC 6750, RFC 9449) on loopback."""

import ssl
from collections.abc import Callable
from typing import Any, Self

from aiohttp import web

from tests.fakes.oauthprovider import Provider, check_proof


class Resource:
    """It serves one path and takes tokens of one provider, for itself and nobody else.

    Attributes:
        inner: What answers for every other path: an authorization server in the same place.
        taken: Tokens that it took; `refused`: what it refused, status and error.
        scopes: What a token needs.
        document: Members to put into its metadata; None takes one out.
        serve: Gives the answer to a message of MCP, or None; without it, every request gets the name of its user.
        places: Where its metadata is: `challenge` (and the place that it names), `path`, `root`, or nothing.
    """

    def __init__(self, context: ssl.SSLContext | None, path: str = "/mcp", host: str = "localhost") -> None:
        self.context, self.path, self.host = context, path, host
        self.providers: list[Provider] = []
        self.issuers: list[str] = []
        self.scopes: set[str] = set()
        self.document: dict[str, Any] = {}
        self.places = {"challenge", "path"}
        self.challenge = ""
        self.raw: bytes | None = None
        self.dpop = False
        self.nonce = ""
        self.taken: list[str] = []
        self.refused: list[tuple[int, str]] = []
        self.used: set[str] = set()
        self.inner: Provider | None = None
        self.serve: Callable[[dict[str, Any]], dict[str, Any] | None] | None = None

    async def start(self, provider: Provider) -> Self:
        self.providers.append(provider)
        self.issuers.append(provider.issuer)
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._route)
        self.runner = web.AppRunner(app, access_log=None)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0, ssl_context=self.context).start()
        self.port = self.runner.addresses[0][1]
        self.base = f"http{'s' if self.context else ''}://{self.host}:{self.port}"
        self.url = self.base + self.path
        return self

    async def stop(self) -> None:
        await self.runner.cleanup()

    def metadata(self) -> dict[str, Any]:
        there = {
            "resource": self.url,
            "authorization_servers": self.issuers,
            "scopes_supported": sorted(self.scopes),
            "bearer_methods_supported": ["header"],
            **({"dpop_bound_access_tokens_required": True} if self.dpop else {}),
            **self.document,
        }
        return {name: value for name, value in there.items() if value is not None}

    async def _route(self, request: web.Request) -> web.StreamResponse:
        well = "/.well-known/oauth-protected-resource"
        places = {"challenge": "/elsewhere", "path": well + self.path, "root": well}
        if request.path in {places[name] for name in self.places}:
            return web.Response(body=self.raw) if self.raw is not None else web.json_response(self.metadata())
        if request.path != self.path:
            return await self.inner._route(request) if self.inner else web.Response(status=404)
        fault, status, token = self._judged(request)
        if not fault:
            self.taken.append(token.access)
            if self.serve is not None:
                return await self._served(request)
            return web.json_response({"jsonrpc": "2.0", "id": 1, "result": {"sub": token.user}})
        self.refused.append((status, fault))
        return web.Response(status=status, headers=self._challenge(fault))

    async def _served(self, request: web.Request) -> web.StreamResponse:
        if request.method != "POST":
            return web.Response(status=405)
        found = self.serve(await request.json())
        return web.Response(status=202) if found is None else web.json_response(found)

    def _judged(self, request):
        scheme, _, access = request.headers.get("Authorization", "").partition(" ")
        token = next((found for each in self.providers if (found := each.good(access, self.url))), None)
        if token is None:
            return ("invalid_token" if access else "none"), 401, None
        if token.thumbprint:
            clock = self.providers[0].clock()
            fault, thumbprint, claims = check_proof(
                request.headers.get("DPoP", ""), request.method, self.url, self.used, clock, access
            )
            if fault or thumbprint != token.thumbprint or scheme != "DPoP":
                return "invalid_token", 401, None
            if self.nonce and claims.get("nonce") != self.nonce:
                return "use_dpop_nonce", 401, None
        elif scheme != "Bearer" or self.dpop:
            return "invalid_token", 401, None
        if not self.scopes <= set(token.scope.split()):
            return "insufficient_scope", 403, None
        return "", 200, token

    def _challenge(self, fault: str) -> dict[str, str]:
        if self.challenge:
            return {"WWW-Authenticate": self.challenge}
        parts = [] if fault == "none" else [f'error="{fault}"']
        if "challenge" in self.places:
            parts.append(f'resource_metadata="{self.base}/elsewhere"')
        if self.scopes:
            parts.append(f'scope="{" ".join(sorted(self.scopes))}"')
        fields = {"WWW-Authenticate": f"{'DPoP' if self.dpop else 'Bearer'} {', '.join(parts)}".strip()}
        return fields | ({"DPoP-Nonce": self.nonce} if fault == "use_dpop_nonce" else {})
