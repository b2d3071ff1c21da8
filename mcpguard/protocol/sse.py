"""Server-sent events, as Streamable HTTP sends them: one JSON-RPC message in one event.

Source: WHATWG HTML, Server-sent events; MCP basic/transports (2025-03-26 to 2026-07-28). Data is our own encoding of
JSON, which has no line ends, so that one `data` line is enough.
"""

from __future__ import annotations

from typing import Final

COMMENT: Final = b": still here\n\n"
"""Keeps a stream warm; readers ignore it."""


def event(data: bytes, ident: str = "") -> bytes:
    """One event; `ident`: what a peer names to go on after it, empty for none. `data` has no line end."""
    head = f"id: {ident}\n".encode() if ident else b""
    return b"%bevent: message\ndata: %b\n\n" % (head, data)


def priming(ident: str, retry_ms: int) -> bytes:
    """The first event of a stream that can be resumed (revision 2025-11-25): an id, a time, and no data."""
    return f"id: {ident}\nretry: {retry_ms}\ndata: \n\n".encode()
