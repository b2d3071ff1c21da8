"""Micro-benchmarks of the pure rooms: what a decision and a guarded call cost in CPU time, best of many."""

from __future__ import annotations

import time
import timeit

from mcpguard.audit import record
from mcpguard.daemon.fresh import Fresh
from mcpguard.gate.events import BytesReceived
from mcpguard.gate.gate import Gate
from mcpguard.model import Side, Verdict
from mcpguard.policy.document import parse
from mcpguard.policy.snapshot import Snapshot, compile_snapshot

_RULE = '[[rule]]\nid = "r%d"\nserver = "s%d"\ntools = ["tool_%d_*", "get_%d"]\neffect = "allow"\n'
_CALL = b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"echo","arguments":{"text":"aaaaaaaaaaaaaaaaaaaa"}}}\n'
_ANSWER = b'{"jsonrpc":"2.0","id":%d,"result":{"content":[{"type":"text","text":"ok"}]}}\n'
_WINDOW = 64


def _snapshot(rules: int) -> Snapshot:
    body = "".join(_RULE % (n, n % 7, n, n) for n in range(rules - 1))
    text = f'version = 1\nmode = "enforce"\n{body}[[rule]]\nid = "last"\ntools = ["echo"]\neffect = "allow"\n'
    return compile_snapshot(parse(text.encode(), "bench.toml"), "s1")


def decision() -> dict[str, float]:
    """Seconds of one decision with 10 and with 10,000 rules, measured in turn."""
    snapshots = {"10": _snapshot(10), "10000": _snapshot(10_000)}
    best = dict.fromkeys(snapshots, 1.0)
    for _ in range(20):
        for name, snapshot in snapshots.items():
            best[name] = min(
                best[name], timeit.timeit(lambda s=snapshot: s.tool("echo"), number=20_000) / 20_000
            )
    return best


def _feed(gate: Gate, side: Side, data: bytes) -> None:
    gate.handle(BytesReceived(side, data, time.monotonic_ns()))


def gate_call() -> float:
    """Seconds of CPU for one allowed call and its answer through the gate, 64 in a burst."""
    gate = Gate(
        _snapshot(10),
        "bench",
        record.prefix("bench", {"uid": 0, "pid": 1, "grade": "G0"}, "bench"),
        b"k" * 32,
    )
    hello = b'{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{}}}\n'
    _feed(gate, Side.HOST, hello)
    number = 2
    best = 1.0
    for _ in range(200):
        began = time.process_time()
        _feed(gate, Side.HOST, b"".join(_CALL % n for n in range(number, number + _WINDOW)))
        _feed(gate, Side.SERVER, b"".join(_ANSWER % n for n in range(number, number + _WINDOW)))
        best = min(best, (time.process_time() - began) / _WINDOW)
        number += _WINDOW
    return best


def watching() -> tuple[float, float]:
    """Seconds for one call and its answer that detectors are shown: to add both, and to take them in a batch."""
    start = record.prefix(
        "bench", {"uid": 0, "pid": 1, "grade": "G0", "exe": "/usr/bin/" + "x" * 200}, "bench"
    )
    tail = record.call_tail(Side.HOST, "tools/call", "echo", Verdict.ALLOW, "r1")
    ended = record.outcome_tail(Side.HOST, "tools/call", "echo")
    calls = [record.call(start, n, tail, b"a" * 32, 30) for n in range(1000)]
    answers = [record.outcome(start, n, ended, b"ok", 100, 30) for n in range(1000)]
    added = taken = 1.0
    for _ in range(50):
        fresh = Fresh()
        began = time.process_time()
        for call, answer in zip(calls, answers, strict=True):
            fresh.add(1.0, [call], 5)
            fresh.add(1.0, [answer])
        middle = time.process_time()
        fresh.take()
        added = min(added, (middle - began) / len(calls))
        taken = min(taken, (time.process_time() - middle) / len(calls))
    return added, taken


if __name__ == "__main__":
    print(f"decision: {decision()} s; call through the gate: {gate_call() * 1e6:.1f} us")
    print(
        "shown to detectors: {:.2f} us to add, {:.2f} us to take".format(*(1e6 * part for part in watching()))
    )
