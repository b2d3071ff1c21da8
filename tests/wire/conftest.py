"""The daemon that all tests of this directory share, and connections that cases share."""

from collections.abc import Iterator

import pytest

from tests.wire.guard import Guard
from tests.wire.pool import Pool


@pytest.fixture(scope="session")
def guard() -> Iterator[Guard]:
    guard = Guard()
    try:
        yield guard
    finally:
        guard.close()


@pytest.fixture(scope="module")
def pool(guard: Guard) -> Iterator[Pool]:
    pool = Pool(guard)
    yield pool
    pool.close()
