"""The two texts about a process that need care: /proc/PID/stat and /proc/PID/status.

The second field of `stat` is a name that the process chose. It may hold spaces and brackets, and so everything else:
what follows is found after the *last* closing bracket.

Source: proc_pid_stat(5), proc_pid_status(5).
"""

from __future__ import annotations

from typing import Final

import msgspec

_PPID: Final = 4
_SESSION: Final = 6
_START: Final = 22
_LAYOUT: Final = (26, 27, 28, 45, 46, 48, 49, 50, 51)
"""startcode, endcode, startstack, start_data, end_data, arg_start, arg_end, env_start, env_end."""


class Stat(msgspec.Struct, frozen=True):
    """What `stat` says of a process.

    Attributes:
        ppid: Its parent's id.
        session: The id of its session.
        start: When it began, clock ticks since boot.
        layout: Where its code, data, stack, arguments and environment lie. Set by exec, at random; zeroes if we have
            no right to look into the process.
    """

    ppid: int
    session: int
    start: int
    layout: tuple[int, ...]


def parse_stat(text: bytes) -> Stat:
    """The fields of `stat`.

    Raises:
        ValueError: It is not one.
    """
    _, bracket, rest = text.rpartition(b")")
    fields = rest.split()
    if not bracket or len(fields) < _LAYOUT[-1] - 2:
        raise ValueError("not /proc/PID/stat")
    # The first field after the name is number 3.
    numbers = {n: int(fields[n - 3]) for n in (_PPID, _SESSION, _START, *_LAYOUT)}
    return Stat(numbers[_PPID], numbers[_SESSION], numbers[_START], tuple(numbers[n] for n in _LAYOUT))


def parse_status(text: bytes) -> dict[str, str]:
    """The lines of `status` by their names. The kernel escapes line feeds in the process's own name."""
    found: dict[str, str] = {}
    for line in text.decode("utf-8", "backslashreplace").split("\n"):
        key, colon, value = line.partition(":")
        if colon:
            found.setdefault(key, value.strip())
    return found
