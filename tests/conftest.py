"""What every test shares: those that change their user id run where that can be done, and say so elsewhere."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from mcpguard.system import warden

settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")  # no test fails on milliseconds: a busy or cold machine is not a fault


def pytest_collection_modifyitems(items):
    """A second user, a namespace or a small file system can only be had by uid 0."""
    if os.geteuid() != 0:
        skip = pytest.mark.skip(reason="needs uid 0")
        for item in items:
            if item.get_closest_marker("root"):
                item.add_marker(skip)


def pytest_terminal_summary(terminalreporter):
    """For `.ci/run`: the tests that failed, in the file that it names."""
    if place := os.environ.get("MCPGUARD_TESTS_FAILED"):
        stats = terminalreporter.stats
        failed = dict.fromkeys(
            report.nodeid for kind in ("failed", "error") for report in stats.get(kind, ())
        )
        Path(place).write_text("".join(f"{name}\n" for name in failed))


@pytest.fixture(scope="module", autouse=True)
def _no_subreaper_after() -> Iterator[None]:
    """A module that starts servers in this process makes it adopt orphans; the next one expects init to."""
    yield
    if sys.platform == "linux":
        warden.prctl(warden.PR_SET_CHILD_SUBREAPER, 0)
