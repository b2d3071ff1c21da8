"""Fixtures: the npm packages, a private environment, the wrapper, and the daemon it starts."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from harness import private_env  # noqa: E402 - found beside this file, which is not a package

GUARD = Path(sys.executable).with_name("mcpguard")


@pytest.fixture(scope="session", autouse=True)
def node_modules() -> None:
    """Install what package-lock.json says, once, and again when it has changed."""
    lock, stamp = HERE / "package-lock.json", HERE / "node_modules" / ".package-lock.json"
    if stamp.exists() and stamp.stat().st_mtime >= lock.stat().st_mtime:
        return
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.exit("tests/interop needs node (20 or later) and npm on PATH", returncode=2)
    done = subprocess.run(
        [npm, "ci", "--ignore-scripts"], cwd=HERE, capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.exit(f"npm ci failed in {HERE}:\n{done.stdout}{done.stderr}", returncode=2)
    stamp.touch()


@pytest.fixture(scope="session")
def wrapper() -> list[str]:
    """The words before the server's command; MCPGUARD_INTEROP_WRAPPER overrides them (empty: nothing)."""
    override = os.environ.get("MCPGUARD_INTEROP_WRAPPER")
    if override is not None:
        return shlex.split(override)
    if not os.access(GUARD, os.X_OK):
        pytest.exit(
            f"{GUARD} is missing or not executable: install the project into this environment", returncode=2
        )
    return [str(GUARD), "run", "--"]


@pytest.fixture(scope="session")
def guarded(wrapper: list[str]) -> bool:
    """Whether the wrapper is mcpguard itself, so that what it changes by design can be checked."""
    return wrapper[:1] == [str(GUARD)]


def daemon_home(path: Path) -> Iterator[dict[str, str]]:
    env = private_env(path)
    yield env
    if os.access(GUARD, os.X_OK):
        subprocess.run([GUARD, "daemon", "stop"], env=env, capture_output=True, timeout=20, check=False)


@pytest.fixture(scope="session")
def env(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """An environment with a home of its own: the daemon is started there on demand, and stopped at the end."""
    yield from daemon_home(tmp_path_factory.mktemp("home"))
