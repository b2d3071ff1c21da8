"""The daemon that all tests of this directory share."""

from collections.abc import Iterator

import pytest

from tests.wire.guard import Guard


@pytest.fixture(scope="session")
def guard() -> Iterator[Guard]:
    guard = Guard()
    try:
        yield guard
    finally:
        guard.close()
