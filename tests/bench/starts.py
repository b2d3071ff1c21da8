"""A pinned server against the same server under npx: time from start to first answer, in turn, in one run.

    .venv/bin/python tests/bench/starts.py [--rounds N] [--package NAME@VERSION] [--json]

What pinning costs at a start is shown beside it: reading the whole tree again, and hashing the interpreter. npx is
measured with a warm cache. Nothing fails on milliseconds: the program prints and exits 0, or 2 without npm or registry.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from mcpguard.errors import TrustError
from mcpguard.identity.launchers import NpmCommand, parse_launcher
from mcpguard.system.npmtree import materialise_npm
from mcpguard.system.packagestore import Materialised, PackageStore, interpreter
from mcpguard.system.tree import tree_digest
from mcpguard.system.truststore import wall_clock

PACKAGE = "@modelcontextprotocol/server-everything"
HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "bench", "version": "1"},
    },
}


def first_answer(argv: list[str], cwd: str) -> float:
    """Milliseconds from start to the answer to `initialize`."""
    began = time.perf_counter()
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=cwd
    ) as process:
        process.stdin.write(json.dumps(HELLO).encode() + b"\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        took = time.perf_counter() - began
        process.stdin.close()
        process.terminate()
    if b'"result"' not in answer:
        raise SystemExit(f"{argv[0]} did not answer: {answer[:200]!r}")
    return took * 1000


def timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1000


def measure(made: Materialised, npx: list[str], rounds: int, cwd: str) -> dict[str, float]:
    """Medians, milliseconds; the two in turn, so that noise hits both alike."""
    store = str(made.directory.parents[1])
    pinned = [word.replace("{store}", store) for word in made.argv]
    first_answer(npx, cwd)  # npx installs into its cache
    seen: dict[str, list[float]] = {"npx": [], "pinned": [], "tree": [], "interpreter": []}
    for _ in range(rounds):
        seen["npx"].append(first_answer(npx, cwd))
        seen["pinned"].append(first_answer(pinned, cwd))
        seen["tree"].append(timed(lambda: tree_digest(made.directory)))
        seen["interpreter"].append(timed(lambda: interpreter(made.interpreter.path)))
    return {name: statistics.median(values) for name, values in seen.items()}


def report(figures: dict[str, float], made: Materialised) -> list[str]:
    verified = figures["pinned"] + figures["tree"] + figures["interpreter"]
    return [
        f"{made.package} {made.version}: {made.count} packages, {made.tree.files} files, {made.tree.bytes >> 20} MiB",
        "| start to first answer | ms | of npx |",
        "|---|---|---|",
        f"| npx -y, warm cache | {figures['npx']:.0f} | 1.00 |",
        f"| pinned | {figures['pinned']:.0f} | {figures['pinned'] / figures['npx']:.2f} |",
        f"| pinned, tree and interpreter read again | {verified:.0f} | {verified / figures['npx']:.2f} |",
        f"| of that: tree {figures['tree']:.0f} ms, interpreter {figures['interpreter']:.0f} ms | | |",
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--package", default=PACKAGE)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    npx = ["npx", "-y", options.package, "stdio"]
    command = parse_launcher(npx)
    assert isinstance(command, NpmCommand)
    with tempfile.TemporaryDirectory(prefix="mcpguard-starts-") as name:
        store = PackageStore(Path(name) / "store")
        try:
            made = materialise_npm(command, store, lambda _: None, now=wall_clock())
        except TrustError as error:
            print(f"nothing measured: {error.sentence()}", file=sys.stderr)
            return 2
        figures = measure(made, npx, options.rounds, name)
        print(json.dumps(figures) if options.json else "\n".join(report(figures, made)))
        store.remove(made.ecosystem, made.tree.sha256)
    return 0


if __name__ == "__main__":
    sys.exit(main())
