"""HTTP on admin.sock: one question, and strict about it."""

import pytest

from mcpguard.daemon.scrape import complete, is_http, response


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"GET /metrics HTTP/1.1\r", 200), (b"GET /metrics?x=1 HTTP/1.0", 200), (b"HEAD /metrics HTTP/1.1", 200),
        (b"GET / HTTP/1.1", 404), (b"GET /metrics/../x HTTP/1.1", 404), (b"POST /metrics HTTP/1.1", 405),
        (b"GET /metrics", 400), (b"GET  /metrics HTTP/1.1", 400), (b"GET /metrics HTTP/2", 400),
    ],
)  # fmt: skip
def test_answers(line: bytes, code: int) -> None:
    head, _, body = response(line, lambda: "m 1\n").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % code)
    assert b"Connection: close" in head
    length = int(head.partition(b"Content-Length: ")[2].split(b"\r\n")[0])
    assert len(body) == (0 if line.startswith(b"HEAD") else length)
    assert (body == b"m 1\n") is (code == 200 and not line.startswith(b"HEAD"))


def test_what_is_http_and_when_it_ends() -> None:
    assert is_http(b"GET /")
    assert not is_http(b'{"verb":"GET "}')
    assert not complete(b"GET / HTTP/1.1\r\nHost: x\r\n")
    assert complete(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
