"""`mcpguard audit query`, `stats` and `report` over a large log: the first build of the index, then questions.

    .venv/bin/python tests/bench/query.py [--records N] [--days N] [--keep DIRECTORY] [--json]

The log is written by the daemon's own journal under a clock of ours: calls of 50 tools of 10 servers by 5 hosts, each
with its outcome, one in 20 denied, spread evenly over the days. Questions are asked by processes of their own, as
people do; the best of five is told, as seconds and as seconds of processor, beside `audit verify` of the same log in the
same run. Nothing fails on milliseconds: the program prints and exits 0.
"""

from __future__ import annotations

import argparse
import contextlib
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

MAIN = [sys.executable, "-m", "mcpguard", "audit"]
TOOLS, SERVERS, HOSTS, CONNS, BATCH = 50, 10, 5, 400, 100
END = 1_796_000_000
DAY = 86_400


def written(directory: Path, many: int, days: int) -> int:
    """A log of about so many records that ends at `END`; returns its size in bytes."""
    now = [(END - days * DAY) * 10**9]
    step = days * DAY * 10**9 // (many // 2)
    journal = Journal.open(directory, clock=lambda: now[0])
    starts = []
    for conn in range(CONNS):
        number = conn % HOSTS
        host = {
            "uid": 1000, "pid": 4000 + conn, "shim": 5000 + conn, "grade": "G2", "stdin": "pipe", "host": f"host-{number}",
            "instance": 10**6 + conn, "exe": f"/usr/lib/host-{number}/host", "sha256": f"{number:064x}", "name": "host",
        }  # fmt: skip
        starts.append(record.prefix(f"{conn}-{conn:06x}", host, f"server-{conn % SERVERS}"))
    tails = {}
    for tool in range(TOOLS):
        for verdict in (Verdict.ALLOW, Verdict.DENY):
            tails[tool, verdict] = record.call_tail(
                Side.HOST, "tools/call", f"tool_{tool}", verdict, f"rule-{tool % 7}"
            )
    answers = [record.outcome_tail(Side.HOST, "tools/call", f"tool_{tool}") for tool in range(TOOLS)]
    bodies = []
    for number in range(1, many // 2 + 1):
        start, tool = starts[number * 7 % CONNS], number * 13 % TOOLS
        now[0] += step
        if (number * 2_654_435_761 >> 16) % 20 == 0:
            bodies.append(record.call(start, 0, tails[tool, Verdict.DENY], b"ab" * 16, 21))
        else:
            bodies.append(record.call(start, number, tails[tool, Verdict.ALLOW], b"ab" * 16, 21))
            bodies.append(
                record.outcome(start, number, answers[tool], record.OK, 900 + number * 31 % 5000, 99)
            )
        if len(bodies) >= BATCH:
            journal.append(bodies)
            bodies = []
    journal.append(bodies)
    journal.close()
    return sum(path.stat().st_size for path in directory.glob("*.jsonl"))


def timed(words: list[str], env: dict[str, str], times: int = 5) -> dict[str, float]:
    """Seconds that a verb takes at best, seconds of processor, and how many lines it prints."""
    best = {"s": 1e9, "cpu_s": 1e9, "lines": 0.0}
    for _ in range(times):
        began, before = time.perf_counter(), os.times()
        done = subprocess.run([*MAIN, *words], env=env, stdout=subprocess.PIPE, check=True)
        after, took = os.times(), time.perf_counter() - began
        used = after.children_user + after.children_system - before.children_user - before.children_system
        best = {
            "s": min(best["s"], took),
            "cpu_s": min(best["cpu_s"], used),
            "lines": done.stdout.count(b"\n"),
        }
    return best


def measured(root: Path, asked: argparse.Namespace) -> dict[str, object]:
    """Every figure, by its name."""
    env = {**os.environ, "MCPGUARD_STATE_DIR": str(root), "MCPGUARD_RUNTIME_DIR": f"{root}/run", "TZ": "UTC"}
    log = root / "audit"
    size = (
        sum(p.stat().st_size for p in log.glob("*.jsonl"))
        if log.exists()
        else written(log, asked.records, asked.days)
    )
    day = time.strftime("%Y-%m-%d", time.gmtime(END - 10 * DAY))
    span = ["--since", day, "--until", day]
    figures: dict[str, object] = {"records": asked.records, "bytes": size}
    questions = {
        "first build": (["query", "-n", "1"], 1),
        "host and day": (["query", "--host", "host-3", *span], 5),
        "host and day, json": (["query", "--host", "host-3", "--json", *span], 5),
        "last 20 of a host": (["query", "--host", "host-3", "-n", "20"], 5),
        "denials of tools, day": (["query", "--tool", "tool_1?", "--decision", "deny", *span], 5),
        "text, day": (["query", "--text", "rule-3", *span], 5),
        "stats, day": (["stats", *span], 5),
        "verify": (["verify"], 1),
        "stats, all": (["stats"], 1),
        "report, all": (["report", "-o", f"{root}/report.html"], 1),
    }
    for name, (words, times) in questions.items():
        figures[name] = timed(words, env, times)
    figures["index_bytes"] = sum(path.stat().st_size for path in (root / "index").glob("*.sqlite"))
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--keep", help="make the log in this directory and leave it; an existing one is used")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with contextlib.ExitStack() as stack:
        root = Path(asked.keep or stack.enter_context(tempfile.TemporaryDirectory()))
        figures = measured(root, asked)
    if asked.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            if isinstance(value, dict):
                value = (
                    f"{value['s']:8.2f} s {value['cpu_s']:8.2f} s of processor {value['lines']:8.0f} lines"
                )
            print(f"{name:24} {value}")


if __name__ == "__main__":
    main()
