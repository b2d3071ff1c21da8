"""What wrong keys cost those who have right ones: `python -m tests.bench.lockout [--flood 10000] [--calls 2000]`.

A listener over TLS with real gates (`tests/daemon/doorway.py`) in a process of its own; a good caller, first alone and
then beside a flood of wrong keys from the same address; each an own process. Prints one JSON object: latencies of the
good caller in microseconds, the ratio of its p99, how many of the flood were looked at (401) and how many were kept
away without a look (429). The bar is a ratio of 2.

On a machine with two cores the flood takes one of them by itself; what it costs there is in the figures.
"""

import argparse
import asyncio
import json
import multiprocessing
import ssl
import statistics
import tempfile
import time
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path

from mcpguard.system.servefile import Listen
from mcpguard.system.tlsfiles import TlsFiles
from tests.daemon.doorway import Doorway
from tests.daemon.loops import LOOPS
from tests.lifecycle.peers import Authority, Peer

PING = {"jsonrpc": "2.0", "id": 9, "method": "ping"}


def serving(directory: str, pipe: Connection) -> None:
    """The listener, until the other side hangs up."""

    async def served() -> None:
        place = Path(directory)
        authority = Authority(place)
        keeper = TlsFiles(Listen("x", certificate=str(authority.certificate), key=str(authority.key)))
        doorway = Doorway(place, keeper=keeper, recheck=10.0)
        doorway.keys.add("good")
        pipe.send(doorway.door.port)
        await asyncio.to_thread(pipe.poll, None)
        pipe.send(doorway.keys.asked)
        await doorway.close()

    with asyncio.Runner(loop_factory=LOOPS["uvloop"]) as runner:
        runner.run(served())


def calling(port: int, directory: str, calls: int, pipe: Connection) -> None:
    """A good caller: a session, then calls, each timed; as often as it is asked."""
    with Peer(port, tls=_tls(directory)) as peer:
        peer.extra["Authorization"] = "Bearer good"
        peer.greet()
        while pipe.recv():
            took = []
            for number in range(calls):
                began = time.perf_counter_ns()
                answer = peer.call(number, "now")
                assert answer.status == 200, answer.response.read()
                answer.drained()
                took.append((time.perf_counter_ns() - began) / 1000)
            pipe.send(took)


def flooding(port: int, directory: str, attempts: int, pipe: Connection) -> None:
    """Wrong keys, each another one, on connections that are made anew now and then."""
    statuses: Counter[int] = Counter()
    done = 0
    while done < attempts:
        with Peer(port, tls=_tls(directory)) as peer:
            for _ in range(min(100, attempts - done)):
                done += 1
                peer.extra["Authorization"] = f"Bearer wrong-{done}"
                statuses[peer.post(PING).drained()] += 1
    pipe.send(statuses)


def _tls(directory: str):
    return ssl.create_default_context(cafile=str(Path(directory) / "ca.pem"))


def started(work, *arguments):
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=work, args=(*arguments, theirs), daemon=True)
    process.start()
    theirs.close()
    return process, ours


def told(took: list[float]) -> dict[str, float]:
    ordered = sorted(took)
    return {"p50": round(statistics.median(ordered)), "p99": round(ordered[int(len(ordered) * 0.99)])}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--flood", type=int, default=10_000)
    options.add_argument("--calls", type=int, default=2_000)
    chosen = options.parse_args()
    multiprocessing.set_start_method("spawn")
    with tempfile.TemporaryDirectory() as directory:
        server, at_server = started(serving, directory)
        port = at_server.recv()
        caller, at_caller = started(calling, port, directory, chosen.calls)
        at_caller.send(True)
        alone = at_caller.recv()
        at_caller.send(True)
        alone += at_caller.recv()
        began = time.monotonic()
        flood, at_flood = started(flooding, port, directory, chosen.flood)
        beside: list[float] = []
        while not at_flood.poll():
            at_caller.send(True)
            beside += at_caller.recv()
        seconds = time.monotonic() - began
        statuses = at_flood.recv()
        at_caller.send(False)
        at_server.send(None)
        looked_at = at_server.recv()
        for process in (flood, caller, server):
            process.join(20)
    found = {"alone_us": told(alone), "beside_us": told(beside), "calls": len(alone) + len(beside)}
    ratio = round(found["beside_us"]["p99"] / found["alone_us"]["p99"], 2)
    flood_told = {str(status): count for status, count in sorted(statuses.items())}
    print(
        json.dumps(
            {
                **found,
                "p99_ratio": ratio,
                "flood": flood_told,
                "flood_per_second": round(chosen.flood / seconds),
                "keys_looked_at": looked_at - 1,
            }
        )
    )


if __name__ == "__main__":
    main()
