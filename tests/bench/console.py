"""What an idle console costs, beside a `pending --watch` that is as idle, in the same run.

    .venv/bin/python tests/bench/console.py [--seconds N]

A real daemon with one idle connection; both watchers on terminals of their own. The daemon's share is what both of
them make it do. Nothing fails on milliseconds: the program prints and exits 0.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.fakes.screens import Screen
from tests.lifecycle.forms import FORMS, arrive
from tests.lifecycle.stage import MCPGUARD, House, house

TICKS = os.sysconf("SC_CLK_TCK")


def used(pid: int) -> float:
    """Seconds of a core that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def shares(place: House, seconds: float) -> dict[str, float]:
    """Percent of a core, by who uses it."""
    arrive(place, FORMS["pipes"]).greet()
    screens = {name: Screen([*MCPGUARD, *words], place.env) for name, words in WATCHERS.items()}
    screens["console"].shows("1 connection")
    screens["pending --watch"].shows("nothing waits")
    pids = {"daemon": place.pid(), **{name: screen.child.pid for name, screen in screens.items()}}
    before = {name: used(pid) for name, pid in pids.items()}
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for screen in screens.values():
            screen.text(0.5)
    found = {name: 100 * (used(pid) - before[name]) / seconds for name, pid in pids.items()}
    for screen in screens.values():
        screen.close()
    return found


WATCHERS = {"console": ["console"], "pending --watch": ["pending", "--watch"]}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="CPU of an idle console.")
    parser.add_argument("--seconds", type=float, default=60.0)
    seconds = parser.parse_args().seconds
    with house() as place:
        for name, share in shares(place, seconds).items():
            print(f"{name:<16} {share:5.2f} % of a core over {seconds:.0f} s idle")


if __name__ == "__main__":
    main()
