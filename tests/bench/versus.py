"""Two versions beside each other in alternating blocks, so that a machine that is now fast and now slow hits both alike.

    .venv/bin/python tests/bench/versus.py OTHER/bin/mcpguard [--blocks 40] [--simple] [--json]

`--simple` gives the other one a policy of one rule, for versions that do not know the keys of the full one. Ratios are
this version's time over the other's: below 1, this one is faster. Two runs of the same version differ by some 5 %.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import load
import run

SIMPLE = 'version = 1\nmode = "enforce"\n[[rule]]\nid = "bench"\ntools = ["echo"]\neffect = "allow"\n'
_CALLS = 400
_WINDOW_CALLS = 3000


@contextlib.contextmanager
def guarded(program: str, policy: str) -> Iterator[load.Host]:
    """A connection through a daemon of its own, warm."""
    command = [program, "run", "--name", "bench", "--", *run.SERVER]
    with run.home(policy, program) as env:
        load.start(command, env)
        host = load.Host(command, pairs=False, env=env)
        try:
            load.round_trips(host, 300)
            yield host
        finally:
            host.close()


def compared(hosts: list[load.Host], blocks: int) -> dict[str, list[list[float]]]:
    """Microseconds of each block, by what was measured and by host."""
    found: dict[str, list[list[float]]] = {"round trip p50": [[], []], "a call of 64 outstanding": [[], []]}
    for block in range(blocks):
        for at in (0, 1) if block % 2 else (1, 0):
            found["round trip p50"][at].append(statistics.median(load.round_trips(hosts[at], _CALLS)) * 1e6)
            found["a call of 64 outstanding"][at].append(1e6 / load.pipelined(hosts[at], _WINDOW_CALLS, 64))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("other", help="the other version's program")
    parser.add_argument("--blocks", type=int, default=40)
    parser.add_argument("--simple", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    full = run.full_policy()
    with (
        guarded(options.other, SIMPLE if options.simple else full) as other,
        guarded(run.MCPGUARD, full) as ours,
    ):
        found = compared([other, ours], options.blocks)
    told = {}
    for what, (others, mine) in found.items():
        ratios = sorted(b / a for a, b in zip(others, mine, strict=True))
        low, middle, high = (ratios[len(ratios) * part // 4] for part in (1, 2, 3))
        told[what] = {
            "other_us": statistics.median(others),
            "this_us": statistics.median(mine),
            "ratio": middle,
            "quartiles": [low, high],
        }
        if not options.json:
            print(
                f"{what}: {middle:.2f} x the other's ({low:.2f} to {high:.2f}); "
                f"{told[what]['this_us']:.0f} us, the other {told[what]['other_us']:.0f} us"
            )
    if options.json:
        print(json.dumps(told))


if __name__ == "__main__":
    main()
