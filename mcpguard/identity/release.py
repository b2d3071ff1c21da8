"""Which version a program is, as the place says that it is installed in.

Rule: a version is read from a path of the kernel's, never from what a program says of itself.

Not here: whether the path can be relied on (`grading`): who may write there can name it as they like.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_VERSION: Final = re.compile(r"(?:^|[-_@v])([0-9]{1,6}(?:\.[0-9]{1,6}){1,3})(?:$|[-_+])")


def release_of(paths: Iterable[str]) -> str:
    """The version that a path names, the last component first: `2.0.14` of `.../versions/2.0.14/claude`.

    The first path that names one decides; empty if none does.
    """
    for path in paths:
        for part in reversed(path.split("/")):
            if found := _VERSION.search(part):
                return found[1]
    return ""
