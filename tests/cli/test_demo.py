"""The demo shows what it says, or fails."""

import subprocess
import tempfile
from pathlib import Path

import pytest

from mcpguard.cli import demo
from tests.lifecycle.stage import MCPGUARD, House


@pytest.mark.parametrize("loop", ["", "asyncio"])
def test_every_step_is_told_and_nothing_is_kept(loop: str) -> None:
    with House(loop) as place:
        spare = Path(tempfile.mkdtemp(dir=place.root))
        told = subprocess.run(
            [*MCPGUARD, "demo"], env=place.env | {"TMPDIR": str(spare)}, capture_output=True, text=True, timeout=60,
            check=False,
        )  # fmt: skip
        assert told.returncode == 0, told
        assert told.stderr == ""
        steps = [line.split()[0] for line in told.stdout.splitlines()[:8]]
        assert steps == ["policy", "connect", "list", "allowed", "denied", "smuggled", "end", "evidence"]
        assert "mcpguard run --" in told.stdout
        assert list(spare.iterdir()) == []
        assert not place.run_dir.exists()
        assert not place.state.exists()


def test_step_that_fails_is_said_and_exits_1() -> None:
    with House() as place:
        deep = place.root / ("x" * 100)  # no socket fits below it
        deep.mkdir()
        told = subprocess.run(
            [*MCPGUARD, "demo"], env=place.env | {"TMPDIR": str(deep)}, capture_output=True, text=True, timeout=60,
            check=False,
        )  # fmt: skip
        assert told.returncode == 1
        assert "the demo did not go as told" in told.stderr
        assert "Traceback" not in told.stderr
        assert list(deep.iterdir()) == []


def test_expectation_that_does_not_hold_ends_the_story() -> None:
    demo._expect(True, "fine")
    with pytest.raises(demo._NotAsToldError, match="three"):
        demo._expect(False, "three")
    with pytest.raises(demo._NotAsToldError, match="no result"):
        demo._result({"error": {}})
