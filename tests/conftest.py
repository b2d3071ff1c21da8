"""What every test shares: those that change their user id run where that can be done, and say so elsewhere."""

import os
import sys
from collections.abc import Iterator

import pytest

from mcpguard.system import warden


def pytest_collection_modifyitems(items):
    """A second user, a namespace or a small file system can only be had by uid 0."""
    if os.geteuid() != 0:
        skip = pytest.mark.skip(reason="needs uid 0")
        for item in items:
            if item.get_closest_marker("root"):
                item.add_marker(skip)


@pytest.fixture(scope="module", autouse=True)
def _no_subreaper_after() -> Iterator[None]:
    """A module that starts servers in this process makes it adopt orphans; the next one expects init to."""
    yield
    if sys.platform == "linux":
        warden.prctl(warden.PR_SET_CHILD_SUBREAPER, 0)
