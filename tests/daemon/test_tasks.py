"""Tasks are kept alive until they end, and their failures are told."""

import asyncio
import gc
import logging

import pytest

from mcpguard.daemon import tasks

pytestmark = pytest.mark.asyncio


async def test_task_survives_without_a_reference() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        await asyncio.sleep(0)
        ended.set()

    tasks.spawn_task(work(), name="forgotten")
    gc.collect()
    await asyncio.wait_for(ended.wait(), 5)
    await asyncio.sleep(0)
    assert not tasks._running


async def test_failure_is_logged_with_the_name_of_the_task(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        raise ZeroDivisionError("one over nothing")

    with caplog.at_level(logging.ERROR, logger="mcpguard"):
        task = tasks.spawn_task(work(), name="divider")
        with pytest.raises(ZeroDivisionError):
            await task
        await asyncio.sleep(0)
    assert "task divider failed: one over nothing" in caplog.text


async def test_cancelled_task_is_silent(caplog: pytest.LogCaptureFixture) -> None:
    task = tasks.spawn_task(asyncio.sleep(60), name="sleeper")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)
    assert not caplog.records
    assert not tasks._running


async def test_result_reaches_the_caller() -> None:
    assert await tasks.spawn_task(asyncio.sleep(0, "done"), name="answer") == "done"
