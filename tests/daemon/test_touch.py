"""What is kept of security keys, and what damage to it does."""

import base64
import json

import pytest

from mcpguard.cli import touch as device
from mcpguard.daemon import touch
from mcpguard.errors import PeerError
from tests.fakes.security_key import SecurityKey

CHALLENGE = bytes(32)
ASKED = json.dumps({"challenge": CHALLENGE.hex(), "keys": []})


def test_a_key_is_kept_by_its_public_half() -> None:
    key = SecurityKey()
    kept = touch.enrolled(device.enrol(ASKED, lambda: [key]), CHALLENGE)
    assert touch.credential_id(kept) == key.ident.hex()
    assert touch.available()


@pytest.mark.parametrize("kept", ["", "!", base64.b64encode(b"short").decode()])
def test_damage_is_a_sentence(kept: str) -> None:
    with pytest.raises(PeerError, match="is damaged"):
        touch.credential_id(kept)
