"""Tells the redactor of tokens before anything else sees them, and keeps that work off the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from weakref import WeakKeyDictionary

from mcpguard.audit import redact

_locks: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


async def passing(values: Iterable[str | bytes]) -> None:
    """Records, logs and answers never show these values from now on, until many others have come."""
    encoded = [value.encode() if isinstance(value, str) else value for value in values]
    async with _locks.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
        redactor = redact.current()
        made = await asyncio.to_thread(redactor.known.prepared, encoded)
        if made is not None:
            redactor.pass_on(made)
