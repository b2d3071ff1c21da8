"""What the authorization server of the tests keeps, and what authlib knows requests and responses by."""

import secrets
from collections import defaultdict
from dataclasses import dataclass

from aiohttp import web
from authlib.oauth2.rfc6749 import JsonPayload, OAuth2Payload, OAuth2Request

USER = "ada"


@dataclass
class Client:
    client_id: str
    secret: str = ""
    method: str = "none"
    redirects: tuple[str, ...] = ("http://127.0.0.1/callback",)
    grants: tuple[str, ...] = ("authorization_code", "refresh_token")
    scopes: tuple[str, ...] = ("read", "write", "openid", "offline_access")
    public: str = ""
    exact: bool = False
    id_token_signed_response_alg = "ES256"

    def get_client_id(self):
        return self.client_id

    def get_default_redirect_uri(self):
        return self.redirects[0]

    def get_allowed_scope(self, scope):
        return " ".join(word for word in (scope or "").split() if word in self.scopes)

    def check_redirect_uri(self, uri):
        """RFC 8252 7.3: any port of 127.0.0.1 will do."""
        if self.exact:
            return uri in self.redirects
        return any(_portless(uri) == _portless(known) for known in self.redirects)

    def check_client_secret(self, secret):
        return bool(self.secret) and secrets.compare_digest(secret, self.secret)

    def check_endpoint_auth_method(self, method, endpoint):
        return method == self.method

    def check_response_type(self, kind):
        return kind == "code"

    def check_grant_type(self, kind):
        return kind in self.grants


def _portless(uri):
    head, _, rest = uri.partition("://127.0.0.1")
    return head, rest[rest.find("/") :] if rest.startswith(":") else rest


@dataclass
class Code:
    code: str
    client_id: str
    redirect: str
    scope: str
    resource: str
    code_challenge: str
    code_challenge_method: str

    def get_redirect_uri(self):
        return self.redirect

    def get_scope(self):
        return self.scope

    def get_nonce(self):
        return ""

    get_auth_time = get_acr = get_amr = get_nonce


@dataclass
class Token:
    access: str
    refresh: str
    client_id: str
    scope: str
    resource: str
    expires: float
    user: str = USER
    thumbprint: str = ""
    revoked: bool = False
    refresh_revoked: bool = False

    def check_client(self, client):
        return client.client_id == self.client_id

    def get_scope(self):
        return self.scope


class Payload(OAuth2Payload):
    def __init__(self, pairs):
        self._datalist = defaultdict(list)
        for name, value in pairs:
            self._datalist[name].append(value)

    @property
    def data(self):
        return {name: values[0] for name, values in self._datalist.items()}

    @property
    def datalist(self):
        return self._datalist


class Request(OAuth2Request):
    def __init__(self, request, form):
        super().__init__(request.method, str(request.url), headers=request.headers)
        self._form = dict(form)
        self.payload = Payload([*request.query.items(), *form])
        self._args = dict(request.query)
        self.http = request
        self.thumbprint = ""

    @property
    def args(self):
        return self._args

    @property
    def form(self):
        return self._form


class Body(JsonPayload):
    def __init__(self, data):
        self._data = data

    @property
    def data(self):
        return self._data


class Answer(web.Response):
    """What authlib's extensions know a response by."""

    @property
    def location(self):
        return self.headers.get("Location")

    @location.setter
    def location(self, value):
        self.headers["Location"] = value
