"""One decision of the whole policy, on names and on a request, with 10 and with 10,000 rules in the same run.

    .venv/bin/python tests/bench/decisions.py [--json]

The rules have roles, arguments (`under`, JSON Schema) and labels (`after`, `sends`). `name` is the look-up of a tool that a
connection has seen; `request` judges arguments and what the host has seen. The file system is not asked: paths are resolved by a
stand-in, since `system.realpath` costs 4 us whatever the rules. Nothing fails on microseconds: it prints and exits 0.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

from mcpguard.model import Caller, Grade
from mcpguard.policy.circumstances import Circumstances, Surroundings
from mcpguard.policy.document import parse
from mcpguard.policy.snapshot import compile_snapshot

ROUNDS, CALLS = 41, 500
ARGUMENTS = {"path": "/srv/p3/src/main.py", "mode": "read", "limit": 20}


def policy(rules: int) -> str:
    """So many rules, of which three speak of the tool that is asked for."""
    text = (
        'version = 1\nmode = "enforce"\n[roles]\nstaff = ["host:acme"]\nagents = ["role:staff"]\n'
        '[[label]]\nserver = "*"\ntools = ["tool_3"]\nreads = ["private"]\nsends = ["external"]\n'
        '[[rule]]\nid = "leaks"\ntools = ["tool_*"]\neffect = "deny"\nwhen = { sends = ["external"], after = ["private"] }\n'
        '[[rule]]\nid = "late"\ntools = ["tool_3"]\neffect = "ask"\nargs.mode = { enum = ["write"] }\n'
    )
    for number in range(rules - 2):
        text += (
            f'[[rule]]\nid = "r{number}"\nserver = "s"\ntools = ["tool_{number}"]\nwho = ["role:agents"]\n'
            'effect = "allow"\nargs.path = { under = ["/srv"], deny = ["**/.git/**"] }\nargs.limit = { maximum = 100 }\n'
        )
    return text


def p50(work: Callable[[], object]) -> float:
    """Microseconds a call, the median of rounds."""
    seconds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(CALLS):
            work()
        seconds.append((time.perf_counter() - began) / CALLS)
    return statistics.median(seconds) * 1e6


def measured(rules: int) -> dict[str, float]:
    """Both kinds of decision."""
    caller = Caller(principals=("any", "uid:1000", "host:acme"), grade=Grade.G2)
    around = Surroundings(home="/home/me", cwd="/srv", resolve=str)
    snapshot = compile_snapshot(parse(policy(rules).encode(), "bench"), "s", caller, around)
    seen = Circumstances()
    seen.saw(["untrusted"], 0)
    decision = snapshot.judge("tools/call", "tool_3", ARGUMENTS, seen, 0)
    if decision.rule != "r3":
        raise SystemExit(f"expected rule r3 to decide, found {decision}")
    return {
        "name": p50(lambda: snapshot.tool("tool_3")),
        "request": p50(lambda: snapshot.judge("tools/call", "tool_3", ARGUMENTS, seen, 0)),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    few, many = measured(10), measured(10_000)
    if asked.json:
        print(json.dumps({"10": few, "10000": many}))
        return
    for kind in few:
        print(
            f"{kind:<8} 10 rules {few[kind]:.2f} us, 10,000 rules {many[kind]:.2f} us, {many[kind] / few[kind]:.2f}x"
        )


if __name__ == "__main__":
    main()
