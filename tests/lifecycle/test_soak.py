"""Many calls and many connections leave nothing behind; `tests/bench/soak.py` does the same for as long as one likes."""

import json
import subprocess
import sys
from pathlib import Path

SOAK = Path(__file__).parents[1] / "bench" / "soak.py"


def test_memory_and_descriptors_do_not_grow() -> None:
    done = subprocess.run(
        [sys.executable, SOAK, "--calls", "30000", "--json"],
        capture_output=True,
        text=True,
        check=True,
        timeout=110,
    )
    points = json.loads(done.stdout)
    assert points[-1]["descriptors"] <= points[1]["descriptors"]
    assert points[-1]["mib"] - points[1]["mib"] < 2.0, points
