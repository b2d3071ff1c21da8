"""A host that measures: drives a command over stdio and returns figures. Requests are bounded in count and time."""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import time

HELLO = (
    b'{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},'
    b'"clientInfo":{"name":"bench","version":"1"}}}\n'
)
CALL = b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"echo","arguments":%b}}\n'
SMALL = b'{"text":"aaaaaaaaaaaaaaaaaaaa"}'
MIB = b'{"size":1048576}'


class Host:
    """One connection, from start to close."""

    def __init__(self, command: list[str], *, pairs: bool, env: dict[str, str] | None) -> None:
        began = time.perf_counter()
        if pairs:
            ours_in, theirs_in = socket.socketpair()
            ours_out, theirs_out = socket.socketpair()
            self.process = subprocess.Popen(
                command, stdin=theirs_in, stdout=theirs_out, stderr=subprocess.DEVNULL, env=env
            )
            theirs_in.close()
            theirs_out.close()
            self.sink, self.source = ours_in.detach(), ours_out.detach()
        else:
            theirs_in_fd, self.sink = os.pipe()
            self.source, theirs_out_fd = os.pipe()
            self.process = subprocess.Popen(
                command, stdin=theirs_in_fd, stdout=theirs_out_fd, stderr=subprocess.DEVNULL, env=env
            )
            os.close(theirs_in_fd)
            os.close(theirs_out_fd)
        self.kept = b""
        self.send(HELLO)
        assert json.loads(self.line())["id"] == 0, "no answer to initialize"
        self.start_seconds = time.perf_counter() - began
        self.send(b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n')

    def send(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self.sink, view) :]

    def line(self) -> bytes:
        parts = [self.kept]
        while b"\n" not in parts[-1]:
            data = os.read(self.source, 1 << 20)
            if not data:
                raise EOFError("the server closed")
            parts.append(data)
        line, _, self.kept = b"".join(parts).partition(b"\n")
        return line

    def close(self) -> None:
        os.close(self.sink)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.source)


def round_trips(host: Host, count: int) -> list[float]:
    """Seconds of `count` calls, one outstanding."""
    out = []
    for number in range(count):
        began = time.perf_counter()
        host.send(CALL % (1000 + number, SMALL))
        host.line()
        out.append(time.perf_counter() - began)
    return sorted(out)


def pipelined(host: Host, count: int, window: int) -> float:
    """Calls a second with `window` outstanding."""
    began = time.perf_counter()
    sent = got = 0
    while got < count:
        more = min(window - (sent - got), count - sent)
        if more > 0:
            host.send(b"".join(CALL % (100_000 + sent + place, SMALL) for place in range(more)))
            sent += more
        host.line()
        got += 1
        whole = host.kept.count(b"\n")
        if whole:
            got += whole
            host.kept = host.kept[host.kept.rindex(b"\n") + 1 :]
    return count / (time.perf_counter() - began)


def large(host: Host, count: int) -> float:
    """MiB a second of results of 1 MiB."""
    began = time.perf_counter()
    for number in range(count):
        host.send(CALL % (900_000 + number, MIB))
        assert len(host.line()) > 1 << 20
    return count / (time.perf_counter() - began)


def measure(
    command: list[str], *, pairs: bool = False, env: dict[str, str] | None = None
) -> dict[str, float]:
    """All figures of one command: p50 and p99 in us, calls a second, MiB a second."""
    host = Host(command, pairs=pairs, env=env)
    try:
        round_trips(host, 300)
        times = round_trips(host, 3000)
        return {
            "p50": times[len(times) // 2] * 1e6,
            "p99": times[int(len(times) * 0.99)] * 1e6,
            "one": 1 / statistics.fmean(times),
            "calls": pipelined(host, 20_000, 64),
            "mib": large(host, 20),
        }
    finally:
        host.close()


def start(command: list[str], env: dict[str, str] | None = None) -> float:
    """Seconds from the start of the command to its first answer."""
    host = Host(command, pairs=False, env=env)
    host.close()
    return host.start_seconds
