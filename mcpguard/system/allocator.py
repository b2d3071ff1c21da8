"""Tell the C library to keep a little of the memory that is freed, instead of giving it back at every message.

glibc serves large blocks by mmap and returns them at once, so each 1 MiB result costs a thousand page faults:
measured 2.5 ms without and 0.8 ms with this, for one result through the gate (mallopt(3)). Each thread would keep as
much for itself, so all share one arena: the interpreter lets one of them run at a time anyway.
"""

from __future__ import annotations

import ctypes
import gc
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
_KEPT_BYTES: Final = 8 << 20
_LARGE_BYTES: Final = 16 << 20
_COLLECT: Final = (20_000, 20, 50)
"""Thresholds of the cycle collector: messages are freed by reference counts, cycles are rare."""


def keep_freed_memory() -> bool:
    """Keep up to 8 MiB; False where the C library cannot (musl, macOS), which changes speed only."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    wanted = {_M_ARENA_MAX: 1, _M_MMAP_THRESHOLD: _LARGE_BYTES, _M_TRIM_THRESHOLD: _KEPT_BYTES}
    return sum(bool(mallopt(option, value)) for option, value in wanted.items()) == len(wanted)


def give_back() -> bool:
    """Give freed memory back, for when nothing is going on; False where there was none, or the C library cannot."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):
        return False
    return bool(trim(0))


def quiet_collector() -> None:
    """Keep the cycle collector from walking what lives as long as the daemon, which would stall calls."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT)
