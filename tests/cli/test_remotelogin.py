"""What the verb makes of its options; whole logins are in tests/lifecycle/test_remote_login.py."""

import json
from pathlib import Path

import pytest

from mcpguard.cli import remotelogin
from mcpguard.errors import ConfigError

PLAIN = dict.fromkeys(
    ("issuer", "client_id", "key_id", "document", "provider", "assertion", "secret_file"), ""
) | {"scopes": (), "at_provider": False, "secret_post": False, "port": None, "dpop": None, "flow": None}


def wish(**said: object) -> dict[str, object]:
    return json.loads(json.dumps(remotelogin._wish(PLAIN | said)))


def test_only_what_was_said_is_asked_for() -> None:
    assert wish() == {}
    assert wish(port=0, dpop=False, scopes=("a",), flow="client") == {
        "port": 0, "dpop": False, "scopes": ["a"], "flow": "client",
    }  # fmt: skip


def test_a_secret_comes_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("s3cret\n")
    assert wish(secret_file=str(file)) == {"secret": "s3cret"}


@pytest.mark.parametrize("text", ["", "\n", "x" * 5000])
def test_what_is_no_secret(tmp_path: Path, text: str) -> None:
    file = tmp_path / "secret"
    file.write_text(text)
    with pytest.raises(ConfigError, match="no secret"):
        wish(secret_file=str(file))
