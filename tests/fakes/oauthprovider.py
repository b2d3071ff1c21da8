"""An OAuth 2.1 authorization server and OpenID provider on loopback: authlib's grants behind a real HTTPS server.

What it refuses, authlib refuses. Traits make it one of the servers that there are, or one that attacks.
"""

import base64
import hashlib
import json
import secrets
import ssl
import time
import warnings
from dataclasses import dataclass, field
from typing import Any, Self

import jwt
from aiohttp import web
from authlib.oauth2.rfc6749 import (
    AuthorizationServer,
    BaseGrant,
    InvalidClientError,
    InvalidGrantError,
    InvalidRequestError,
    JsonRequest,
    OAuth2Error,
    TokenEndpointMixin,
    grants,
)
from authlib.oauth2.rfc6750 import BearerTokenGenerator
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7523 import JWTBearerClientAssertion, JWTBearerGrant
from authlib.oauth2.rfc7591 import ClientRegistrationEndpoint
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oauth2.rfc9207 import IssuerParameter
from authlib.oidc.core.grants import OpenIDCode
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jwt as joserfc_jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, import_key

from tests.fakes.oauthmodels import USER, Answer, Body, Client, Code, Request, Token

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ID_JAG = "urn:ietf:params:oauth:token-type:id-jag"


@dataclass
class Traits:
    """What a provider does.

    Attributes:
        path: Of the issuer.
        place: Which of the places has its metadata: 0 RFC 8414, 1 OpenID with the path behind, 2 OpenID at the path;
            3 none.
        metadata: Members to put into the metadata; None takes one out.
        lifetime: Of access tokens, seconds.
        rotates: Whether a refresh replaces the refresh token.
        names_itself: Whether answers of logins have `iss`.
        registers: Whether clients may register themselves.
        exact_ports: Whether redirect URIs of this machine are compared with their port.
        dpop: Whether tokens are bound to keys.
        nonce: Whether proofs need a nonce of its own.
        denies: Whether the person says no.
        scopes: Scopes that it knows.
    """

    path: str = ""
    place: int = 0
    metadata: dict[str, Any] = field(default_factory=dict)
    lifetime: int = 3600
    rotates: bool = True
    names_itself: bool = True
    registers: bool = True
    exact_ports: bool = False
    dpop: bool = False
    nonce: bool = False
    denies: bool = False
    scopes: tuple[str, ...] = ("read", "write", "openid", "offline_access")


