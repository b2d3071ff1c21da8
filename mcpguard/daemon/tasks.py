"""Tasks that cannot be lost: the one place that creates one.

asyncio keeps only weak references to tasks, and reports a failure when the task is collected, which may be
never. Here a running task is referenced until it ends, and its failure is logged when it happens.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

_log: Final = logging.getLogger("mcpguard")
_running: Final[set[asyncio.Task[Any]]] = set()

_T = TypeVar("_T")


def spawn_task(coro: Coroutine[Any, Any, _T], *, name: str) -> asyncio.Task[_T]:
    """Run a coroutine as a task of the running loop.

    Owner: the caller may await or cancel the task, and need not keep it. An exception is logged even if
    somebody awaits the task: what fails here is unexpected by definition.
    """
    task = asyncio.get_running_loop().create_task(coro, name=name)
    _running.add(task)
    task.add_done_callback(_settle)
    return task


def _settle(task: asyncio.Task[Any]) -> None:
    _running.discard(task)
    if task.cancelled():
        return
    error = task.exception()
    if error is not None:
        _log.error("task %s failed: %s", task.get_name(), error, exc_info=error)
