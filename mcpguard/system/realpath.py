"""Where does a path lead?

The kernel resolves: the path is opened for nothing but its place, and the descriptor's name is read. Of a path that
does not exist yet, the part that does is resolved, and the rest is kept as it is; `..` in that rest cannot be told.

Cost: 4 us for a file five levels deep (timeit, CPython 3.11, Linux 6).

Not here: what happens after the answer. Who may write below a path can exchange a link between question and use; only
a sandbox of the server prevents that.
"""

from __future__ import annotations

import os
import sys
from typing import Final

_PLACE: Final = getattr(os, "O_PATH", 0) | os.O_CLOEXEC
_LEVELS: Final = 256
_DELETED: Final = " (deleted)"


def resolve(path: str) -> str | None:
    """The absolute path that an absolute path leads to, every link of the part that exists resolved.

    None if that cannot be told: it is not absolute, a loop of links, too long, or not to be searched.
    """
    if not path.startswith("/") or "\0" in path:
        return None
    head, tail = path, ""
    for _ in range(_LEVELS):
        try:
            found = _resolved(head)
        except (FileNotFoundError, NotADirectoryError):
            head, _, name = head.rstrip("/").rpartition("/")
            if name in ("..", ".") or not _absent(f"{head}/{name}"):
                return None
            tail = f"/{name}{tail}"
            head = head or "/"
        except (OSError, ValueError):
            return None
        else:
            return None if found is None else (found.rstrip("/") + tail) or "/"
    return None


def _resolved(path: str) -> str | None:
    """Where an existing path leads.

    Raises:
        OSError: There is nothing, or it may not be searched.
    """
    if sys.platform != "linux":
        return os.path.realpath(path, strict=True)
    fd = os.open(path, _PLACE)
    try:
        found = os.readlink(f"/proc/self/fd/{fd}")  # noqa: PTH115 (twice as fast)
    finally:
        os.close(fd)
    return found if found.startswith("/") and not found.endswith(_DELETED) else None


def _absent(path: str) -> bool:
    """Whether there is not even a link that leads nowhere: what is created through that is created elsewhere."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False
