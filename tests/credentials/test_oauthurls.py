"""URLs that others name: which are acceptable."""

import string
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mcpguard import limits
from mcpguard.credentials import oauthurls
from mcpguard.credentials.oautherror import OAuthError

GOOD = [
    "https://auth.example/authorize",
    "https://auth.example:8443/a/b?p=b2c_1_signin&x=%2F",
    "https://AUTH.example/",
    "https://auth.example",
    "https://[2001:db8::1]/x",
    "https://192.0.2.1/x",
    "https://a-b.c-d.example/~x",
    "https://localhost:8443/x",
    "https://auth_server.example/x".replace("_", "-"),
]


@pytest.mark.parametrize("url", GOOD)
def test_ordinary_urls_are_accepted_as_they_are(url: str) -> None:
    assert oauthurls.accept(url, "it") is url


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_http_is_for_this_machine_and_only_if_that_was_said(host: str) -> None:
    url = f"http://{host}:8000/x"
    assert oauthurls.refused(url) == "only https is acceptable"
    assert not oauthurls.refused(url, plain=True)
    for other in (
        "127.0.0.1.evil.example",
        "evil.example",
        "127.0.0.2",
        "0.0.0.0",
        "[::ffff:127.0.0.1]",
        "localhost.x",
    ):
        assert (
            oauthurls.refused(f"http://{other}/x", plain=True) == "http is acceptable for this machine only"
        )


@pytest.mark.parametrize(
    "url",
    [
        "", " https://a.example", "https://a.example ", "https://a.example\n", "https://a\t.example", "https//a.example",
        "HTTPS:a", "//a.example/", "https:a.example", "https:///x", "https://:443/", "https://a.example:/x", "https://[::1]:/x", "https://[::1]x/",
        "https://u@a.example/", "https://u:p@a.example/", "https://@a.example/", "https://a%40b.example/",
        "https://a.example#", "https://a.example/#x", "https://a.example:65536/", "https://a.example:0/",
        "https://a.example:-1/", "https://a.example:٣/", "https://[::1/", "https://[x]/", "https://a..example/",
        "https://.example/", "https://-a.example/", "https://a_b.example/", "https://ａ.example/", "ftp://a.example/",
        "https://a.example/%", "https://a.example/%2", "https://a.example/%gg", "https://a.example/\\x",
        "ws://a.example/", "mailto:a@b", "about:blank", "https://a.example/x y", 'https://a.example/"', "https://a.example/<",
        "https://a.example/$(id)", "https://a.example/`id`", "https://a.example/;id", "https://a.example/|id",
        "https://a.example/'", "https://a.example/*", "https://a.example/!x", "https://a.example/{}",
        "https://a.example/\x00", "https://a.example/\x7f", "https://a.example/\x85", "https://a.example/\u2028",
    ],
)  # fmt: skip
def test_everything_else_is_refused_with_a_sentence(url: str) -> None:
    with pytest.raises(OAuthError) as caught:
        oauthurls.accept(url, "it", plain=True)
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    "netloc", ["u@a.example", "u:p@a.example", "@a.example", "a%40b.example", "a%2eexample"]
)
def test_who_hides_a_host_is_told_so(netloc: str) -> None:
    assert "user information" in oauthurls.refused(f"https://{netloc}/")


def test_length() -> None:
    base = "https://a.example/"
    assert not oauthurls.refused(base + "x" * (limits.OAUTH_URL_CHARS - len(base)))
    assert oauthurls.refused(base + "x" * (limits.OAUTH_URL_CHARS - len(base) + 1))


@given(st.text(alphabet=string.printable + "é\u202e\x00", max_size=40))
@example("a.example/?x")
def test_whatever_is_accepted_has_one_meaning_and_no_trick(rest: str) -> None:
    url = f"https://{rest}"
    if oauthurls.refused(url):
        return
    parts = urlsplit(url)
    assert parts.scheme == "https"
    assert parts.hostname
    assert "@" not in parts.netloc
    assert not set(url) & set(" \t\r\n\\\"'`$<>|;(){}^!*#")
    assert url.isascii()
    assert url.isprintable()


@pytest.mark.parametrize(
    ("url", "resource", "inside"),
    [
        ("https://a.example/mcp", "https://a.example/mcp", True),
        ("https://a.example/mcp/", "https://a.example/mcp", True),
        ("https://a.example/mcp/x", "https://a.example/mcp", True),
        ("https://a.example/mcp?x=1", "https://a.example/mcp", True),
        ("https://A.example:443/mcp", "https://a.example/mcp", True),
        ("https://a.example/mcp", "https://a.example", True),
        ("https://a.example/mcp", "https://a.example/", True),
        ("https://a.example/mcpx", "https://a.example/mcp", False),
        ("https://a.example/", "https://a.example/mcp", False),
        ("https://a.example:8443/mcp", "https://a.example/mcp", False),
        ("https://b.example/mcp", "https://a.example/mcp", False),
        ("http://localhost/mcp", "https://localhost/mcp", False),
    ],
)
def test_within(url: str, resource: str, *, inside: bool) -> None:
    assert oauthurls.within(url, resource) is inside


@pytest.mark.parametrize(
    ("url", "resource"),
    [
        ("https://A.Example:443/", "https://a.example"),
        ("https://a.example", "https://a.example"),
        ("https://a.example/MCP?x=1", "https://a.example/MCP"),
        ("http://[::1]:80/mcp/", "http://[::1]/mcp/"),
        ("https://a.example:8443/mcp", "https://a.example:8443/mcp"),
    ],
)
def test_the_canonical_uri_of_a_server(url: str, resource: str) -> None:
    assert oauthurls.canonical(url) == resource
