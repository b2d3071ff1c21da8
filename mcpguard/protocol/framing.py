"""Bytes to lines. LF is the only separator; nothing else ever splits a message.

Source: MCP basic/transports, stdio (all revisions): messages are delimited by newlines and contain none. Node's
readline, Python's text mode and `str.splitlines` also split at CR, U+0085 or U+2028: a guard that did so would
see other messages than the server. Cost: O(n) in the bytes fed, also for lines that arrive byte by byte.
"""

from __future__ import annotations

from mcpguard import limits
from mcpguard.errors import ProtocolError


class LineBuffer:
    """Splits a byte stream into lines under a byte bound.

    Not here: a carriage return before the LF is left in place; `strict.decode` deals with it.
    """

    __slots__ = ("_limit", "_parts", "_size")

    def __init__(self, limit: int = limits.LINE_BYTES) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0

    @property
    def partial(self) -> int:
        """Bytes of a line that has begun and not ended."""
        return self._size

    def feed(self, data: bytes) -> list[bytes]:
        """Complete lines, without their LF.

        Raises:
            ProtocolError: A line is longer than the bound. The stream cannot be used any more.
        """
        if b"\n" not in data:
            self._keep(data)
            return []
        lines = data.split(b"\n")
        tail = lines.pop()
        if len(data) > self._limit and max(map(len, lines)) > self._limit:
            raise ProtocolError(f"a line is longer than {self._limit} bytes")
        if self._parts:
            self._keep(lines[0])
            lines[0] = b"".join(self._parts)
            self._parts.clear()
            self._size = 0
        if tail:
            self._keep(tail)
        return lines

    def _keep(self, part: bytes) -> None:
        self._size += len(part)
        if self._size > self._limit:
            self._parts.clear()
            raise ProtocolError(f"a line is longer than {self._limit} bytes")
        self._parts.append(part)
