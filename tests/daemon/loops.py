"""Run a story on either loop: both must give the same results."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest
import uvloop

T = TypeVar("T")
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
both_loops = pytest.mark.parametrize("loop", LOOPS)


def run(story: Callable[[], Awaitable[T]], loop: str = "uvloop") -> T:
    """Run a story to its end."""

    async def bounded() -> T:
        return await asyncio.wait_for(story(), 30)  # type: ignore[arg-type]

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        return runner.run(bounded())


async def eventually(what: Callable[[], T], seconds: float = 10.0) -> T:
    """Ask until the answer is true, and give it; or the last one when the time is over."""
    deadline = time.monotonic() + seconds
    while not (found := what()) and time.monotonic() < deadline:
        await asyncio.sleep(0.002)
    return found


for _name in LOOPS:  # the first loop of a kind opens descriptors that stay
    run(lambda: asyncio.sleep(0), _name)
