"""Many calls through one daemon: does it grow?

    .venv/bin/python tests/bench/soak.py [--calls 10000000] [--json]

Prints memory and descriptors of the daemon at ten points, and what they grew by after the first. Connections come and
go meanwhile, as they do with hosts: one for each hundredth of the calls.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import load
import run

POINTS = 10
CONNECTIONS = 10
WINDOW = 64


def soak(env: dict[str, str], calls: int) -> list[dict[str, float]]:
    """What the daemon holds after each tenth of the calls: MiB, descriptors, calls a second."""
    seen = []
    for _ in range(POINTS):
        speeds = []
        for _ in range(CONNECTIONS):
            host = load.Host([*run.GUARDED, *run.SERVER], pairs=False, env=env)
            speeds.append(load.pipelined(host, calls // POINTS // CONNECTIONS, WINDOW))
            host.close()
        status = json.loads(run.mcpguard(env, "status", "--json").stdout)
        seen.append(
            {
                "mib": status["memory"]["pss_bytes"] / 2**20,
                "descriptors": status["descriptors"],
                "calls": sum(speeds) / len(speeds),
            }
        )
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=10_000_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with run.home(run.full_policy()) as env:
        seen = soak(env, options.calls)
    if options.json:
        print(json.dumps(seen))
        return
    for number, point in enumerate(seen, 1):
        done = options.calls * number // POINTS
        print(
            f"{done:>12,} calls  {point['mib']:6.1f} MiB  {point['descriptors']:4.0f} descriptors  {point['calls']:,.0f}/s"
        )
    grew = seen[-1]["mib"] - seen[0]["mib"]
    more = seen[-1]["descriptors"] - seen[0]["descriptors"]
    print(f"grew by {grew:.1f} MiB and {more:.0f} descriptors after the first tenth")


if __name__ == "__main__":
    main()
