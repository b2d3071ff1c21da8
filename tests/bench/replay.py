"""`mcpguard policy replay` over a real log, beside `mcpguard audit verify` of the same log in the same run.

    .venv/bin/python tests/bench/replay.py [--records N] [--rules N] [--json]

The log is written by the daemon's own journal; calls are of 50 tools of 10 servers by 5 hosts. Nothing fails on
milliseconds: the program prints and exits 0.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mcpguard.audit import record
from mcpguard.model import Side, Verdict
from mcpguard.system.journal import Journal

MAIN = [sys.executable, "-m", "mcpguard"]
TOOLS, SERVERS, HOSTS, BATCH = 50, 10, 5, 100


def written(directory: Path, many: int) -> None:
    """A log of so many records of calls and their outcomes."""
    journal = Journal.open(directory)
    bodies = []
    for number in range(many // 2):
        host = {
            "uid": os.getuid(),
            "pid": number % HOSTS,
            "grade": "G2",
            "host": f"host-{number % HOSTS}",
            "instance": 1,
        }
        start = record.prefix(f"{number % HOSTS}-c", host, f"server-{number % SERVERS}")
        tool = f"tool_{number % TOOLS}"
        tail = record.call_tail(Side.HOST, "tools/call", tool, Verdict.DENY, "default", binding=False)
        shaped = record.shaped({"path": f"/srv/p{number % 7}/x", "n": 1})
        bodies.append(record.call(start, number, tail, b"ab" * 16, 21, shaped))
        bodies.append(
            record.outcome(start, number, record.outcome_tail(Side.HOST, "tools/call", tool), record.OK, 9, 9)
        )
        if len(bodies) >= BATCH:
            journal.append(bodies)
            bodies = []
    journal.append(bodies)
    journal.close()


def policy(rules: int) -> str:
    """A policy with roles, arguments and labels."""
    text = (
        'version = 1\nmode = "enforce"\n[roles]\nagents = ["host:host-0", "host:host-1"]\n'
        '[[label]]\nserver = "*"\ntools = ["tool_1"]\nreads = ["untrusted"]\n'
        '[[rule]]\nid = "post"\ntools = ["tool_2"]\neffect = "deny"\nwhen.after = ["untrusted"]\n'
    )
    for number in range(rules):
        text += (
            f'[[rule]]\nid = "r{number}"\nserver = "server-{number % SERVERS}"\ntools = ["tool_{number}"]\n'
            f'who = ["role:agents"]\neffect = "allow"\nargs.path = {{ under = ["/srv"] }}\n'
        )
    return text


def timed(words: list[str], env: dict[str, str]) -> float:
    """Seconds that a verb takes."""
    began = time.perf_counter()
    done = subprocess.run([*MAIN, *words], env=env, stdout=subprocess.PIPE, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(f"{words} exits {done.returncode}")
    return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--rules", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        env = {**os.environ, "MCPGUARD_STATE_DIR": root, "MCPGUARD_RUNTIME_DIR": f"{root}/run"}
        log, file = Path(root) / "audit", Path(root) / "p.toml"
        written(log, asked.records)
        file.write_text(policy(asked.rules))
        verify = timed(["audit", "verify"], env)
        replay = timed(["policy", "replay", str(file)], env)
    if asked.json:
        print(
            json.dumps(
                {"records": asked.records, "rules": asked.rules, "replay_s": replay, "verify_s": verify}
            )
        )
    else:
        print(
            f"{asked.records} records, {asked.rules} rules: replay {replay:.2f} s, {replay / verify:.2f}x verify ({verify:.2f} s)"
        )


if __name__ == "__main__":
    main()
