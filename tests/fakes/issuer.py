"""A real OpenID provider on loopback: tokens signed by authlib's JOSE, served over TLS by aiohttp, trusted by trustme.

It has what a provider has: metadata, keys, a token endpoint for client credentials (with DPoP), introspection. It can
rotate and withdraw keys, and be away; it counts what it is asked.
"""

import base64
import hashlib
import json
import secrets
import socket
import ssl
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, Self

import aiohttp
import trustme
from aiohttp import web
from joserfc import jws as jose
from joserfc.jwk import ECKey, OKPKey, RSAKey

from mcpguard.daemon.outgoing import Answer
from mcpguard.errors import UpstreamError

AUDIENCE = "https://guard.example/mcp"
MAKERS: dict[str, Any] = {
    "RS256": lambda kid: RSAKey.generate_key(2048, {"kid": kid, "use": "sig"}, auto_kid=False),
    "PS256": lambda kid: RSAKey.generate_key(2048, {"kid": kid, "use": "sig"}, auto_kid=False),
    "ES256": lambda kid: ECKey.generate_key("P-256", {"kid": kid, "use": "sig"}, auto_kid=False),
    "ES384": lambda kid: ECKey.generate_key("P-384", {"kid": kid, "use": "sig"}, auto_kid=False),
    "Ed25519": lambda kid: OKPKey.generate_key("Ed25519", {"kid": kid, "use": "sig"}, auto_kid=False),
}


class Issuer:
    """The provider; `async with` serves it. `clock` is its time."""

    def __init__(self, clock: Any = time.time) -> None:
        self.clock = clock
        self.asked: Counter[str] = Counter()
        self.away = False
        self.keys: dict[str, tuple[str, Any]] = {}
        self.opaque: dict[str, dict[str, Any]] = {}
        self.clients = {"host": "s3cret"}
        self.authority = trustme.CA()
        self.metadata: dict[str, Any] = {}
        self.url = ""
        self.rotate("first")

    # --- what a provider does ------------------------------------------------------------------------------

    def rotate(self, kid: str, alg: str = "ES256", *, keep: bool = True) -> None:
        """Sign with a new key from now on; without `keep`, the others are withdrawn."""
        if not keep:
            self.keys.clear()
        self.keys[kid] = (alg, MAKERS[alg](kid))
        self.current = kid

    def claims(self, **changed: Any) -> dict[str, Any]:
        """The claims of a good token; None takes one out."""
        now = int(self.clock())
        good = {
            "iss": self.url, "sub": "agent-7", "aud": AUDIENCE, "iat": now, "exp": now + 300,
            "jti": secrets.token_hex(8), "groups": ["dev", "ops"], "scope": "mcp read",
        }  # fmt: skip
        return {name: value for name, value in {**good, **changed}.items() if value is not None}

    def token(self, header: dict[str, Any] | None = None, **changed: Any) -> str:
        """A token, signed with the newest key."""
        alg, key = self.keys[self.current]
        head = {"alg": alg, "kid": self.current, "typ": "at+jwt", **(header or {})}
        head = {name: value for name, value in head.items() if value is not None}
        return signed(head, self.claims(**changed), key, alg)

    def public(self) -> dict[str, Any]:
        return {"keys": [{**key.as_dict(private=False), "alg": alg} for alg, key in self.keys.values()]}

    # --- how it is served ----------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        sock = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{sock.getsockname()[1]}"
        app = web.Application()
        app.router.add_get("/.well-known/openid-configuration", self._metadata)
        app.router.add_get("/keys", self._keys)
        app.router.add_post("/token", self._token)
        app.router.add_post("/introspect", self._introspect)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.authority.issue_cert("127.0.0.1").configure_cert(context)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.SockSite(self._runner, sock, ssl_context=context).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def _asked(self, what: str) -> None:
        self.asked[what] += 1
        if self.away:
            raise web.HTTPServiceUnavailable

    async def _metadata(self, _request: web.Request) -> web.Response:
        self._asked("metadata")
        return web.json_response({"issuer": self.url, "jwks_uri": f"{self.url}/keys", **self.metadata})

    async def _keys(self, _request: web.Request) -> web.Response:
        self._asked("keys")
        return web.json_response(self.public())

    async def _token(self, request: web.Request) -> web.Response:
        self._asked("token")
        self._client(request)
        return web.json_response({"access_token": self.token(), "token_type": "Bearer", "expires_in": 300})

    async def _introspect(self, request: web.Request) -> web.Response:
        self._asked("introspect")
        self._client(request)
        token = str((await request.post())["token"])
        found = self.opaque.get(token)
        return web.json_response({"active": True, **found} if found else {"active": False})

    def _client(self, request: web.Request) -> None:
        scheme, _, value = request.headers.get("Authorization", "").partition(" ")
        name, _, secret = base64.b64decode(value).decode().partition(":")
        if scheme != "Basic" or self.clients.get(name) != secret:
            raise web.HTTPUnauthorized


class Way:
    """The way to the outside, as `daemon.outgoing.Fetch`: real TLS to whom `authority` vouches for, no redirects."""

    def __init__(self, authority: trustme.CA) -> None:
        self._context = ssl.create_default_context()
        authority.configure_trust(self._context)

    async def __call__(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"", most: int = 1 << 20
    ) -> Answer:
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.request(
                    method, url, headers=dict(headers), data=body, ssl=self._context, allow_redirects=False
                ) as reply,
            ):
                data = await reply.content.read(most + 1)
                if len(data) > most:
                    raise UpstreamError("the answer is too long", code=125)
                return Answer(
                    reply.status, {name.lower(): value for name, value in reply.headers.items()}, data
                )
        except aiohttp.ClientError as error:
            raise UpstreamError(f"no answer: {type(error).__name__}", code=125) from error


class Holder:
    """Whoever holds a DPoP key, and makes proofs with it."""

    def __init__(self, alg: str = "ES256") -> None:
        self.alg = alg
        self.key = MAKERS[alg]("holder")

    @property
    def thumbprint(self) -> str:
        return str(self.key.thumbprint())

    def proof(self, token: str, now: float, header: dict[str, Any] | None = None, **changed: Any) -> str:
        ath = base64.urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).rstrip(b"=").decode()
        public = {
            name: value
            for name, value in self.key.as_dict(private=False).items()
            if name not in ("kid", "use")
        }
        head = {"typ": "dpop+jwt", "alg": self.alg, "jwk": public, **(header or {})}
        claims = {
            "jti": secrets.token_hex(8),
            "htm": "POST",
            "htu": AUDIENCE,
            "iat": int(now),
            "ath": ath,
            **changed,
        }
        head = {name: value for name, value in head.items() if value is not None}
        claims = {name: value for name, value in claims.items() if value is not None}
        return signed(head, claims, self.key, self.alg)


def signed(head: dict[str, Any], claims: dict[str, Any], key: Any, alg: str) -> str:
    """A token of any claims, those that JSON can only escape included."""
    return jose.serialize_compact(head, json.dumps(claims).encode(), key, algorithms=[alg])


def forged(
    token: str, header: dict[str, Any], payload: dict[str, Any] | None = None, signature: bytes = b""
) -> str:
    """A token with another header or payload, and any signature."""
    parts = token.split(".")
    head = b64(json.dumps(header).encode())
    body = b64(json.dumps(payload).encode()) if payload is not None else parts[1]
    return f"{head}.{body}.{b64(signature) if signature else parts[2]}"


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