class Provider(AuthorizationServer):
    """The server; `seen` has what was asked of it: path and form."""

    def __init__(self, context: ssl.SSLContext | None, traits: Traits, clock=time.time, host="localhost"):
        super().__init__(traits.scopes)
        self.traits, self.context, self.clock, self.host = traits, context, clock, host
        self.clients: dict[str, Client] = {}
        self.documents: dict[str, dict[str, Any]] = {}
        self.codes: dict[str, Code] = {}
        self.tokens: list[Token] = []
        self.vouchers: dict[str, tuple[str, Any]] = {}
        self.used: set[str] = set()
        self.nonces = ["nonce-1"]
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.register_token_generator(
            "default", BearerTokenGenerator(self._access, self._refresh_token, self._life)
        )
        self.register_client_auth_method("private_key_jwt", _KeyAssertion(self))
        _grants(self)

    async def start(self) -> Self:
        app = web.Application(client_max_size=1 << 20)
        app.router.add_route("*", "/{path:.*}", self._route)
        self.runner = web.AppRunner(app, access_log=None)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0, ssl_context=self.context)
        await site.start()
        self.port = self.runner.addresses[0][1]
        self.base = f"http{'s' if self.context else ''}://{self.host}:{self.port}"
        self.issuer = self.base + self.traits.path
        return self

    async def stop(self) -> None:
        await self.runner.cleanup()

    def asked(self, path: str) -> list[dict[str, str]]:
        """The forms that were sent to a path."""
        return [form for where, form in self.seen if where == path]

    def good(self, access: str, resource: str) -> Token | None:
        """The token that this is, if it counts at a resource: what introspection would say."""
        for token in self.tokens:
            if token.access == access and not token.revoked and token.expires > self.clock():
                return token if token.resource == resource else None
        return None

    def metadata(self) -> dict[str, Any]:
        there = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "revocation_endpoint": f"{self.issuer}/revoke",
            "jwks_uri": f"{self.issuer}/jwks",
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": [
                "none", "client_secret_basic", "client_secret_post", "private_key_jwt",
            ],
            "scopes_supported": list(self.traits.scopes),
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        }  # fmt: skip
        if self.traits.registers:
            there["registration_endpoint"] = f"{self.issuer}/register"
        if self.traits.names_itself:
            there["authorization_response_iss_parameter_supported"] = True
        if self.traits.dpop:
            there["dpop_signing_alg_values_supported"] = ["ES256"]
        if self.documents:
            there["client_id_metadata_document_supported"] = True
        there |= self.traits.metadata
        return {name: value for name, value in there.items() if value is not None}

    # --- HTTP ----------------------------------------------------------------------------------------------

    async def _route(self, request: web.Request) -> web.StreamResponse:
        path, own = request.path, self.traits.path
        form = [] if request.content_type == "application/json" else list((await request.post()).items())
        self.seen.append((path, dict(form) | dict(request.query)))
        places = [
            f"/.well-known/oauth-authorization-server{own}",
            f"/.well-known/openid-configuration{own}",
            f"{own}/.well-known/openid-configuration",
        ]
        if self.traits.place < len(places) and path == places[self.traits.place]:
            return web.json_response(self.metadata())
        match path.removeprefix(own):
            case "/authorize":
                return self._authorize(Request(request, form))
            case "/token":
                return self._token(Request(request, form))
            case "/revoke":
                return self.create_endpoint_response("revocation", Request(request, form))
            case "/register" if self.traits.registers:
                made = JsonRequest(request.method, str(request.url), request.headers)
                made.payload = Body(await request.json())
                return self.create_endpoint_response("client_registration", made)
            case "/jwks":
                jwk = jwt.algorithms.ECAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
                return web.json_response({"keys": [jwk]})
        return web.Response(status=404)

    def _authorize(self, request):
        try:
            grant = self.get_consent_grant(request, USER)
        except OAuth2Error as error:
            return self.handle_error_response(request, error)
        return self.create_authorization_response(request, None if self.traits.denies else USER, grant)

    def _token(self, request):
        if self.traits.dpop:
            fault = self._proof(request)
            if fault:
                fields = {"DPoP-Nonce": self.nonces[-1]} if fault == "use_dpop_nonce" else {}
                return web.json_response({"error": fault}, status=400, headers=fields)
        return self.create_token_response(request)

    def _proof(self, request) -> str:
        """RFC 9449 4.3; what is wrong, empty if nothing is."""
        proof = request.headers.get("DPoP", "")
        fault, request.thumbprint, claims = check_proof(
            proof, "POST", f"{self.issuer}/token", self.used, self.clock()
        )
        if not fault and self.traits.nonce and claims.get("nonce") != self.nonces[-1]:
            return "use_dpop_nonce"
        return "invalid_dpop_proof" if fault else ""

    # --- what authlib asks for -----------------------------------------------------------------------------

    def query_client(self, client_id):
        if client_id in self.documents:
            document = self.documents[client_id]
            return Client(client_id, redirects=tuple(document["redirect_uris"]))
        return self.clients.get(client_id)

    def save_token(self, token, request):
        resource = request.payload.data.get("resource", "")
        old = request.refresh_token
        code = request.authorization_code
        bound = code.resource if code else old.resource if old else resource
        if resource != bound:
            raise InvalidRequestError("resource is another")
        if request.thumbprint:
            token["token_type"] = "DPoP"
        expires = self.clock() + self.traits.lifetime
        refresh = token.get("refresh_token", "")
        self.tokens.append(
            Token(token["access_token"], refresh, request.client.client_id, token.get("scope", ""), bound, expires,
                  thumbprint=request.thumbprint)
        )  # fmt: skip

    def create_oauth2_request(self, request):
        return request

    def create_json_request(self, request):
        return request

    def handle_response(self, status, body, headers):
        text = json.dumps(body) if isinstance(body, dict) else body
        return Answer(status=status, text=text or "", headers=dict(headers))

    def send_signal(self, name, *args, **kwargs):
        pass

    def _access(self, **_):
        return f"at-{secrets.token_urlsafe(24)}"

    def _refresh_token(self, **_):
        return f"rt-{secrets.token_urlsafe(24)}"

    def _life(self, client, grant):
        return self.traits.lifetime

    def signed(self, claims: dict[str, Any], kind: str = "JWT") -> str:
        return jwt.encode(claims, self.key, algorithm="ES256", headers={"typ": kind})


