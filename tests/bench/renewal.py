"""Renewal of both certificates while 100 connections over mutual TLS call without a pause: failed calls, and the cost.

    .venv/bin/python tests/bench/renewal.py [--connections 100] [--seconds 5] [--renewals 20] [--json]

Bar: no call fails. Server and clients are in one process, so a renewal stops both for as long as it takes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).parents[2]))
from mcpguard.daemon.tasks import spawn_task
from tests.daemon.certplace import Place, print_of


class Load:
    """Connections that call, and what came of it."""

    def __init__(self, place: Place, port: int) -> None:
        self.place, self.port = place, port
        self.context = place.keeper.remote("guard", "localhost", own="alice")
        self.times: list[float] = []
        self.failed = self.opened = 0
        self.over = False

    async def steady(self) -> None:
        """One connection for all of its calls."""
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=self.context, server_hostname="localhost"
        )
        while not self.over:
            began = time.perf_counter()
            try:
                writer.write(b"x" * 199 + b"\n")
                if len(await reader.readline()) != 200:
                    raise ConnectionError
            except OSError:
                self.failed += 1
                return
            self.times.append(time.perf_counter() - began)
        writer.close()

    async def passing(self) -> None:
        """A connection for each call."""
        while not self.over:
            try:
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", self.port, ssl=self.context, server_hostname="localhost"
                )
                writer.write(b"new\n")
                if await reader.readline() != b"new\n":
                    raise ConnectionError
                writer.close()
                self.opened += 1
            except OSError:
                self.failed += 1
            await asyncio.sleep(0.01)


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while line := await reader.readline():
            writer.write(line)
    except OSError:
        return
    finally:
        writer.close()


def percentiles(times: list[float]) -> dict[str, float]:
    seen = sorted(times)
    return {
        "p50_us": round(seen[len(seen) // 2] * 1e6, 1),
        "p99_us": round(seen[int(len(seen) * 0.99)] * 1e6, 1),
    }


async def measured(place: Place, options: argparse.Namespace) -> dict[str, object]:
    server = await asyncio.start_server(
        serve, "127.0.0.1", 0, ssl=place.keeper.listener("guard"), backlog=512
    )
    load = Load(place, server.sockets[0].getsockname()[1])
    tasks = [spawn_task(load.steady(), name="steady") for _ in range(options.connections)]
    tasks.append(spawn_task(load.passing(), name="passing"))
    await asyncio.sleep(1.0)
    load.times.clear()
    await asyncio.sleep(options.seconds / 2)
    without, load.times = load.times, []
    took = []
    for _ in range(options.renewals):
        for name in ("guard", "alice"):
            began = time.perf_counter()
            place.authority.renew(name, "daemon")
            place.keeper.changed()
            took.append(time.perf_counter() - began)
        await asyncio.sleep(options.seconds / 2 / options.renewals)
    load.over = True
    await asyncio.gather(*tasks)
    server.close()
    return {
        "connections": options.connections,
        "calls": len(without) + len(load.times),
        "new_connections": load.opened,
        "renewals": len(took),
        "failed": load.failed,
        "without": percentiles(without),
        "with_renewals": percentiles(load.times),
        "one_renewal_ms": round(sorted(took)[len(took) // 2] * 1e3, 2),
    }


def costs(place: Place) -> dict[str, float]:
    """Of questions that are asked for each connection or each interval, us; the best of five."""
    alice = place.keeper.registry.current("alice")
    assert alice is not None
    mark = print_of(alice)

    def best(what: object, many: int) -> float:
        runs = []
        for _ in range(5):
            began = time.perf_counter()
            for _ in range(many):
                what()  # type: ignore[operator]
            runs.append((time.perf_counter() - began) / many)
        return round(min(runs) * 1e6, 2)

    def fresh() -> None:
        place.keeper._met.clear()
        place.keeper.identify(alice.der)

    async def ticks() -> float:
        place.keeper.tick()
        return best(place.keeper.tick, 10_000)

    return {
        "still_valid_us": best(lambda: place.keeper.still_valid(mark), 100_000),
        "identify_again_us": best(lambda: place.keeper.identify(alice.der), 10_000),
        "identify_first_us": best(fresh, 500),
        "tick_us": asyncio.run(ticks()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--renewals", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mcpguard-bench-") as name:
        place = Place(Path(name) / "certificates", time.time())
        place.server()
        place.issue("alice")
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            found = runner.run(measured(place, options))
        found |= costs(place)
    if options.json:
        print(json.dumps(found))
        return
    for key, value in found.items():
        print(f"{key:<18} {value}")
    print("no call failed" if not found["failed"] else "CALLS FAILED")


if __name__ == "__main__":
    main()
