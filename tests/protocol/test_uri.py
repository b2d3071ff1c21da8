"""One form for each URI, and no URI that two readers take for two."""

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpguard import limits
from mcpguard.protocol.strict import Refused
from mcpguard.protocol.uri import normalise

SAME = [
    ("file:///srv/a", "file:///srv/a"), ("FILE:///srv/a", "file:///srv/a"), ("file:///srv/./a", "file:///srv/a"),
    ("file:///srv/b/../a", "file:///srv/a"), ("file:///srv/%61", "file:///srv/a"), ("file:///a%7eb", "file:///a~b"),
    ("file:///a%20b", "file:///a%20b"), ("file:///a%c3%a4", "file:///a%C3%A4"), ("HTTP://EXAMPLE.com:80/A", "http://example.com/A"),
    ("https://example.com:8443/", "https://example.com:8443/"), ("https://[::1]:443/x", "https://[::1]/x"),
    ("docs://page?x=1#y", "docs://page?x=1#y"), ("memo:insights", "memo:insights"), ("a+b://c/d/..", "a+b://c/"),
    ("screen://localhost", "screen://localhost"), ("file:///srv/a//b", "file:///srv/a//b"), ("mailto:a@b.c", "mailto:a@b.c"),
    ("https://example.com:/x", "https://example.com/x"), ("file:/srv/../etc", "file:/etc"),
    ("db://table/a%5B0%5D", "db://table/a%5B0%5D"), ("test://ä/ö", "test://ä/ö"),
]  # fmt: skip

REFUSED = [
    "", "x", "/srv/a", "//host/x", "file:///srv/../../etc/passwd", "file:///..", "file:///srv/%2e%2e/etc",
    "file:///srv/%2E./a", "file:///srv/..%2fetc", "file:///srv%5c..%5cetc", "file:///a%00", "file:///a%0a", "file:///a%",
    "file:///a%2", "file:///a%zz", "file:///a b", "file:///a\\b", "file:///a\n", "file:///a\u202e", "file://%65vil/a",
    "https://user@host/", "https://good.example@evil.example/", "https://host:80a/", "https://host:٣/",
    "file:///" + "a" * limits.URI_CHARS,
]  # fmt: skip


@pytest.mark.parametrize(("uri", "form"), SAME)
def test_spellings_of_one_uri_have_one_form(uri: str, form: str) -> None:
    assert normalise(uri) == form


@pytest.mark.parametrize("uri", REFUSED)
def test_what_readers_take_differently_is_refused(uri: str) -> None:
    with pytest.raises(Refused):
        normalise(uri)


PIECES = st.lists(
    st.sampled_from(["file:", "http:", "//", "/", "a", "..", ".", "%61", "%2e", "%2f", "%c3", "%7E", "?", "#", ":", "@", "H", "%"]),
    max_size=12,
).map("".join)  # fmt: skip


@given(PIECES | st.text(max_size=20).map("file:///".__add__))
def test_the_form_of_a_form_is_itself_and_holds_nothing_that_climbs(uri: str) -> None:
    try:
        form = normalise(uri)
    except Refused:
        return
    assert normalise(form) == form
    parts = urlsplit(form)
    if parts.path.startswith("/"):
        assert not {"..", "."} & set(parts.path.split("/"))
    assert urlsplit(uri).scheme.lower() == parts.scheme
