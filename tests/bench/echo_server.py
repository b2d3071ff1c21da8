"""MCP stdio server that does as little work as possible, so that what is measured is what lies in between."""

import os
import re

ID = re.compile(rb'"id"\s*:\s*("(?:[^"\\]|\\.)*"|-?\d+)')
SIZE = re.compile(rb'"size":(\d+)')
TOOLS = (
    b'{"tools":[{"name":"echo","description":"Echo","inputSchema":{"type":"object"}},'
    b'{"name":"delete_all","description":"Danger","inputSchema":{"type":"object"}}]}'
)
HELLO = (
    b'{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true}},'
    b'"serverInfo":{"name":"bench","version":"1"}}'
)
TEXT = b'{"content":[{"type":"text","text":"%b"}]}'


def answer(line: bytes, blobs: dict[int, bytes]) -> bytes:
    if b'"tools/call"' in line:
        size = SIZE.search(line)
        if size is None:
            return TEXT % b"ok"
        count = int(size.group(1))
        return blobs.setdefault(count, TEXT % (b"x" * count))
    if b'"tools/list"' in line:
        return TOOLS
    return HELLO if b'"initialize"' in line else b"{}"


def main() -> None:
    kept = b""
    blobs: dict[int, bytes] = {}
    while data := os.read(0, 1 << 20):
        *lines, kept = (kept + data).split(b"\n")
        out = [
            b'{"jsonrpc":"2.0","id":%b,"result":%b}\n' % (match.group(1), answer(line, blobs))
            for line in lines
            if (match := ID.search(line))
        ]
        rest = memoryview(b"".join(out))
        while rest:
            rest = rest[os.write(1, rest) :]


main()
