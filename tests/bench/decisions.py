"""One decision of the whole policy, on names and on a request, with 10 and with 10,000 rules in the same run.

    .venv/bin/python tests/bench/decisions.py [--json]

The rules have roles, arguments (`under`, JSON Schema) and labels (`after`, `sends`). `name` is the look-up of a tool that a
connection has seen; `request` judges arguments and what the host has seen. The file system is not asked: paths are resolved by a
stand-in, since `system.realpath` costs 4 us whatever the rules. Nothing fails on microseconds: it prints and exits 0.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import time
from collections import defaultdict
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


def timed(work: Callable[[], object]) -> float:
    """Microseconds a call."""
    began = time.perf_counter()
    for _ in range(CALLS):
        work()
    return (time.perf_counter() - began) / CALLS * 1e6


def decisions(rules: int) -> dict[str, Callable[[], object]]:
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
        "name": lambda: snapshot.tool("tool_3"),
        "request": lambda: snapshot.judge("tools/call", "tool_3", ARGUMENTS, seen, 0),
    }


def main() -> None:
    """Measure in turn, and print medians of rounds."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    works = {rules: decisions(rules) for rules in (10, 10_000)}
    gc.freeze()  # as the daemon: what stays is not looked at again
    found: dict[tuple[str, int], list[float]] = defaultdict(list)
    for _ in range(ROUNDS):
        for rules, kinds in works.items():
            for kind, work in kinds.items():
                found[kind, rules].append(timed(work))
    told = {f"{kind}_{rules}": statistics.median(times) for (kind, rules), times in found.items()}
    if asked.json:
        print(json.dumps(told))
        return
    for kind in ("name", "request"):
        few, many = told[f"{kind}_10"], told[f"{kind}_10000"]
        print(f"{kind:<8} 10 rules {few:.2f} us, 10,000 rules {many:.2f} us, {many / few:.2f}x")


if __name__ == "__main__":
    main()
