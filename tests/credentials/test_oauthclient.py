"""Who we are at an authorization server."""

import msgspec
import pytest

from mcpguard.credentials import oauthclient
from mcpguard.credentials.oauthclient import Client
from mcpguard.credentials.oautherror import OAuthError
from mcpguard.credentials.oauthmetadata import AuthorizationServer

ISSUER, DOCUMENT = "https://auth.example", "https://guard.example/client.json"
GIVEN = Client(ISSUER, "corp", secret="x", method="client_secret_basic")
MADE = Client(ISSUER, "dyn", how="registered", redirect="http://127.0.0.1:1/callback", expires=100.0)


def server(**members: object) -> AuthorizationServer:
    return AuthorizationServer(ISSUER, **members)


REGISTERS = {"registration_endpoint": f"{ISSUER}/register"}
READS = {"client_id_metadata_document_supported": True}


@pytest.mark.parametrize(
    ("members", "known", "document", "how"),
    [
        (REGISTERS | READS, GIVEN, DOCUMENT, "given"),
        (REGISTERS | READS, MADE, DOCUMENT, "document"),
        (REGISTERS | READS, None, DOCUMENT, "document"),
        (REGISTERS, None, DOCUMENT, None),
        (REGISTERS | READS, MADE, "", "registered"),
        (REGISTERS, None, "", None),
        ({}, MADE, "", "registered"),
    ],
)
def test_the_order_of_ways(
    members: dict[str, object], known: Client | None, document: str, how: str | None
) -> None:
    found = oauthclient.choose(server(**members), known, document, 99.0)
    assert (found.how if found else None) == how


def test_a_registration_that_is_over_is_made_anew_or_a_person_is_asked() -> None:
    assert oauthclient.choose(server(**REGISTERS), MADE, "", 100.0) is None
    with pytest.raises(OAuthError, match="registers no clients"):
        oauthclient.choose(server(), MADE, "", 100.0)


def test_a_client_of_another_issuer_is_never_used() -> None:
    other = msgspec.structs.replace(GIVEN, issuer="https://other.example")
    with pytest.raises(OAuthError, match="is not used at"):
        oauthclient.choose(server(), other, "", 0.0)
    assert oauthclient.place(ISSUER) != oauthclient.place(f"{ISSUER}/")


def test_a_representation_has_no_secret() -> None:
    assert "s3cret" not in repr(oauthclient.given(ISSUER, "corp", "s3cret-s3cret"))


def test_what_a_person_registered() -> None:
    assert oauthclient.given(ISSUER, "a").method == "none"
    assert oauthclient.given(ISSUER, "a", "b").method == "client_secret_basic"
    assert oauthclient.given(ISSUER, "a", "b", post=True).method == "client_secret_post"
    assert oauthclient.given(ISSUER, "a", post=True).method == "none"
    assert oauthclient.given(ISSUER, "a", "-----BEGIN PRIVATE KEY-----\n", "k").method == "private_key_jwt"


@pytest.mark.parametrize(
    ("client_id", "secret"), [("", ""), ("a\n", ""), ("é", ""), ("a", "b\r\nX: y"), ("a" * 3000, "")]
)
def test_what_nobody_can_be_registered_as(client_id: str, secret: str) -> None:
    with pytest.raises(OAuthError):
        oauthclient.given(ISSUER, client_id, secret)


@pytest.mark.parametrize(
    "url",
    [
        "http://guard.example/x",
        "https://guard.example",
        "https://guard.example/",
        "https://guard.example/x?y",
        "x",
    ],
)
def test_what_is_no_client_id_document(url: str) -> None:
    with pytest.raises(OAuthError):
        oauthclient.document(ISSUER, url)


def test_the_document_says_of_itself_where_it_is() -> None:
    text = oauthclient.document_text(DOCUMENT)
    assert (text["client_id"], text["token_endpoint_auth_method"]) == (DOCUMENT, "none")


def test_what_is_said_when_registering() -> None:
    methods = ("client_secret_post",)
    said = oauthclient.registration(
        "http://127.0.0.1:1/x", "a b", server(token_endpoint_auth_methods_supported=methods)
    )
    assert said["application_type"] == "native"
    assert said["token_endpoint_auth_method"] == "client_secret_post"
    assert "scope" not in oauthclient.registration("http://127.0.0.1:1/x", "", server())


REDIRECT = "http://127.0.0.1:1/x"


def test_a_registration() -> None:
    body = b'{"client_id":"a","client_secret":"b","client_secret_expires_at":7,"token_endpoint_auth_method":"client_secret_post"}'
    made = oauthclient.registered(201, body, ISSUER, REDIRECT)
    assert (made.secret, made.method, made.expires, made.redirect) == (
        "b",
        "client_secret_post",
        7.0,
        REDIRECT,
    )
    assert oauthclient.registered(201, b'{"client_id":"a"}', ISSUER, REDIRECT).method == "none"
    unused = b'{"client_id":"a","client_secret":"b","token_endpoint_auth_method":"none"}'
    assert oauthclient.registered(200, unused, ISSUER, REDIRECT).secret == ""


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, b'{"error":"invalid_redirect_uri"}'), (302, b""), (201, b""), (201, b"{}"), (201, b'{"client_id":""}'),
        (201, b'{"client_id":"a\\n"}'), (201, b'{"client_id":"a","redirect_uris":["https://evil.example/"]}'),
        (201, b'{"client_id":"a","token_endpoint_auth_method":"private_key_jwt"}'),
        (201, b'{"client_id":"a","token_endpoint_auth_method":"client_secret_basic"}'), (201, b" " * 300_000),
    ],
)  # fmt: skip
def test_what_is_no_registration(status: int, body: bytes) -> None:
    with pytest.raises(OAuthError):
        oauthclient.registered(status, body, ISSUER, REDIRECT)
