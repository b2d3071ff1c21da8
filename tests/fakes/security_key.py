"""A security key in software: it makes real credentials and real signatures, as a client of python-fido2 gives them."""

import secrets
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from fido2.cose import ES256
from fido2.utils import sha256
from fido2.webauthn import (
    AttestationObject,
    AttestedCredentialData,
    AuthenticationResponse,
    AuthenticatorAssertionResponse,
    AuthenticatorAttestationResponse,
    AuthenticatorData,
    CollectedClientData,
    RegistrationResponse,
)

from mcpguard.daemon.touch import ORIGIN, RP

FLAG = AuthenticatorData.FLAG


class SecurityKey:
    """One key; `touched` is whether somebody touches it, `origin` where it believes to be."""

    def __init__(self, *, touched: bool = True, origin: str = ORIGIN, rp: str = RP) -> None:
        self.private = ec.generate_private_key(ec.SECP256R1())
        self.ident = secrets.token_bytes(32)
        self.flags = FLAG.UP if touched else FLAG(0)
        self.origin = origin
        self.rp = rp

    def make_credential(self, options: Any) -> RegistrationResponse:
        data = CollectedClientData.create("webauthn.create", options.challenge, self.origin)
        public = ES256.from_cryptography_key(self.private.public_key())
        credential = AttestedCredentialData.create(bytes(16), self.ident, public)
        about = AuthenticatorData.create(sha256(self.rp.encode()), self.flags | FLAG.AT, 0, credential)
        response = AuthenticatorAttestationResponse(
            client_data=data, attestation_object=AttestationObject.create("none", about, {})
        )
        return RegistrationResponse(raw_id=self.ident, response=response)

    def get_assertion(self, options: Any) -> "SecurityKey":
        if self.ident not in [each.id for each in options.allow_credentials or ()]:
            raise ValueError("no credential of this key is asked for")
        data = CollectedClientData.create("webauthn.get", options.challenge, self.origin)
        about = AuthenticatorData.create(sha256(self.rp.encode()), self.flags, 1)
        signature = self.private.sign(about + data.hash, ec.ECDSA(hashes.SHA256()))
        response = AuthenticatorAssertionResponse(
            client_data=data, authenticator_data=about, signature=signature
        )
        self.assertion = AuthenticationResponse(raw_id=self.ident, response=response)
        return self

    def get_response(self, _index: int) -> AuthenticationResponse:
        return self.assertion
