"""What is made of the daemon's answers; whole stories are in tests/lifecycle/test_faraway.py."""

import pytest

from mcpguard.cli import remoteprobe
from mcpguard.cli.remoteadd import as_options
from mcpguard.cli.remoteprobe import LoginWanted
from mcpguard.errors import SecretError, TrustError, UpstreamError
from mcpguard.identity.remote import Remote

PLACE = Remote("https://mcp.example/mcp?secret=1", ca="system")
SAID = {"ca": None, "pin": (), "client_cert": None, "client_key": None, "allow_network": (), "proxy": None}


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        ({"code": "trust", "login": False}, TrustError),
        ({"code": "secret", "login": False}, SecretError),
        ({"code": "failed", "login": False}, UpstreamError),
        ({"code": "failed", "login": True}, LoginWanted),
    ],
)
def test_failures_by_who_must_act(told: dict, kind: type) -> None:
    error = remoteprobe._failure({"error": "no", "hint": "go", **told}, PLACE)
    assert type(error) is kind
    assert "secret=1" not in error.message


def test_options_are_for_a_shell() -> None:
    said = as_options(
        {**SAID, "url": "https://x/?a=1&b", "ca": "a b.pem", "allow_network": ("10.0.0.0/8", "loopback")}
    )
    assert (
        said == "--url 'https://x/?a=1&b' --ca 'a b.pem' --allow-network 10.0.0.0/8 --allow-network loopback"
    )
