"""What we sign, checked by another library."""

import base64
import hashlib
import subprocess
import sys

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, JWKRegistry

from mcpguard.credentials.oauthclient import Client
from mcpguard.credentials.oautherror import OAuthError
from mcpguard.credentials.oauthmetadata import AuthorizationServer
from mcpguard.daemon import oauthproofs

SERVER = AuthorizationServer("https://auth.example")


def test_a_proof() -> None:
    prover = oauthproofs.Prover(oauthproofs.new_key())
    made = prover.proof("POST", "https://a.example/mcp?x=1#y", now=99.9, ident="j", nonce="n", access="token")
    other = prover.proof("GET", "https://a.example/mcp", now=99.9, ident="k")
    key = JWKRegistry.import_key(jwt.decode(made, _any_key(made)).header["jwk"])
    assert isinstance(key, ECKey)
    assert not key.is_private
    found = jwt.decode(made, key, algorithms=["ES256"])
    assert found.header["typ"] == "dpop+jwt"
    digest = base64.urlsafe_b64encode(hashlib.sha256(b"token").digest()).rstrip(b"=").decode()
    assert found.claims == {
        "jti": "j", "htm": "POST", "htu": "https://a.example/mcp", "iat": 99, "nonce": "n", "ath": digest,
    }  # fmt: skip
    assert jwt.decode(other, key, algorithms=["ES256"]).claims.keys() == {"jti", "htm", "htu", "iat"}


def _any_key(made: str) -> ECKey:
    import json  # noqa: PLC0415

    head = made.split(".", maxsplit=1)[0]
    return ECKey.import_key(json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))["jwk"])


def test_keys_are_fresh() -> None:
    assert oauthproofs.new_key() != oauthproofs.new_key()


@pytest.mark.parametrize(
    "secret", ["", "secret", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"]
)
def test_what_is_no_key(secret: str) -> None:
    client = Client(SERVER.issuer, "id", method="private_key_jwt", secret=secret)
    with pytest.raises(OAuthError, match="no private key") as caught:
        oauthproofs.client_assertion(client, SERVER, now=0.0, ident="j")
    assert secret not in caught.value.message or not secret


def test_an_algorithm_that_the_server_does_not_know() -> None:
    client = Client(SERVER.issuer, "id", method="private_key_jwt", secret=oauthproofs.new_key(), key_id="k")
    known = AuthorizationServer(SERVER.issuer, token_endpoint_auth_signing_alg_values_supported=("PS256",))
    with pytest.raises(OAuthError, match="takes no signatures of the kind ES256"):
        oauthproofs.client_assertion(client, known, now=0.0, ident="j")
    assert oauthproofs.client_assertion(client, SERVER, now=0.0, ident="j").count(".") == 2


def test_without_the_library_a_sentence_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['jwt'] = None\n"
        "from mcpguard.daemon import oauthproofs\n"
        "from mcpguard.credentials.oautherror import OAuthError\n"
        "try: oauthproofs.Prover(oauthproofs.new_key())\n"
        "except OAuthError as error: print(error.sentence())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "signing needs a library that is not installed: pip install 'mcpguard[http]'\n"


def test_a_daemon_without_logins_has_none_of_the_libraries() -> None:
    code = (
        "import sys, mcpguard.daemon.app; print({'aiohttp', 'jwt', 'pyrage', 'authlib'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
