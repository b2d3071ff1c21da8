"""Which doors of an Electron program stand open: fuses that let anybody run scripts inside a genuine executable.

Source: electron/fuses, FuseV1Options: a sentinel in the executable, then a version byte, the number of fuses, and one
character each: `0` off, `1` on, `r` removed.

Not here: whether the file is the one that runs (the caller opened it); asar integrity.
"""

from __future__ import annotations

import mmap
import os
from typing import Final

_SENTINEL: Final = b"dL7pKGdnNz796PbbjQWNKmHXBZaB9tsX"
_VERSION: Final = 1
_DOORS: Final = {
    0: "RunAsNode",
    2: "EnableNodeOptionsEnvironmentVariable",
    3: "EnableNodeCliInspectArguments",
}
_HEAD: Final = len(_SENTINEL) + 2


def open_fuses(fd: int) -> tuple[str, ...] | None:
    """Names of the doors that are not shut; None if the file is no Electron program.

    A wire of another version, or one that does not reach to a fuse, leaves its doors open.
    """
    if os.fstat(fd).st_size == 0:
        return None
    with mmap.mmap(fd, 0, prot=mmap.PROT_READ) as image:
        place = image.find(_SENTINEL)
        if place < 0:
            return None
        head = image[place : place + _HEAD]
        known = len(head) == _HEAD and head[-2] == _VERSION
        wire = image[place + _HEAD : place + _HEAD + head[-1]] if known else b""
    return tuple(name for index, name in _DOORS.items() if wire[index : index + 1] not in (b"0", b"r"))
