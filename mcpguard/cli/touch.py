"""Security keys that are plugged in: enrolled, or touched for a question.

Source: CTAP 2.1, through python-fido2. Needs the extra `presence`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click

from mcpguard.daemon.touch import ORIGIN, RP
from mcpguard.errors import TrustError
from mcpguard.model import JsonObject


def plugged_in() -> list[Any]:
    """A client for each security key that is there.

    Raises:
        TrustError: The library is not installed.
    """
    try:
        from fido2.client import DefaultClientDataCollector, Fido2Client, UserInteraction
        from fido2.hid import CtapHidDevice
    except ImportError as error:
        raise TrustError(
            "security keys need more to be installed", hint="pip install 'mcpguard[presence]'"
        ) from error

    class Asking(UserInteraction):
        """Tells the person what the key waits for."""

        def prompt_up(self) -> None:
            click.echo("touch the security key", err=True)

        def request_pin(self, permissions: Any, rp_id: Any) -> str | None:  # noqa: ARG002 (the library's)
            pin: str = click.prompt("PIN of the security key", hide_input=True, err=True)
            return pin

    collector = DefaultClientDataCollector(ORIGIN, verify=lambda rp_id, origin: f"https://{rp_id}" == origin)
    return [Fido2Client(device, collector, Asking()) for device in CtapHidDevice.list_devices()]


def enrol(challenge: str, clients: Callable[[], list[Any]] = plugged_in) -> JsonObject:
    """Make a credential on the key that is plugged in; its answer, as WebAuthn has it in JSON.

    Raises:
        TrustError: There is no key, more than one, or it refuses.
    """
    from fido2.cose import ES256
    from fido2.webauthn import (
        PublicKeyCredentialCreationOptions,
        PublicKeyCredentialParameters,
        PublicKeyCredentialRpEntity,
        PublicKeyCredentialType,
        PublicKeyCredentialUserEntity,
    )

    options = PublicKeyCredentialCreationOptions(
        rp=PublicKeyCredentialRpEntity(id=RP, name="mcpguard"),
        user=PublicKeyCredentialUserEntity(id=b"approver", name="approver", display_name="approver"),
        challenge=bytes.fromhex(json.loads(challenge)["challenge"]),
        pub_key_cred_params=[
            PublicKeyCredentialParameters(type=PublicKeyCredentialType.PUBLIC_KEY, alg=ES256.ALGORITHM)
        ],
    )
    return _said(lambda: dict(_only(clients()).make_credential(options)))


def answer(challenge: str, clients: Callable[[], list[Any]] = plugged_in) -> JsonObject:
    """Have one of the enrolled keys touched; its answer, as WebAuthn has it in JSON.

    Raises:
        TrustError: There is no key, more than one, or it refuses.
    """
    from fido2.webauthn import (
        PublicKeyCredentialDescriptor,
        PublicKeyCredentialRequestOptions,
        PublicKeyCredentialType,
    )

    asked = json.loads(challenge)
    options = PublicKeyCredentialRequestOptions(
        challenge=bytes.fromhex(asked["challenge"]),
        rp_id=RP,
        allow_credentials=[
            PublicKeyCredentialDescriptor(type=PublicKeyCredentialType.PUBLIC_KEY, id=bytes.fromhex(key))
            for key in asked["keys"]
        ],
    )
    return _said(lambda: dict(_only(clients()).get_assertion(options).get_response(0)))


def _only(clients: list[Any]) -> Any:
    if len(clients) != 1:
        found = "no security key is" if not clients else f"{len(clients)} security keys are"
        raise TrustError(f"{found} plugged in", hint="plug in the one that is meant")
    return clients[0]


def _said(work: Callable[[], JsonObject]) -> JsonObject:
    try:
        return work()
    except TrustError:
        raise
    except Exception as error:
        raise TrustError(f"the security key refuses: {error}", hint="try again") from error
