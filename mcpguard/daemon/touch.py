"""Security keys as a sign of presence: which are enrolled, and whether one was touched for this question.

What is verified is an ordinary WebAuthn assertion: the challenge is ours and new, the key is an enrolled one, and its
flag says that somebody touched it. The PIN of the key is asked for if the key has one and wants it.

Not here: speaking to the key, which the command line does (`cli.touch`), because it is where the person is.

Source: Web Authentication Level 2, 7.1 and 7.2; CTAP 2.1. Needs the extra `presence` (fido2).
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final

from mcpguard.errors import PeerError
from mcpguard.model import JsonObject

RP: Final = "mcpguard.internal"
"""The name under which keys are enrolled: no site of the internet can have it."""
ORIGIN: Final = f"https://{RP}"


def available() -> bool:
    """Whether the library is there."""
    try:
        _server()
    except ImportError:
        return False
    return True


def enrolled(response: JsonObject, challenge: bytes) -> str:
    """What is kept of a key that was just enrolled, base64.

    Raises:
        PeerError: It is not the answer of a key to this challenge.
    """
    server = _server()
    try:
        found = server.register_complete(_state(server, challenge), response)
    except Exception as error:
        raise PeerError(f"this is no answer of a security key: {error}", hint="try again") from error
    if found.credential_data is None:
        raise PeerError("the security key has made no credential", hint="try again")
    return base64.b64encode(found.credential_data).decode()


def touched(response: JsonObject, challenge: bytes, keys: dict[str, str]) -> str:
    """The name of the key that was touched; `keys` are names and what `enrolled` gave.

    Raises:
        PeerError: None of them was, for this challenge.
    """
    server = _server()
    known = {name: _credential(kept) for name, kept in keys.items()}
    try:
        found = server.authenticate_complete(_state(server, challenge), list(known.values()), response)
    except Exception as error:
        raise PeerError(f"no enrolled security key was touched: {error}", hint="try again") from error
    return next(name for name, credential in known.items() if credential == found)


def credential_id(kept: str) -> str:
    """What names a key to its authenticator, hex."""
    found: bytes = _credential(kept).credential_id
    return found.hex()


def _credential(kept: str) -> Any:
    from fido2.webauthn import AttestedCredentialData  # noqa: PLC0415 (an extra)

    try:
        return AttestedCredentialData(base64.b64decode(kept, validate=True))
    except (binascii.Error, ValueError) as error:
        raise PeerError(
            "what is kept of a security key is damaged", hint="mcpguard presence remove"
        ) from error


def _server() -> Any:
    from fido2.server import Fido2Server  # noqa: PLC0415 (an extra)
    from fido2.webauthn import PublicKeyCredentialRpEntity  # noqa: PLC0415

    return Fido2Server(PublicKeyCredentialRpEntity(id=RP, name="mcpguard"), verify_origin=ORIGIN.__eq__)


def _state(server: Any, challenge: bytes) -> Any:
    """What the library keeps between question and answer."""
    _, state = server.authenticate_begin(challenge=challenge)
    return state
