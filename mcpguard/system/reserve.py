"""Space that is kept behind the end of a file, so that its next records fit on a disk that others have filled.

Linux can give a file blocks beyond its end (fallocate(2), FALLOC_FL_KEEP_SIZE): readers do not see them, and nobody
else can have them. Elsewhere, and on file systems that cannot, there is no reserve.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
from typing import Any, Final

_KEEP_SIZE: Final = 1
_NONE: Final = frozenset({errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL})


def keep(fd: int, end: int, size: int) -> bool:
    """Have the disk keep `size` bytes behind offset `end` for this file; False where that cannot be done.

    Raises:
        OSError: There is no room for it (ENOSPC, EDQUOT, EFBIG), or the disk fails.
    """
    call = _fallocate()
    if call is None:
        return False
    number = errno.EINTR
    while number == errno.EINTR:
        if call(fd, _KEEP_SIZE, end, size) == 0:
            return True
        number = ctypes.get_errno()
    if number in _NONE:
        return False
    raise OSError(number, os.strerror(number))


@functools.cache
def _fallocate() -> Any:
    """The C function, with 64-bit offsets; None where there is none."""
    try:
        library = ctypes.CDLL(None, use_errno=True)
        call = getattr(library, "fallocate64", None) or library.fallocate
    except (AttributeError, OSError):
        return None
    call.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    return call
