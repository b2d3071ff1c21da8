"""Give back what starting has left in memory: pages of libraries that only their beginning needed.

A daemon loads some 20 MiB of code and touches a quarter of it again. The rest stays resident until the system is
short of memory, and counts. Given back are pages that are on disk as they are (private, not writable, none of them
changed), so that whichever is needed after all is read again, from the page cache.

Measured: 47 -> 35 MiB after forty sessions; 4 ms to do, and nothing that shows in the sessions after it (2-core
virtual machine, `tests/bench/run.py`).

Source: madvise(2), MADV_DONTNEED; proc_pid_smaps(5).
"""

from __future__ import annotations

import ctypes
import mmap
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

_SMAPS: Final = Path("/proc/self/smaps")
_MAPPING: Final = re.compile(
    r"^([0-9a-f]+)-([0-9a-f]+) r-.p \S+ \S+ [1-9]\d* +(/.*)\n(?:[A-Z]\w*:.*\n)*?Anonymous: +(\d+) kB$",
    re.MULTILINE,
)
"""A private mapping of a file that may be read but not written to, and how much of it was written to before."""
_LEAST_BYTES: Final = 256 << 10
"""Smaller mappings are not worth the call."""


class Span(NamedTuple):
    """Addresses of a mapping, from `start` up to and without `end`."""

    start: int
    end: int


def unchanged(smaps: str) -> Iterator[Span]:
    """Mappings of files, in the text of `/proc/PID/smaps`, all of whose pages are as in their file and stay so."""
    for found in _MAPPING.finditer(smaps):
        span = Span(int(found[1], 16), int(found[2], 16))
        large = span.end - span.start >= _LEAST_BYTES
        if large and found[4] == "0" and not found[3].endswith("(deleted)"):
            yield span


def give_back_code() -> int:
    """Give back pages of libraries; how many bytes of addresses it asked for, 0 where there is no such thing."""
    try:
        text = _SMAPS.read_text("utf-8", "surrogateescape")
        madvise = ctypes.CDLL(None).madvise
    except (AttributeError, OSError):
        return 0
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return sum(
        end - start for start, end in unchanged(text) if madvise(start, end - start, mmap.MADV_DONTNEED) == 0
    )
