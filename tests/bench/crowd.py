"""Many connections, one of which works: what the others cost it, and how long they take to come.

    .venv/bin/python tests/bench/crowd.py [--sessions 1000] [--calls 3000] [--json]

Bar: p99 of a call with the crowd within 2 x of alone, in the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import load
import run

AT_ONCE = 50


def times(host: load.Host, calls: int) -> dict[str, float]:
    """p50 and p99 of calls one after another, us."""
    load.round_trips(host, 300)
    seen = load.round_trips(host, calls)
    return {"p50": seen[len(seen) // 2] * 1e6, "p99": seen[int(len(seen) * 0.99)] * 1e6}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=1000)
    parser.add_argument("--calls", type=int, default=3000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with tempfile.TemporaryDirectory(prefix="mcpguard-bench-") as name:
        env = {
            **os.environ, "HOME": name, "MCPGUARD_RUNTIME_DIR": f"{name}/run", "MCPGUARD_STATE_DIR": f"{name}/state",
        }  # fmt: skip
        command = [*run.GUARDED, *run.SERVER]
        one = load.Host(command, pairs=False, env=env)
        crowd: list[load.Host] = []
        try:
            alone = [times(one, options.calls)]
            began = time.perf_counter()
            crowd.extend(load.Host(command, pairs=False, env=env) for _ in range(options.sessions - 1))
            came = time.perf_counter() - began
            with_crowd = times(one, options.calls)
            _, memory = run.measured(env)
        finally:
            for host in crowd:
                os.close(host.sink)
            for host in crowd:
                host.process.wait()
                os.close(host.source)
        alone.append(times(one, options.calls))
        one.close()
        run.mcpguard(env, "daemon", "stop")
    before = {key: sum(figures[key] for figures in alone) / len(alone) for key in alone[0]}
    ratio = with_crowd["p99"] / before["p99"]
    figures = {
        "sessions": options.sessions, "alone": before, "crowd": with_crowd, "came_seconds": came, "daemon_mib": memory,
    }  # fmt: skip
    if options.json:
        print(json.dumps(figures))
        return
    print(
        f"p99 with {options.sessions} sessions: {ratio:.2f} x alone ({with_crowd['p99']:.0f} us, alone {before['p99']:.0f} us; "
        f"p50 {with_crowd['p50']:.0f} us, alone {before['p50']:.0f} us)  bar 2.0 x  {run.bar(ratio, 2, 2)}\n"
        f"they came one after another in {came:.1f} s; daemon {memory:.1f} MiB"
    )


if __name__ == "__main__":
    main()