def check_proof(proof, method, url, used, now, access=""):
    """A DPoP proof as RFC 9449 4.3 wants it checked: fault, thumbprint of the key, claims."""
    try:
        head = jwt.get_unverified_header(proof)
        key = jwt.PyJWK(head["jwk"]).key
        claims = jwt.decode(proof, key, algorithms=["ES256"], options={"verify_iat": False})
    except (jwt.PyJWTError, KeyError) as error:
        return f"no proof: {error!r}", "", {}
    wanted = base64.urlsafe_b64encode(hashlib.sha256(access.encode()).digest()).rstrip(b"=").decode()
    faults = [
        head.get("typ") != "dpop+jwt", "d" in head["jwk"], claims.get("htm") != method, claims.get("htu") != url,
        abs(claims.get("iat", 0) - now) > 300, not claims.get("jti") or claims["jti"] in used,
        bool(access) and claims.get("ath") != wanted,
    ]  # fmt: skip
    used.add(claims.get("jti"))
    members = {name: head["jwk"][name] for name in ("crv", "kty", "x", "y")}
    digest = hashlib.sha256(json.dumps(members, sort_keys=True, separators=(",", ":")).encode()).digest()
    return str(faults) if any(faults) else "", base64.urlsafe_b64encode(digest).rstrip(b"=").decode(), claims


class _KeyAssertion(JWTBearerClientAssertion):
    CLIENT_AUTH_METHOD = "private_key_jwt"

    def __init__(self, provider):
        super().__init__()
        self.provider = provider

    def get_audiences(self):
        return [self.provider.issuer]

    def validate_jti(self, claims, jti):
        fresh = jti not in self.provider.used
        self.provider.used.add(jti)
        return fresh

    def resolve_client_public_key(self, client):
        kinds = {"ECPublicKey": "EC", "RSAPublicKey": "RSA", "Ed25519PublicKey": "OKP"}
        key = serialization.load_pem_public_key(client.public.encode())
        return import_key(client.public, kinds[type(key).__name__])

    def process_assertion_claims(self, assertion, resolve_key):
        """As authlib's, which knows fewer algorithms."""
        try:
            with warnings.catch_warnings(
                action="ignore"
            ):  # joserfc would have EdDSA called Ed25519 (RFC 9864)
                algorithms = ["ES256", "RS256", "PS256", "EdDSA"]
                token = joserfc_jwt.decode(assertion, resolve_key, algorithms=algorithms)
        except JoseError as error:
            raise InvalidClientError(description=str(error)) from error
        self.verify_claims(token.claims)
        return token.claims


