"""HTTP on admin.sock, for scrapers that speak nothing else: `GET /metrics`, one request, then the connection ends.

Order: who asks was looked at before, as for every verb; so only the same user, and root where root may, gets here.

    curl --unix-socket /run/user/1000/mcpguard/admin.sock http://mcpguard/metrics
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from mcpguard.daemon.metrics import CONTENT_TYPE

_METHODS: Final = (
    b"GET ",
    b"HEAD ",
    b"POST ",
    b"PUT ",
    b"DELETE ",
    b"OPTIONS ",
    b"PATCH ",
    b"CONNECT ",
    b"TRACE ",
)
_WORDS: Final = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed"}


def is_http(data: bytes | bytearray) -> bool:
    """Whether this is the beginning of an HTTP request: a control request begins with a brace."""
    return data.startswith(_METHODS)


def complete(data: bytes | bytearray) -> bool:
    """Whether the head of the request has ended."""
    return b"\r\n\r\n" in data or b"\n\n" in data


def response(line: bytes, text: Callable[[], str]) -> bytes:
    """The answer to a request line; `text` gives the metrics."""
    words = line.strip().split(b" ")
    if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
        return _answer(400, "expected GET /metrics HTTP/1.1\n")
    if words[0] not in (b"GET", b"HEAD"):
        return _answer(405, "only GET is answered here\n")
    if words[1].partition(b"?")[0] != b"/metrics":
        return _answer(404, "see /metrics\n")
    return _answer(200, text(), body=words[0] == b"GET")


def _answer(code: int, text: str, *, body: bool = True) -> bytes:
    data = text.encode()
    head = (
        f"HTTP/1.1 {code} {_WORDS[code]}\r\nContent-Type: {CONTENT_TYPE}\r\nContent-Length: {len(data)}\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + (data if body else b"")
