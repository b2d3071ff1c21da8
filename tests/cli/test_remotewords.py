"""Words for logins."""

import pytest

from mcpguard.cli.remotewords import granted, leads_to, status_lines

TOKEN = {
    "server": "files", "issuer": "https://auth.example", "resource": "https://a.example/mcp", "scopes": ["read"],
    "kind": "Bearer", "flow": "code", "url": "https://a.example/mcp", "expires": 1000.0, "refreshes": True, "wanted": [],
}  # fmt: skip
LOGIN = {
    "server": "files", "url": "https://login.example/authorize?x=1", "issuer": "https://auth.example", "issuer_before": "",
    "resource": "https://a.example/mcp", "scopes": [], "client_id": "abc", "client": "registered",
    "redirect": "http://127.0.0.1:1/callback",
}  # fmt: skip


def test_what_is_shown_before_a_login() -> None:
    text = "\n".join(leads_to(LOGIN))
    for word in (
        "login.example",
        "https://auth.example",
        "https://a.example/mcp",
        "(none named)",
        "abc",
        "127.0.0.1:1",
    ):
        assert word in text
    assert "CHANGED" not in text
    assert (
        "CHANGED: the last login was at https://old.example"
        in leads_to(LOGIN | {"issuer_before": "https://old.example"})[1].strip()
    )


@pytest.mark.parametrize(
    ("members", "now", "said"),
    [
        ({}, 0.0, "logged in until 1970-01-01T00:16:40Z, refreshed by itself"),
        ({"refreshes": False}, 0.0, "logged in until 1970-01-01T00:16:40Z, then a new login"),
        ({}, 1000.0, "expired, refreshed with the next call"),
        ({"refreshes": False}, 1000.0, "expired: a new login is needed"),
        ({"expires": 0.0}, 1000.0, "logged in, until the server refuses"),
    ],
)
def test_states(members: dict[str, object], now: float, said: str) -> None:
    assert status_lines(TOKEN | members, now)[0] == f"files  {said}"


def test_what_else_is_said() -> None:
    lines = status_lines(TOKEN | {"wanted": ["write"], "kind": "DPoP"}, 0.0)
    assert lines[2].endswith("bound to a key of ours")
    assert lines[3] == "  wants   write: mcpguard remote login files"
    assert status_lines({"server": "files", "error": "damaged"}, 0.0) == ["files  unusable: damaged"]
    assert granted(TOKEN)[0] == "files: logged in at https://auth.example"