def _grants(provider: Provider) -> None:
    methods = ["none", "client_secret_basic", "client_secret_post", "private_key_jwt"]

    class CodeGrant(grants.AuthorizationCodeGrant):
        TOKEN_ENDPOINT_AUTH_METHODS = methods

        def save_authorization_code(self, code, request):
            data = request.payload.data
            provider.codes[code] = Code(
                code, request.client.client_id, data["redirect_uri"], data.get("scope", ""), data.get("resource", ""),
                data.get("code_challenge", ""), data.get("code_challenge_method", ""),
            )  # fmt: skip

        def query_authorization_code(self, code, client):
            found = provider.codes.get(code)
            return found if found and found.client_id == client.client_id else None

        def delete_authorization_code(self, code):
            del provider.codes[code.code]

        def authenticate_user(self, code):
            return USER

    class RefreshGrant(grants.RefreshTokenGrant):
        TOKEN_ENDPOINT_AUTH_METHODS = methods
        INCLUDE_NEW_REFRESH_TOKEN = provider.traits.rotates

        def authenticate_refresh_token(self, refresh):
            for token in provider.tokens:
                if token.refresh == refresh:
                    return None if token.refresh_revoked else token
            return None

        def authenticate_user(self, token):
            return token.user

        def revoke_old_credential(self, token):
            token.revoked = True
            token.refresh_revoked = provider.traits.rotates

    class ClientGrant(grants.ClientCredentialsGrant):
        TOKEN_ENDPOINT_AUTH_METHODS = methods[1:]

    class AssertionGrant(JWTBearerGrant):
        """RFC 7523, and the ID-JAG of another provider: the client authenticates, and is the one that is meant."""

        TOKEN_ENDPOINT_AUTH_METHODS = methods

        def validate_token_request(self):
            super().validate_token_request()
            self.request.client = self.authenticate_token_endpoint_client()
            named = jwt.decode(self.request.form["assertion"], options={"verify_signature": False}).get(
                "client_id"
            )
            if named is not None and named != self.request.client.client_id:
                raise InvalidGrantError("the assertion is another client's")

        def get_audiences(self):
            return [provider.issuer]

        def resolve_issuer_client(self, issuer):
            known = provider.vouchers.get(issuer)
            return provider.clients.get(known[0]) if known else None

        def resolve_client_public_key(self, client):
            (public,) = [key for ident, key in provider.vouchers.values() if ident == client.client_id]
            pem = public.public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            return ECKey.import_key(pem)

        def authenticate_user(self, subject):
            return subject

        def has_granted_permission(self, client, user):
            return True

    class ExchangeGrant(BaseGrant, TokenEndpointMixin):
        """RFC 8693, for an ID-JAG."""

        GRANT_TYPE = EXCHANGE
        TOKEN_ENDPOINT_AUTH_METHODS = methods

        def validate_token_request(self):
            self.request.client = self.authenticate_token_endpoint_client()
            form = self.request.form
            if form.get("requested_token_type") != ID_JAG:
                raise InvalidRequestError("only ID-JAGs")
            try:
                self.subject = jwt.decode(
                    form["subject_token"], provider.key.public_key(), algorithms=["ES256"],
                    audience=self.request.client.client_id, issuer=provider.issuer,
                )  # fmt: skip
            except jwt.PyJWTError as error:
                raise InvalidGrantError(str(error)) from error

        def create_token_response(self):
            form, now = self.request.form, int(time.time())
            claims = {
                "iss": provider.issuer, "sub": self.subject["sub"], "aud": form["audience"],
                "resource": form["resource"], "client_id": provider.jag_client, "jti": secrets.token_hex(8),
                "iat": now, "exp": now + 300, "scope": form.get("scope", ""),
            } | provider.jag  # fmt: skip
            jag = provider.signed(claims, "oauth-id-jag+jwt")
            answer = {
                "issued_token_type": ID_JAG,
                "access_token": jag,
                "token_type": "N_A",
                "expires_in": 300,
            }
            return 200, answer, [("Content-Type", "application/json")]

    class Identity(OpenIDCode):
        def resolve_client_private_key(self, client):
            pem = provider.key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            return ECKey.import_key(pem)

        def get_client_algorithm(self, client):
            return "ES256"

        def get_client_claims(self, client):
            return {
                "iss": provider.issuer,
                "aud": [client.client_id],
                "exp": int(time.time()) + 600,
                "iat": int(time.time()),
            }

        def get_compatible_claims(self, request):
            return self.get_client_claims(request.client)

        def exists_nonce(self, nonce, request):
            return False

        def generate_user_info(self, user, scope):
            return {"sub": user}

    class Registration(ClientRegistrationEndpoint):
        def authenticate_token(self, request):
            return "anybody"

        def generate_client_secret(self, request):
            none = request.payload.data.get("token_endpoint_auth_method") == "none"
            return "" if none else super().generate_client_secret(request)

        def get_server_metadata(self):
            return provider.metadata()

        def save_client(self, info, metadata, request):
            data = request.payload.data
            client = Client(
                info["client_id"], info["client_secret"], metadata.get("token_endpoint_auth_method", "none"),
                tuple(metadata["redirect_uris"]), tuple(metadata["grant_types"]), exact=provider.traits.exact_ports,
            )  # fmt: skip
            provider.registered = data
            provider.clients[client.client_id] = client
            return client

    class Revocation(RevocationEndpoint):
        CLIENT_AUTH_METHODS = methods

        def query_token(self, text, hint):
            return next((token for token in provider.tokens if text in (token.access, token.refresh)), None)

        def revoke_token(self, token, request):
            token.revoked = token.refresh_revoked = True

    class Issuer(IssuerParameter):
        def get_issuer(self):
            return provider.issuer if provider.traits.names_itself else None

    provider.jag, provider.jag_client = {}, ""
    provider.register_grant(CodeGrant, [CodeChallenge(required=True), Identity()])
    provider.register_grant(RefreshGrant)
    provider.register_grant(ClientGrant)
    provider.register_grant(AssertionGrant)
    provider.register_grant(ExchangeGrant)
    provider.register_endpoint(Registration)
    provider.register_endpoint(Revocation)
    provider.register_extension(lambda server: Issuer()(server))
