"""A login from its beginning to its end is in tests/lifecycle/test_remote_login.py; here, what is opened and taken."""

import io

import pytest

from mcpguard.cli import loggingin
from mcpguard.credentials.oautherror import OAuthError
from mcpguard.errors import GuardError


def test_paste_opens_nothing_and_bad_urls_are_refused() -> None:
    assert not loggingin._opened({"url": "https://x.example/authorize"}, paste=True, yes=True)
    for url in ("file:///etc/passwd", "https://a@x.example/", "javascript:1"):
        with pytest.raises(GuardError, match="not opened"):
            loggingin._opened({"url": url}, paste=True, yes=True)


def test_an_address_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    with pytest.raises(OAuthError, match="no address"):
        loggingin._pasted("https://x.example/authorize")
    monkeypatch.setattr("sys.stdin", io.StringIO(" http://127.0.0.1/callback \n"))
    assert loggingin._pasted("https://x.example/authorize") == "http://127.0.0.1/callback"
