"""The token endpoint: grants become tokens; with the client's authentication, and a proof of possession if wanted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from mcpguard import limits
from mcpguard.credentials import oauthanswer, oauthrequest
from mcpguard.credentials.oauthanswer import Granted
from mcpguard.credentials.oauthclient import ALGORITHM, JWT, Client
from mcpguard.credentials.oautherror import OAuthError, shown
from mcpguard.credentials.oauthmetadata import AuthorizationServer
from mcpguard.credentials.oauthpkce import RANDOM_BYTES, text_of
from mcpguard.credentials.oauthurls import origin
from mcpguard.daemon import oauthproofs
from mcpguard.daemon.oauthsecrets import passing
from mcpguard.daemon.outgoing import Answer, Fetch

NONCE: Final = "use_dpop_nonce"


class Grants:
    """Asks token endpoints.

    Args:
        fetch: How.
        clock: Unix seconds.
        entropy: Random bytes.
    """

    def __init__(self, fetch: Fetch, clock: Callable[[], float], entropy: Callable[[int], bytes]) -> None:
        self._fetch = fetch
        self._clock = clock
        self._entropy = entropy
        self._nonces: dict[str, str] = {}

    async def ask(
        self,
        server: AuthorizationServer,
        client: Client,
        form: Mapping[str, str],
        key: str = "",
        *,
        exchange: bool = False,
    ) -> Granted:
        """Hand in a grant.

        Args:
            server: Whose endpoint.
            client: Who asks; it is that server's client.
            form: The grant.
            key: The private key that the token is to be bound to; empty for none.
            exchange: An assertion for somebody else is asked for.

        Raises:
            OAuthError: It says no, or nothing that can be used.
            UpstreamError: It does not answer.
        """
        if (
            key
            and server.dpop_signing_alg_values_supported
            and ALGORITHM not in server.dpop_signing_alg_values_supported
        ):
            raise OAuthError(f"{shown(server.issuer)} takes no proofs of the kind {ALGORITHM}")
        answer = await self._sent(server, client, form, key)
        try:
            granted = oauthanswer.parse_token(answer.status, answer.body, server.issuer, exchange=exchange)
        except OAuthError as error:
            if not (key and error.error == NONCE and self._noted(server, answer)):
                raise
            answer = await self._sent(server, client, form, key)
            granted = oauthanswer.parse_token(answer.status, answer.body, server.issuer, exchange=exchange)
        self._noted(server, answer)
        await passing((granted.access, granted.refresh, granted.identity))
        return granted

    async def revoke(self, server: AuthorizationServer, client: Client, token: str, hint: str) -> bool:
        """Give a token back (RFC 7009); whether the server took it.

        Raises:
            UpstreamError: It does not answer.
        """
        if not server.revocation_endpoint:
            return False
        form = {"token": token, "token_type_hint": hint}
        answer = await self._post(server, server.revocation_endpoint, client, form, "")
        return answer.status == 200

    async def _sent(
        self, server: AuthorizationServer, client: Client, form: Mapping[str, str], key: str
    ) -> Answer:
        return await self._post(server, server.token_endpoint, client, form, key)

    async def _post(
        self, server: AuthorizationServer, url: str, client: Client, form: Mapping[str, str], key: str
    ) -> Answer:
        client = oauthrequest.method_at(server, client)
        assertion = ""
        if client.method == JWT:
            assertion = oauthproofs.client_assertion(client, server, now=self._clock(), ident=self._ident())
        headers, body = oauthrequest.authenticated(form, client, server.issuer, assertion)
        if key:
            nonce = self._nonces.get(origin(url), "")
            headers["DPoP"] = oauthproofs.Prover(key).proof(
                "POST", url, now=self._clock(), ident=self._ident(), nonce=nonce
            )
        return await self._fetch("POST", url, headers, body, limits.OAUTH_METADATA_BYTES)

    def _noted(self, server: AuthorizationServer, answer: Answer) -> bool:
        """Remember the nonce for the next proof; whether there is one."""
        nonce = answer.headers.get("dpop-nonce", "")
        if not 0 < len(nonce) <= limits.OAUTH_URL_CHARS or not nonce.isascii() or not nonce.isprintable():
            return False
        if len(self._nonces) > limits.OAUTH_SERVERS:
            self._nonces.clear()
        self._nonces[origin(server.token_endpoint)] = nonce
        return True

    def _ident(self) -> str:
        return text_of(self._entropy(RANDOM_BYTES))
